"""The pattern vector: 96 numbers by which drum patterns are compared as cosines. Searching is done elsewhere.

The vector is made of the pattern's grid of two bars of 16 sixteenths:

======  =========================================================================================
0–15    kick on the sixteenths of the first bar, 0 the downbeat
16–31   kick in the second bar
32–63   snare, likewise
64–79   hi-hat or ride on the sixteenths of a bar, the mean of both bars: whoever keeps time keeps it
80–87   toms on the eighths of a bar, likewise, each with the sixteenth after it
88–95   strokes, of whatever drum, on the eighths of a bar, likewise
======  =========================================================================================

Each number is a power of the velocity, blurred a little over the neighbouring steps, the parts brought to nearly the
same length, minus what the average groove has on that part of a beat. Subtracting the average is what parts different
grooves: most have their hits on the beats and hi-hats on the eighths and would be alike for that alone. Half as much is
subtracted from a part that is not played: two grooves are hardly alike for what both lack. The average is the same for
all beats, so that a groove whose bars were taken to begin on another beat has the same numbers, each part turned: kick,
snare and cymbals by four places for each beat, toms and strokes by two. Comparisons try all sixteen halves of a beat
(catalog/vectors.py): a groove whose off-beats were taken for its beats is not quite the same, but nearer than others.

When and how hard a drum is struck is heard more surely than which drum it is: on a kit that sounds like no other,
strokes are what is left of the groove. They come from the onsets of the audio with their strength, or from the loudest
drum on each step of a grid that is written. Where toms are played and hardly a snare, they stand in the snare's place:
a groove that moves to the toms stays near, and the snare of an electronic kit may sound like a tom.

Beats in three parts, in 6/8, lie on the steps as the triplets of 4/4 do: a shuffle is heard as either.
"""

import numpy as np

from tasks.music.midi import read_drum_ticks
from tasks.music.patterns import ROWS, PatternParams, count_steps, fold_pattern

