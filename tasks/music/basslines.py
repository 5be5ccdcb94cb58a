"""The pattern of a bass line in a section, its words and its vector. Its notes are heard in notes.py.

A bass line follows the chords, so its bars are not averaged as those of drums are: the pattern is the pair of bars that
is most like all others. Pitches are told as semitones above the main note, the pitch class that sounds longest: a line
is the same pattern in every key.
"""

from dataclasses import dataclass

import numpy as np

from tasks.music.notes import Notes
from tasks.music.patterns import MAX_VELOCITY, Bars, find_bars, measure_regularity, pair_bars
from tasks.music.vectors import (
    BAR_STEPS,
    BARS,
    DIMENSIONS,
    GRID_STEPS,
    BadSteps,
    count_bar_steps,
    fit_two_bars,
    join_meter,
    split_meter,
)

VERSION = "nearest-bars-1+fifths-2"
SEMITONES = 12
FIFTH = 7
REST = -1
DIGITS = "0123456789ab"
RESTS = ".-_"
WRITTEN_VELOCITY = 0.8  # of the notes of a line that is written out
VELOCITY_POWER = 0.5
BLUR = 0.2  # share of a step that goes to each of its neighbours
PITCH_WEIGHT = 0.7  # of the two rows of pitch beside that of rhythm
CENTRED = 0.8  # share of each row's mean that is taken off: lines that fill every step keep something


@dataclass(frozen=True)
class BassPattern:
    """The representative bars of a section's bass.

    Attributes:
        bars: 2, or 1 where the section has no two adjacent bars.
        steps_per_bar: 16 in 4/4.
        velocity: float32 (bars · steps_per_bar,), velocity / 127 of the note that begins on each step, 0 without one.
        interval: int64, likewise: its semitones above the main note, 0 to 11; REST without one.
        midi_data: The notes of the whole section: start times under "bass" and lengths under "duration_s", in seconds
            from the section's start, and "midi_note".
        quality_score: How alike the section's bars are and how sure the notes, 0 to 1.
    """

    bars: int
    steps_per_bar: int
    velocity: np.ndarray
    interval: np.ndarray
    midi_data: dict[str, list]
    quality_score: float


@dataclass(frozen=True)
class BasslineParams:
    """What a pattern needs."""

    min_notes: int = 3


def fold_bassline(
    notes: Notes,
    beat_time_s: np.ndarray,
    beat_in_bar: np.ndarray,
    start_s: float,
    end_s: float,
    time_signature: str | None = None,
    params: BasslineParams = BasslineParams(),
) -> BassPattern | None:
    """Find the bars that stand for the bass of a section.

    Args:
        notes: The bass of the track.
        beat_time_s: float (beats,), the beats of the track in ascending order.
        beat_in_bar: int (beats,), 1 on the downbeat.
        start_s: Start of the section.
        end_s: End of the section.
        time_signature: Such as "4/4" or "6/8"; None counts as the beats say, in quarters.
        params: What a pattern needs.

    Returns:
        The pattern; None for a section without a complete bar or with too few notes in any pair of bars.
    """
    bars = find_bars(beat_time_s, beat_in_bar, start_s, end_s, time_signature)
    if bars is None:
        return None
    pairs, _ = pair_bars(place_notes(notes, bars), bars)
    full = (pairs > 0).any(axis=1).sum(axis=1) >= params.min_notes
    if not full.any():
        return None
    pairs = pairs[full]
    likeness = _compare(pairs)
    chosen = pairs[int(np.argmax(likeness))]
    velocity, pitch_class = chosen.max(axis=0), chosen.argmax(axis=0)
    inside = notes.select((notes.time_s >= start_s) & (notes.time_s < end_s))
    interval = np.where(velocity > 0, (pitch_class - find_main_note(inside)) % SEMITONES, REST)
    quality = measure_regularity(likeness) * float(inside.confidence.mean() if len(inside) else 0.0)
    return BassPattern(
        bars=len(velocity) // bars.steps_per_bar,
        steps_per_bar=bars.steps_per_bar,
        velocity=velocity.astype(np.float32),
        interval=interval.astype(np.int64),
        midi_data={
            "bass": np.round(inside.time_s - start_s, 4).tolist(),
            "duration_s": np.round(inside.duration_s, 4).tolist(),
            "midi_note": inside.midi_note.tolist(),
        },
        quality_score=round(float(np.clip(quality, 0, 1)), 4),
    )


def find_main_note(notes: Notes) -> int:
    """The pitch class (0 = C) that sounds longest."""
    return int(np.bincount(notes.midi_note % SEMITONES, notes.duration_s, SEMITONES).argmax())


def place_notes(notes: Notes, bars: Bars) -> np.ndarray:
    """Lay notes on the nearest steps of bars: velocities in 0 to 1, float32 (bars, 12 pitch classes, steps_per_bar).

    A note shortly before a bar counts as its first step. Of two notes on a step the louder counts.
    """
    grid = np.zeros((len(bars), SEMITONES, bars.steps_per_bar), np.float32)
    places = np.linspace(0, bars.steps_per_bar, bars.beat_time_s.shape[1])
    for bar, beats in enumerate(bars.beat_time_s):
        early_s = (beats[1] - beats[0]) / places[1] / 2
        inside = notes.select((notes.time_s >= beats[0] - early_s) & (notes.time_s < beats[-1]))
        step = np.rint(np.interp(inside.time_s, beats, places)).astype(int)
        kept = step < bars.steps_per_bar  # what is nearer to the next bar is that bar's
        loud = (inside.velocity / MAX_VELOCITY)[kept]
        np.maximum.at(grid[bar], (inside.midi_note[kept] % SEMITONES, step[kept]), loud)
    strongest = grid.max(axis=1, keepdims=True)
    return np.where(grid == strongest, grid, 0.0).astype(np.float32)


