"""What is played in the made-up songs of the pulse network: drum patterns, accompaniments and tunes that know the bar.

An event is (tick, key, velocity, ticks long), with TICKS a beat from the first downbeat on; the key is a MIDI note, or
an index of PIECES for drums. Patterns are one bar long and are laid over the bars of a song.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tasks.models.training.kits import PIECES
from tasks.models.training.pulse_sounds import BASSES, CHORDS, LEADS, PADS
from tasks.music.meter import BEATS_PER_BAR

TICKS = 12
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 8, 11), (0, 2, 4, 5, 7, 9, 10))
SEVENS = ((0, 2, 4), (0, 3, 5), (0, 2, 5))  # where the groups of a bar of 7/8 begin, in eighths
FIVES = ((0, 3), (0, 3), (0, 2))

# How a beat, or two, or a bar is filled with notes; in ticks, with how usual it is.
CELLS = (
    (12,),
    (6, 6),
    (6, 3, 3),
    (3, 3, 6),
    (3, 3, 3, 3),
    (9, 3),
    (4, 4, 4),
    (3, 9),
)
CELL_WEIGHTS = (3.0, 3.0, 1.0, 0.7, 1.2, 1.0, 0.3, 0.2)
PAIRS = ((24,), (18, 6), (6, 12, 6), (12, 12), (9, 9, 6))
TERNARY_CELLS = ((4, 4, 4), (8, 4), (12,), (4, 8), (6, 2, 4), (4, 4, 2, 2), (2, 2, 4, 4), (4, 2, 2, 4))
TERNARY_WEIGHTS = (3.5, 2.5, 1.5, 0.4, 0.6, 0.4, 0.4, 0.3)

# Drum patterns in 4/4, with how usual they are.
STYLES = (
    "rock", "four", "half", "double", "one drop", "break", "jazz", "latin", "march", "free",
    "three three two", "off-beat", "sixteenths", "triplets", "dembow",
)  # fmt: skip
USUAL_STYLES = (0.34, 0.15, 0.11, 0.06, 0.04, 0.1, 0.06, 0.06, 0.03, 0.05, 0, 0, 0, 0, 0)

Hit = tuple[int, str, float]  # tick in the bar, piece, velocity


@dataclass(frozen=True)
class Part:
    """Events (n, 4) and the programs one of which plays them; no programs for drums."""

    events: np.ndarray
    programs: tuple[int, ...] = ()
    level_db: float = 0.0
    is_tune: bool = False


@dataclass(frozen=True)
class Form:
    """A song without its tempo: meter, how many bars, its sections as (first bar, bar behind the last, letter)."""

    meter: str
    bars: int
    sections: tuple[tuple[int, int, int], ...]
    groups: tuple[int, ...]  # beats on which groups within a bar begin

    @property
    def bar_ticks(self) -> int:
        return TICKS * BEATS_PER_BAR[self.meter]

    @property
    def part_ticks(self) -> int:
        """Ticks of the usual division of a beat."""
        return {"6/8": 4, "7/8": 12}.get(self.meter, 6)


def draw_form(meter: str, bars: int, rng: np.random.Generator) -> Form:
    length = int(rng.choice([4, 4, 8, 8, 2, 16]))
    first = int(rng.integers(0, length))  # sections may have begun before the clip
    edges = [0, *range(first if first else length, bars, length), bars]
    letters = rng.choice([0, 0, 1], len(edges))
    sections = tuple((*span, int(x)) for span, x in zip(pairwise(edges), letters, strict=False) if span[1] > span[0])
    groups = {"7/8": SEVENS, "5/4": FIVES, "4/4": ((0, 2),)}.get(meter, ((0,),))
    return Form(meter, bars, sections, groups[rng.integers(len(groups))])


def make_drums(form: Form, rng: np.random.Generator, styles: tuple[float, ...] = USUAL_STYLES) -> Part:
    """Two patterns that take turns by section, with fills at the ends, crashes at the beginnings and a rest or two."""
    first = draw_beat(form, rng, styles)
    second = draw_beat(form, rng, styles) if rng.random() < 0.4 else _vary(first, form, rng)
    rests, fills, crashes = rng.random() < 0.25, rng.random() * 0.9, rng.random() * 0.8
    events = []
    for begin, end, letter in form.sections:
        if rests and rng.random() < 0.25:
            continue
        bars = np.arange(begin, end)
        if rng.random() < fills:
            events.append(_lay(_draw_fill(form, second if letter else first, rng), bars[-1:], form, rng))
            bars = bars[:-1]
        events.append(_lay(second if letter else first, bars, form, rng))
        if rng.random() < crashes:
            events.append(_lay([(0, "crash", 110)], np.array([begin]), form, rng))
    table = np.concatenate([np.zeros((0, 4)), *events])
    return Part(table[rng.random(len(table)) < rng.choice([0.93, 0.98, 1.0])])


def draw_beat(form: Form, rng: np.random.Generator, styles: tuple[float, ...] = USUAL_STYLES) -> list[Hit]:
    """One bar of drums in a style of the meter."""
    meter, beats = form.meter, BEATS_PER_BAR[form.meter]
    style = str(rng.choice(STYLES, p=styles)) if meter == "4/4" else ""
    kicks, snares = _draw_kicks_and_snares(form, rng, style)
    snare = str(rng.choice(["snare", "snare", "snare", "snare", "snare_rim", "stick", "clap"]))
    kick = "kick" if rng.random() < 0.96 else "tom_low"
    hits = [(int(t), kick, 112.0 if t == 0 else rng.uniform(75, 112)) for t in kicks]
    hits += [(int(t), snare, rng.uniform(95, 118)) for t in snares]
    hits += _draw_cymbals(form, rng, style)
    if rng.random() < (0.6 if style == "sixteenths" else 0.25) and meter != "7/8":  # ghost notes
        grid = np.arange(0, form.bar_ticks, 4 if style == "triplets" else form.part_ticks // 2)
        hits += [(int(t), "snare", rng.uniform(18, 45)) for t in grid if t not in snares and rng.random() < 0.2]
    if rng.random() < 0.25:
        piece = str(rng.choice(["shaker", "tambourine", "conga", "clave", "cowbell", "tambourine"]))
        step = int(rng.choice([form.part_ticks, max(2, form.part_ticks // 2), TICKS]))
        places = np.arange(0, form.bar_ticks, step)
        if rng.random() < 0.4:
            places = places[rng.random(len(places)) < 0.6]
        hits += [(int(t), piece, 90.0 if t % TICKS == 0 else 65.0) for t in places]
    if not hits:
        hits = [(TICKS * beat, "kick", 100.0) for beat in range(beats)]
    return hits


def _draw_kicks_and_snares(form: Form, rng: np.random.Generator, style: str) -> tuple[list[int], list[int]]:
    meter, bar, part = form.meter, form.bar_ticks, form.part_ticks
    beats = list(range(0, bar, TICKS))
    grid = np.arange(0, bar, part)

    def some(share: float, among: np.ndarray | list[int]) -> list[int]:
        return [int(t) for t in among if rng.random() < share]

    if meter == "4/4":
        sixteenths = np.arange(3, 48, 3)
        if style == "rock":
            return [0, *some(0.7, [24]), *some(0.22, [6, 18, 30, 42])], [12, 36]
        if style == "four":
            return beats, [[12, 36], [12, 36], [36], []][rng.integers(4)]
        if style == "half":
            return [0, *some(0.2, [6, 12, 15, 18, 30, 36, 39, 42])], [24]
        if style == "double":
            return [[0, 24], beats][rng.integers(2)], [6, 18, 30, 42]
        if style == "one drop":
            return [24, *some(0.2, [0])], [24]
        if style == "break":
            return [0, *some(0.5, [6]), *some(0.15, sixteenths)], [12, 36, *some(0.12, sixteenths)]
        if style == "jazz":
            return some(0.3, beats), some(0.12, [8, 20, 32, 44, 24])
        if style == "latin":
            return [0, 18, 24, 42] if rng.random() < 0.6 else [0, 18, 36], some(0.9, [0, 18, 36, 60])[:-1] or [12]
        if style == "march":
            return [0, 24], [*beats, *some(0.4, sixteenths)]
        if style == "three three two":  # bars that could be taken for groups of three
            snares = [[12, 36], [12, 36], [36], [18, 36]][rng.integers(4)]
            return [0, 18, *some(0.5, [36]), *some(0.15, [6, 30, 42])], snares
        if style == "off-beat":
            snares = [[18, 42], [6, 30], [18, 30], [6, 18, 30], [18], [9, 30], [12, 30, 42]][rng.integers(7)]
            return [0, *some(0.4, [12, 24, 36]), *some(0.2, [6, 15, 21, 30, 33, 42])], snares
        if style == "sixteenths":
            return [0, *some(0.28, [6, 9, 15, 18, 21, 27, 30, 33, 42, 45])], [12, 36, *some(0.08, [21, 27, 45])]
        if style == "triplets":
            return [0, *some(0.75, [24]), *some(0.15, [8, 20, 32, 44])], [[12, 36], [12, 36], [24]][rng.integers(3)]
        if style == "dembow":
            return beats if rng.random() < 0.7 else [0, 24], [9, 18, 33, 42]
        return [0, *some(0.25, sixteenths)], some(0.25, sixteenths) or [36]
    if meter == "3/4":
        snares = [[12, 24], [24], [12], [], [12, 24]][rng.integers(5)]
        return [0, *some(0.12, grid[1:])], snares
    if meter == "6/8":
        snares = [[12], [12], [12], [8, 20], [12, *some(0.4, [20])], []][rng.integers(6)]
        return [0, *some(0.15, [4, 8, 16, 20]), *some(0.1, [12])], snares
    if meter == "5/4":
        second = TICKS * form.groups[1]
        snares = [[12, 36], [12, 48], [24, 48], [36], [second], [second + 12]][rng.integers(6)]
        return [0, *some(0.5, [second]), *some(0.12, grid[1:])], snares
    starts = [TICKS * group for group in form.groups]
    snares = [starts[1:], starts[2:], starts[1:2]][rng.integers(3)]
    return [0, *some(0.3, starts[1:]), *some(0.1, grid[1:])], snares


def _draw_cymbals(form: Form, rng: np.random.Generator, of_beat: str) -> list[Hit]:
    bar, part = form.bar_ticks, 4 if of_beat == "triplets" else form.part_ticks
    piece = str(rng.choice(["hihat_closed", "hihat_closed", "hihat_closed", "ride", "hihat_open", "shaker"]))
    in_three = ("parts", "parts", "beats", "long-short", "none")
    styles = {"6/8": in_three, "triplets": in_three, "7/8": ("parts", "parts", "groups", "none")}
    styles["sixteenths"] = ("fine", "fine", "parts", "off")
    usual = ("parts", "parts", "parts", "beats", "off", "fine", "jazz", "none")
    style = str(rng.choice(styles.get(of_beat) or styles.get(form.meter, usual)))
    accent, soft = rng.uniform(75, 105), rng.uniform(45, 90)
    if style == "none":
        return []
    if style == "jazz":
        pattern = [(t, "ride", 90.0) for t in range(0, bar, TICKS)]
        pattern += [(t + 8, "ride", 70.0) for t in range(TICKS, bar, 2 * TICKS)]
        return pattern + [(t, "hihat_pedal", 75.0) for t in range(TICKS, bar, 2 * TICKS)]
    if style == "groups":
        return [(TICKS * group, piece, accent) for group in form.groups]
    if style == "long-short":
        return [(t + s, piece, accent if s == 0 else soft) for t in range(0, bar, TICKS) for s in (0, 8)]
    if style == "off":
        return [(t + part, str(rng.choice(["hihat_open", piece])), accent) for t in range(0, bar, TICKS)]
    step = {"parts": part, "fine": part // 2, "beats": TICKS}[style]
    hits = [(t, piece, accent if t % TICKS == 0 else soft) for t in range(0, bar, step)]
    if rng.random() < 0.2:
        hits = [hit for hit in hits if rng.random() < 0.8]
    if piece == "hihat_closed" and rng.random() < 0.25:
        hits[-1:] = [(hits[-1][0], "hihat_open", accent) if hits else (0, piece, accent)]
    return hits


def _vary(hits: list[Hit], form: Form, rng: np.random.Generator) -> list[Hit]:
    """The same beat with a few hits less and a few more."""
    kept = [hit for hit in hits if hit[0] == 0 or rng.random() < 0.85]
    grid = range(form.part_ticks, form.bar_ticks, form.part_ticks)
    return kept + [(t, "kick", 95.0) for t in grid if rng.random() < 0.1]


def _draw_fill(form: Form, hits: list[Hit], rng: np.random.Generator) -> list[Hit]:
    """The bar's first part as ever, then strokes over snare and toms."""
    start = int(rng.choice([0.25, 0.5, 0.5, 0.75]) * form.bar_ticks)
    step = int(rng.choice([form.part_ticks, max(2, form.part_ticks // 2)]))
    pieces = rng.choice(["snare", "snare", "tom_high", "tom_mid", "tom_low"], 48)
    strokes = [(t, str(pieces[t % 48]), 100.0) for t in range(start, form.bar_ticks, step) if rng.random() < 0.8]
    return [hit for hit in hits if hit[0] < start] + strokes


def _lay(hits: list[Hit], bars: np.ndarray, form: Form, rng: np.random.Generator) -> np.ndarray:
    if not hits or not len(bars):
        return np.zeros((0, 4))
    tick, piece, velocity = (np.array(column) for column in zip(*hits, strict=True))
    tick = tick.astype(float)
    index = np.array([PIECES.index(name) for name in piece], float)
    at = (bars[:, None] * form.bar_ticks + tick).ravel()
    loud = np.tile(velocity.astype(float), len(bars)) * rng.uniform(0.85, 1.12, len(at))
    return np.column_stack([at, np.tile(index, len(bars)), np.clip(loud, 5, 127), np.full(len(at), 6.0)])


class Harmony:
    """The chord of every bar, or half or two of them, in a loop; degrees of a scale."""

    def __init__(self, form: Form, rng: np.random.Generator) -> None:
        halves = form.meter in ("4/4", "6/8") and rng.random() < 0.25
        self.step = form.bar_ticks * (0.5 if halves else float(rng.choice([1, 1, 1, 2])))
        length = int(rng.choice([4, 4, 8, 2]))
        loop = [0, *rng.choice([3, 4, 5, 1, 2, 0, 3, 4], length - 1)] if rng.random() < 0.94 else [0]
        self.key, self.scale = int(rng.integers(12)), np.array(SCALES[rng.integers(len(SCALES))])
        self.loop = np.array(loop)
        self.shift = int(rng.integers(len(loop)))

    def degree_at(self, tick: np.ndarray) -> np.ndarray:
        return self.loop[(np.floor(tick / self.step).astype(int) + self.shift) % len(self.loop)]

    def note_of(self, degree: np.ndarray, octave: int) -> np.ndarray:
        return 12 * octave + self.key + self.scale[degree % 7] + 12 * (degree // 7)


def make_band(form: Form, rng: np.random.Generator, *, alone: bool, chordal: bool = False) -> list[Part]:
    """Some of bass, chords, figures, pads and tune; `alone` without drums, where the tune is surer to be there.

    A `chordal` tune has notes of the chord on the beats.
    """
    harmony = Harmony(form, rng)
    dynamics = _Dynamics(rng)
    parts = []
    if alone and rng.random() < 0.6:
        parts.append(Part(_make_tune(form, harmony, dynamics, rng, chordal), LEADS, rng.uniform(0, 5), is_tune=True))
        style = rng.choice(["block", "boom", "boom", "comp", "none"], p=[0.35, 0.2, 0.2, 0.15, 0.1])
        if style == "block":
            parts.append(Part(_hold(form, harmony, dynamics, rng), CHORDS, rng.uniform(-10, 0)))
        elif style == "boom":
            parts += _make_boom_chick(form, harmony, dynamics, rng)
        elif style == "comp":
            parts.append(Part(_comp(form, harmony, dynamics, rng), CHORDS, rng.uniform(-8, 0)))
        return parts
    if rng.random() < 0.8:
        parts.append(Part(_make_bass(form, harmony, dynamics, rng), BASSES, rng.uniform(-3, 4)))
    if rng.random() < 0.75:
        parts.append(Part(_comp(form, harmony, dynamics, rng), CHORDS, rng.uniform(-8, 2)))
    if rng.random() < 0.3:
        parts.append(Part(_hold(form, harmony, dynamics, rng), PADS, rng.uniform(-12, 0)))
    if rng.random() < 0.25:
        parts.append(Part(_figure(form, harmony, dynamics, rng), CHORDS, rng.uniform(-8, 0)))
    if rng.random() < 0.6 or not parts:
        parts.append(Part(_make_tune(form, harmony, dynamics, rng, chordal), LEADS, rng.uniform(-4, 4), is_tune=True))
    return [_rest(part, form, rng) if rng.random() < 0.3 else part for part in parts]


class _Dynamics:
    """How much louder downbeats and beats are, the same for the whole band; often not at all."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.bar, self.beat = float(rng.choice([0, 0, 6, 14, 24])), float(rng.choice([0, 0, 4, 10]))
        self.spread = float(rng.choice([0, 3, 8, 12]))

    def at(self, tick: np.ndarray, bar_ticks: int, usual: float) -> np.ndarray:
        louder = self.bar * (tick % bar_ticks == 0) + self.beat * (tick % TICKS == 0)
        return np.clip(usual + louder + self.rng.normal(0, self.spread, len(tick)), 20, 127)


def _events(
    tick: np.ndarray, note: np.ndarray, long: np.ndarray, usual: float, form: Form, dynamics: _Dynamics
) -> np.ndarray:
    return np.column_stack([tick, note, dynamics.at(tick, form.bar_ticks, usual), long])


def _spread(bar_pattern: list[int], form: Form) -> tuple[np.ndarray, np.ndarray]:
    """A pattern over all bars: ticks, and how long until the next of them."""
    at = (np.arange(form.bars)[:, None] * form.bar_ticks + np.array(bar_pattern, float)).ravel()
    return at, np.diff(at, append=form.bars * form.bar_ticks)


def _chords(
    tick: np.ndarray, long: np.ndarray, harmony: Harmony, octave: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    degree = harmony.degree_at(tick)
    notes = np.concatenate([harmony.note_of(degree + third, octave) for third in (0, 2, 4)])
    return np.tile(tick, 3), notes, np.tile(long, 3)


def _hold(form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator) -> np.ndarray:
    """A chord wherever the harmony changes, held."""
    tick = np.arange(0, form.bars * form.bar_ticks, harmony.step)
    return _events(*_chords(tick, np.full(len(tick), harmony.step * 0.97), harmony, 4), 72, form, dynamics)


def _comp(form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator) -> np.ndarray:
    """Chords in a rhythm that every bar repeats."""
    beats, part = list(range(0, form.bar_ticks, TICKS)), form.part_ticks
    grid = list(range(0, form.bar_ticks, part))
    off = [beat + (8 if part == 4 else 6) for beat in beats]
    some = (
        sorted({0, *(t for t in grid if rng.random() < 0.4)})
        if rng.random() < 0.7
        else [t for t in grid if rng.random() < 0.5]
    )
    after = beats[1:]
    pattern = [[0], beats, off, some, some, grid, after, [TICKS * group for group in form.groups]][rng.integers(8)] or [
        0
    ]
    tick, long = _spread(pattern, form)
    long = np.minimum(long, 48) * rng.choice([0.3, 0.6, 0.95])
    return _events(*_chords(tick, long, harmony, int(rng.choice([4, 4, 5]))), 72, form, dynamics)


def _figure(form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator) -> np.ndarray:
    """Broken chords on the grid; the figure begins anew with the bar or the beat."""
    step = int(rng.choice([form.part_ticks, form.part_ticks, max(2, form.part_ticks // 2), TICKS]))
    grid = list(range(0, form.bar_ticks, step))
    order = np.resize(rng.integers(0, 5, int(rng.choice([len(grid), max(1, TICKS // step), 3, 4]))), len(grid))
    tick, long = _spread(grid, form)
    degree = harmony.degree_at(tick) + 2 * np.tile(order, form.bars)
    return _events(tick, harmony.note_of(degree, 4), long * 0.9, 72, form, dynamics)


def _make_bass(form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator) -> np.ndarray:
    beats = list(range(0, form.bar_ticks, TICKS))
    grid = list(range(0, form.bar_ticks, form.part_ticks))
    some = [0, *(t for t in grid[1:] if rng.random() < 0.4)]
    groups = [TICKS * group for group in form.groups]
    pattern = [[0], groups, some, some, beats, grid, groups][rng.integers(7)]
    tick, long = _spread(pattern, form)
    walking = rng.choice([0.0, 0.3, 0.9])
    other = rng.choice([0, 4, 2, 7], len(pattern)) * (rng.random(len(pattern)) < walking)
    other[0] = 0
    degree = harmony.degree_at(tick) + np.tile(other, form.bars)
    return _events(tick, harmony.note_of(degree, 3), long * rng.choice([0.4, 0.8, 0.98]), 92, form, dynamics)


def _make_boom_chick(form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator) -> list[Part]:
    """The bass on the strong beats, the chord between them."""
    if form.meter == "6/8":
        booms, chicks = [0, 12], [[8, 20], [4, 8, 16, 20]][rng.integers(2)]
        booms = booms if rng.random() < 0.8 else [0]
    else:
        booms = [TICKS * group for group in form.groups]
        booms = booms if rng.random() < 0.8 else [0]
        chicks = [t for t in range(0, form.bar_ticks, TICKS) if t not in booms]
    tick, long = _spread(booms, form)
    fifth = np.tile(np.where(np.arange(len(booms)) > 0, 4 * int(rng.random() < 0.5), 0), form.bars)
    bass = _events(tick, harmony.note_of(harmony.degree_at(tick) + fifth, 3), long * 0.6, 85, form, dynamics)
    tick, long = _spread(chicks, form)
    chords = _events(*_chords(tick, np.minimum(long, 12) * 0.5, harmony, 4), 68, form, dynamics)
    return [Part(bass, (*BASSES, *CHORDS), rng.uniform(-6, 2)), Part(chords, CHORDS, rng.uniform(-10, 0))]


def _make_tune(
    form: Form, harmony: Harmony, dynamics: _Dynamics, rng: np.random.Generator, chordal: bool
) -> np.ndarray:
    """A melody of a few bars' rhythms that come again in the phrases of the song; some tunes begin with a pick-up."""
    likes = rng.dirichlet(0.8 * np.array(TERNARY_WEIGHTS if form.meter == "6/8" else CELL_WEIGHTS))
    rhythms = [_draw_bar(form, likes, rng) for _ in range(4)]
    contours = [np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2, 3, -3], 64)) for _ in range(4)]
    phrase = [(0, 1, 0, 2), (0, 0, 1, 2), (0, 1, 2, 3), (0, 0, 0, 1), (0, 1, 0, 1)][rng.integers(5)]
    anchored = rng.random() < 0.7  # the bar begins on a note of the chord
    tick, degree, long = [], [], []
    place = 7
    for bar in range(form.bars):
        letter = phrase[bar % 4]
        at = np.cumsum([0, *rhythms[letter]])[:-1]
        root = int(harmony.degree_at(np.array([bar * form.bar_ticks]))[0])
        start = 7 + (root + int(rng.choice([0, 2, 4]))) % 7 if anchored else place
        line = start + contours[letter][: len(at)] - contours[letter][0]
        if chordal:
            line = np.where(at % TICKS == 0, _to_chord(line, harmony.degree_at(bar * form.bar_ticks + at)), line)
        place = int(np.clip(line[-1], 3, 16))
        tick.append(bar * form.bar_ticks + at)
        degree.append(np.clip(line, 2, 18))
        long.append(rhythms[letter])
    ticks, longs = np.concatenate(tick).astype(float), np.concatenate(long).astype(float)
    kept = rng.random(len(ticks)) < rng.choice([1.0, 1.0, 0.9, 0.75])
    notes = harmony.note_of(np.concatenate(degree).astype(int), int(rng.choice([4, 4, 5])))
    return _events(ticks, notes, longs * rng.choice([0.5, 0.8, 0.98]), 85, form, dynamics)[kept]


def _to_chord(degree: np.ndarray, root: np.ndarray) -> np.ndarray:
    """The notes of the chords on `root` that lie nearest below."""
    above = (degree - root) % 7
    return degree - above + np.array([0, 0, 2, 2, 4, 4, 4])[above]


def _draw_bar(form: Form, likes: np.ndarray, rng: np.random.Generator) -> list[int]:
    """How long the notes of one bar are, in ticks."""
    beats = BEATS_PER_BAR[form.meter]
    if form.meter == "7/8":
        starts = [*form.groups, 7]
        out: list[int] = []
        for begin, end in pairwise(starts):
            size = end - begin
            options = [[TICKS] * size, [TICKS] * size, [TICKS * size], [TICKS * (size - 1), TICKS]]
            out += options[rng.integers(4)]
        return out
    if form.meter == "6/8":
        if rng.random() < 0.05:
            return [24]
        return [tick for _ in range(beats) for tick in TERNARY_CELLS[rng.choice(len(likes), p=likes)]]
    if rng.random() < 0.06:
        return [form.bar_ticks]
    out, left = [], beats
    while left:
        if left >= 2 and rng.random() < 0.3:
            out += PAIRS[rng.integers(len(PAIRS))]
            left -= 2
        else:
            out += CELLS[rng.choice(len(likes), p=likes)]
            left -= 1
    return out


def _rest(part: Part, form: Form, rng: np.random.Generator) -> Part:
    """The part is silent in some sections."""
    bar = part.events[:, 0] // form.bar_ticks
    kept = np.ones(len(bar), bool)
    for begin, end, _ in form.sections:
        if rng.random() < 0.3:
            kept &= (bar < begin) | (bar >= end)
    return replace(part, events=part.events[kept]) if kept.any() else part