VERSION = "centred-grid-8"
BAR_STEPS = 16
BEAT_STEPS = 4
OTHER_BARS = (12, 14, 20)  # steps in 3/4, 7/8 and 5/4
SIX_EIGHT = "6/8"
BAR_OF_SIX_EIGHT = 12
IN_THREE = (SIX_EIGHT, "12/8")  # meters whose beats have three parts
STEPS_OF_THIRDS = (0, 1, 1, 2, 3, 3)  # of four in such a beat: where its sixteenths lie, by patterns.place_hits
BARS = 2
GRID_STEPS = BARS * BAR_STEPS
PART_SIZES = (GRID_STEPS, GRID_STEPS, BAR_STEPS, BAR_STEPS // 2, BAR_STEPS // 2)  # kick, snare, cymbals, toms, strokes
DIMENSIONS = sum(PART_SIZES)
VELOCITY_POWER = 0.5
BLUR = 0.025  # share of a step that goes to each of its neighbours
WEIGHTS = (1.2, 1.0, 0.7, 0.7, 1.7)  # of the parts: strokes and the kick are heard most surely
BALANCE = 0.75  # 1 would give one soft hit the weight of a busy instrument, 0 lets the busiest decide
LEAST_LENGTH = 1.0  # of a part before balancing, about one loud hit a bar: what is hardly played stays faint
ABSENCE = 0.5  # share of the average groove that counts as missed where a part is not played at all
SNARES_FOR_TOMS = 2.0  # toms of so many times the snare's length stand in its place by half, more of them more so
GHOST_LEVEL = 0.35  # of the loudest step: below are ghost notes and hits that come now and then
STEP_VELOCITY = {"X": 1.0, "x": 0.8, "o": 0.5, "g": 0.25, "-": 0.0, ".": 0.0, "_": 0.0}

# The mean of `describe_grid` over the performances of the Groove MIDI Dataset (Gillick et al., "Learning to groove with
# inverse sequence transformations", ICML 2019) on the parts of a beat: `average_grooves` makes it.
AVERAGE_BEAT = (
    (0.250, 0.066, 0.129, 0.127),
    (0.209, 0.117, 0.141, 0.135),
    (0.222, 0.075, 0.165, 0.089),
    (0.104, 0.109),
    (0.806, 0.754),
)


class BadSteps(ValueError):
    """A step string that cannot be read."""


def drum_vector(
    steps: np.ndarray,
    steps_per_bar: int = BAR_STEPS,
    time_signature: str | None = None,
    strokes: np.ndarray | None = None,
) -> np.ndarray:
    """Turn a pattern's grid into its vector.

    The same grid gives the same vector to the last bit. Its cosine with the vector of the same groove at another tempo,
    loudness or kit is above 0.9, and with that of a different groove below 0.7, nearly always. How often is measured by
    tests/accuracy/vectors.py.

    Args:
        steps: float (ROWS, bars · steps_per_bar), velocities in 0 to 1; one bar or two.
        steps_per_bar: 16 in 4/4.
        time_signature: Tells a bar of 6/8 from one of 3/4.
        strokes: float (bars · steps_per_bar,), how hard anything is struck on each step, 0 to 1; None takes the
            loudest drum.

    Returns:
        float32 (96,) of length 1; zeros for a grid without hits, which is like nothing.

    Raises:
        ValueError: The grid has another shape, or a number that is not finite.
    """
    steps = np.asarray(steps, np.float32)
    if steps.ndim != 2 or len(steps) != len(ROWS) or steps.shape[1] not in (steps_per_bar, 2 * steps_per_bar):
        raise ValueError(
            f"A drum grid has {len(ROWS)} rows of 1 or 2 bars of {steps_per_bar} steps, not the shape {steps.shape}."
        )
    if not np.isfinite(steps).all():
        raise ValueError("A drum grid holds finite velocities only.")
    if steps.max() <= 0:
        return np.zeros(DIMENSIONS, np.float32)
    if strokes is None:
        strokes = steps.max(axis=0)
    *rows, strokes = fit_two_bars(np.vstack([steps, strokes]), steps_per_bar, time_signature)
    return centre_grids(np.stack(rows)[None], strokes[None])[0]


def centre_grids(grids: np.ndarray, strokes: np.ndarray | None = None) -> np.ndarray:
    """The vectors of grids of two bars, (n, ROWS, 32) with strokes (n, 32) to float32 (n, 96); every grid has hits."""
    flat = np.concatenate(
        [
            part - (ABSENCE + (1 - ABSENCE) * presence) * np.resize(beat, part.shape[-1])
            for (part, presence), beat in zip(describe_grid(grids, strokes), AVERAGE_BEAT, strict=True)
        ],
        axis=-1,
    )
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).astype(np.float32)


def fit_two_bars(steps: np.ndarray, steps_per_bar: int, time_signature: str | None = None) -> np.ndarray:
    """Bring a grid of one or two bars of any meter to two bars of 16 steps, (rows, n) to float32 (rows, 32).

    A single bar is repeated. Beats in three parts become beats of four steps, which they are as long as; of two steps
    that become one the louder counts, the first of equals. The steps of other meters are spread over the 16 by their
    place in the bar, those between two steps shared by both: rhythms of one meter stay comparable with each other.
    """
    if time_signature in IN_THREE:
        thirds = steps.reshape(len(steps), -1, len(STEPS_OF_THIRDS))
        beats = np.zeros((*thirds.shape[:2], BEAT_STEPS), np.float32)
        for part, step in enumerate(STEPS_OF_THIRDS):
            beats[:, :, step] = np.where(
                np.abs(thirds[:, :, part]) > np.abs(beats[:, :, step]), thirds[:, :, part], beats[:, :, step]
            )
        return np.stack([np.resize(row, GRID_STEPS) for row in beats])
    bars = steps.reshape(len(steps), -1, steps_per_bar)
    if bars.shape[1] == 1:
        bars = np.repeat(bars, BARS, axis=1)
    if steps_per_bar != BAR_STEPS:
        place = np.arange(steps_per_bar) * BAR_STEPS / steps_per_bar
        distance = np.abs(place[:, None] - np.arange(BAR_STEPS + 1))
        share = np.clip(1 - distance, 0, 1)
        share[:, 0] += share[:, -1]
        bars = np.minimum(bars @ share[:, :BAR_STEPS], 1.0)
    return bars.reshape(len(steps), GRID_STEPS).astype(np.float32)