def bass_vector(
    velocity: np.ndarray, interval: np.ndarray, steps_per_bar: int = BAR_STEPS, time_signature: str | None = None
) -> np.ndarray:
    """Turn a bass pattern into 96 numbers that are compared as cosines, in the shape of a drum vector.

    ======  ====================================================================================
    0–15    the first bar's sixteenths: the root of the velocity of the note that begins there
    16–31   the second bar
    32–63   the same times the cosine of its place on the circle of fifths, 0 for the main note
    64–95   the same times the sine
    ======  ====================================================================================

    Every row is blurred a little over the neighbouring steps, and most of its mean is taken off. For two lines in one
    rhythm the cosine falls with the distance of their pitches on the circle of fifths: a fifth is near, a tritone far.
    Beats in three parts, in 6/8, lie on the steps as the triplets of 4/4 do.

    Args:
        velocity: float (bars · steps_per_bar,), 0 to 1, of one bar or two.
        interval: int, likewise; see `BassPattern`.
        steps_per_bar: 16 in 4/4.
        time_signature: Tells a bar of 6/8 from one of 3/4.

    Returns:
        float32 (96,) of length 1; zeros for a line without notes.

    Raises:
        ValueError: Other lengths, or a velocity that is not finite.
    """
    velocity, interval = np.asarray(velocity, np.float32), np.asarray(interval)
    if velocity.shape != interval.shape or velocity.shape not in ((steps_per_bar,), (BARS * steps_per_bar,)):
        raise ValueError(f"A bass line has 1 or 2 bars of {steps_per_bar} steps, not the shape {velocity.shape}.")
    if not np.isfinite(velocity).all():
        raise ValueError("A bass line holds finite velocities only.")
    loud = np.clip(velocity, 0, 1) ** VELOCITY_POWER
    angle = 2 * np.pi * FIFTH * interval / SEMITONES
    grid = fit_two_bars(np.stack([loud, loud * np.cos(angle), loud * np.sin(angle)]), steps_per_bar, time_signature)
    rows = (1 - 2 * BLUR) * grid + BLUR * (np.roll(grid, 1, axis=1) + np.roll(grid, -1, axis=1))
    rows = (rows - CENTRED * rows.mean(axis=1, keepdims=True)) * np.array([[1.0], [PITCH_WEIGHT], [PITCH_WEIGHT]])
    length = np.linalg.norm(rows)
    return np.zeros(DIMENSIONS, np.float32) if length < 1e-6 else (rows / length).ravel().astype(np.float32)


def write_bassline(interval: np.ndarray, steps_per_bar: int = BAR_STEPS, time_signature: str | None = None) -> str:
    """Write a line in words: a digit for each note, its semitones above the main note, a for 10 and b for 11.

    Returns:
        Such as "bass=0.......7...5...", after "6/8" where that is the meter; equal bars are written once.
    """
    bars = np.asarray(interval).reshape(-1, steps_per_bar)
    if (bars == bars[:1]).all():
        bars = bars[:1]
    return join_meter(time_signature, "bass=" + "".join("." if step == REST else DIGITS[step] for step in bars.ravel()))


def read_bassline(text: str) -> tuple[np.ndarray, np.ndarray, int, str | None]:
    """Read a line as `write_bassline` writes it; a bar of 1, 2, 4 or 8 steps is repeated.

    Returns:
        Velocities, intervals, steps in a bar and the time signature, as `bass_vector` takes them.

    Raises:
        BadSteps: Another character or number of steps, or no note.
    """
    time_signature, line = split_meter(text)
    name, _, steps = line.partition("=")
    unknown = set(steps.lower()) - set(DIGITS + RESTS)
    if name != "bass" or unknown or not steps:
        told = f'"{sorted(unknown)[0]}" is no step' if unknown else f'"{text}" is no bass line'
        raise BadSteps(
            f"{told}. Write bass= and a digit for each note, its semitones above the main one, as in bass=0..7."
        )
    interval = np.array([REST if step in RESTS else DIGITS.index(step) for step in steps.lower()])
    if (interval == REST).all():
        raise BadSteps(f"{text} has no note.")
    steps_per_bar = count_bar_steps(text, len(interval), time_signature)
    if steps_per_bar == BAR_STEPS:
        interval = np.resize(interval, GRID_STEPS)
    velocity = np.where(interval == REST, 0.0, WRITTEN_VELOCITY).astype(np.float32)
    return velocity, interval, steps_per_bar, time_signature


def _compare(pairs: np.ndarray) -> np.ndarray:
    """Cosines of grids (n, 12, steps) with their mean, (n,)."""
    flat = np.sqrt(pairs).reshape(len(pairs), -1)
    flat = flat / np.maximum(1e-12, np.linalg.norm(flat, axis=1, keepdims=True))
    mean = flat.mean(axis=0)
    return flat @ mean / max(1e-12, np.linalg.norm(mean))