def describe_grid(grid: np.ndarray, strokes: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Compress, blur, join and balance grids of two bars, (…, ROWS, 32): the vectors before centring.

    Args:
        grid: Velocities, 0 to 1.
        strokes: float (…, 32), 0 to 1; None takes the loudest drum of each step.

    Returns:
        The parts, float (…, size) each, in the order of PART_SIZES, with their presence, (…, 1), 0 to 1.
    """
    if strokes is None:
        strokes = grid.max(axis=-2)
    loud = np.clip(np.concatenate([grid, strokes[..., None, :]], axis=-2), 0, 1) ** VELOCITY_POWER
    blurred = (1 - 2 * BLUR) * loud + BLUR * (np.roll(loud, 1, axis=-1) + np.roll(loud, -1, axis=-1))
    kick, snare, hihat, toms, ride, strokes = np.moveaxis(blurred, -2, 0)
    snare, toms = _stand_in(snare, toms)
    cymbals = _join_bars(np.maximum(hihat, ride))
    parts = (kick, snare, cymbals, _join_pairs(_join_bars(toms)), _join_pairs(_join_bars(strokes)))
    lengths = [np.linalg.norm(part, axis=-1, keepdims=True) for part in parts]
    return [
        (weight * part / np.maximum(length, LEAST_LENGTH) ** BALANCE, np.minimum(length / LEAST_LENGTH, 1))
        for part, length, weight in zip(parts, lengths, WEIGHTS, strict=True)
    ]


def _stand_in(snare: np.ndarray, toms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (…, 32) of the snare with the toms that stand in its place, and of the toms, of which half of them stays."""
    of_snare, of_toms = (np.square(row).sum(axis=-1, keepdims=True) for row in (SNARES_FOR_TOMS * snare, toms))
    share = of_toms / np.maximum(of_snare + of_toms, 1e-12)
    return np.maximum(snare, share * toms), (1 - share / 2) * toms


def _join_bars(rows: np.ndarray) -> np.ndarray:
    """The mean of both bars, (…, 32) to (…, 16)."""
    return (rows[..., :BAR_STEPS] + rows[..., BAR_STEPS:]) / BARS


def _join_pairs(rows: np.ndarray) -> np.ndarray:
    """Sixteenths to eighths, (…, n) to (…, n / 2)."""
    return rows[..., ::2] + rows[..., 1::2]


def average_grooves(grids: np.ndarray) -> list[list[float]]:
    """The average beat of grids (n, ROWS, 32), rounded as it stands in AVERAGE_BEAT."""
    means = [part.mean(axis=0) for part, _ in describe_grid(grids)]
    return [
        mean.astype(float).reshape(-1, len(beat)).mean(axis=0).round(3).tolist()
        for mean, beat in zip(means, AVERAGE_BEAT, strict=True)
    ]


def grid_from_steps(text: str) -> np.ndarray:
    """Read a step string such as "kick=x...x... snare=....x..." as a grid.

    One character is a sixteenth: X loud, x normal, o soft, g a ghost note, and . - _ a rest. A row of 1, 2, 4, 8 or 16
    steps is repeated to fill two bars; one of 12, 14 or 20 is a bar of 3/4, 7/8, or 5/4, twice as many are two. With
    "6/8" as its first word, a row of 12 is a bar of 6/8.

    Returns:
        Velocities, float32 (ROWS, 32); a row that is not given is empty.

    Raises:
        BadSteps: Another instrument, another character, or another number of steps.
    """
    grid = np.zeros((len(ROWS), GRID_STEPS), np.float32)
    time_signature, rows = split_meter(text.replace(",", " ").replace(";", " "))
    parts = rows.split()
    if not parts:
        raise BadSteps('No steps were given. Write them like "kick=x...x... snare=....x...".')
    for part in parts:
        instrument, equals, characters = part.partition("=")
        if not equals or instrument not in ROWS:
            raise BadSteps(f'"{part}" names no drum. Write kick=, snare=, hihat=, tom= or ride= before the steps.')
        unknown = set(characters) - set(STEP_VELOCITY)
        if unknown:
            raise BadSteps(f'"{sorted(unknown)[0]}" in {part} is no step. Use x X o g for hits and . - _ for rests.')
        row = np.array([STEP_VELOCITY[character] for character in characters], np.float32)
        grid[ROWS.index(instrument)] = _fill_row(row, part, time_signature)
    return grid


def write_steps(steps: np.ndarray, steps_per_bar: int = BAR_STEPS, time_signature: str | None = None) -> str:
    """Write a pattern's grid as a step string: x for a hit, . for none; after "6/8" where that is the meter.

    Hits under GHOST_LEVEL of their instrument's loudest are left out, and two equal bars are written once: the same
    groove has the same string at any loudness, and with or without ghost notes.

    Args:
        steps: float (ROWS, bars · steps_per_bar).
        steps_per_bar: 16 in 4/4.
        time_signature: Tells a bar of 6/8 from one of 3/4.

    Returns:
        Such as "kick=x.......x....... snare=....x.......x... hihat=x.x.x.x.x.x.x.x."; empty for a grid without hits.
    """
    played = (steps > 0) & (steps >= GHOST_LEVEL * steps.max(axis=1, keepdims=True))
    bars = played.reshape(len(ROWS), -1, steps_per_bar)
    if (bars == bars[:, :1]).all():
        bars = bars[:, :1]
    rows = bars.reshape(len(ROWS), -1)
    words = [
        f"{instrument}={''.join('x' if hit else '.' for hit in row)}"
        for instrument, row in zip(ROWS, rows, strict=True)
        if row.any()
    ]
    return join_meter(time_signature, " ".join(words))


def join_meter(time_signature: str | None, rows: str) -> str:
    """The words of a pattern: its rows, after "6/8" where that is the meter, which their length does not tell."""
    return f"{SIX_EIGHT} {rows}" if rows and time_signature == SIX_EIGHT else rows


def split_meter(text: str) -> tuple[str | None, str]:
    """The meter that words begin with, None without one, and the rows after it."""
    first, _, rows = text.strip().partition(" ")
    return (SIX_EIGHT, rows.strip()) if first == SIX_EIGHT else (None, text.strip())


def count_bar_steps(row: str, steps: int, time_signature: str | None) -> int:
    """Steps in a bar of a row of so many steps: 16 for one that is repeated to fill two bars of 4/4.

    Raises:
        BadSteps: They make no bars; the row is named.
    """
    if time_signature is None and steps and GRID_STEPS % steps == 0:
        return BAR_STEPS
    for steps_per_bar in OTHER_BARS if time_signature is None else (BAR_OF_SIX_EIGHT,):
        if steps in (steps_per_bar, BARS * steps_per_bar):
            return steps_per_bar
    if time_signature:
        raise BadSteps(f"{row} has {steps} steps; a bar of 6/8 has 12, and two have 24.")
    raise BadSteps(f"{row} has {steps} steps; 1, 2, 4, 8, 16, 32, or one or two bars of 12, 14 or 20 make bars.")


def grid_from_midi(data: bytes) -> tuple[np.ndarray, int, str | None] | None:
    """Read the drum pattern of a MIDI file by its written positions.

    Returns:
        The grid (ROWS, 1 or 2 bars), its steps in a bar and its time signature, as `drum_vector` takes them; None
        without drums on channel 10.

    Raises:
        MidiError: The bytes are no MIDI file.
    """
    hits, time_signature = read_drum_ticks(data)
    if not len(hits):
        return None
    quarters_per_bar = count_steps(time_signature, beats=4) / 4
    bars = max(1, int(np.ceil((hits.time_s[-1] + 0.125) / quarters_per_bar)))
    pattern = fold_pattern(
        hits,
        beat_time_s=np.arange(bars + 1) * quarters_per_bar,
        beat_in_bar=np.ones(bars + 1, int),
        start_s=0.0,
        end_s=bars * quarters_per_bar,
        time_signature=time_signature,
        params=PatternParams(min_hits=1),
    )
    return None if pattern is None else (pattern.steps, pattern.steps_per_bar, pattern.time_signature)


def _fill_row(row: np.ndarray, part: str, time_signature: str | None) -> np.ndarray:
    """One row of 32 steps from a shorter one."""
    steps_per_bar = count_bar_steps(part, len(row), time_signature)
    if steps_per_bar == BAR_STEPS:
        return np.resize(row, GRID_STEPS)
    return fit_two_bars(row[None], steps_per_bar, time_signature)[0]
