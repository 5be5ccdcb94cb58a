"""The beat: when it falls, at which level it is counted, how fast it goes, how it swings.

The pulse network (tasks/models/pulse.py) hears, this module decides: a first row of beats, then the other levels at
which it could be counted, and of these readings the one that explains the beats and the downbeats best. Bars are chosen
in meter.py, onsets found in onsets.py.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.music.accents import Accents, measure_accents, normalise_flux
from tasks.music.harmony import VERSION as HARMONY_VERSION
from tasks.music.harmony import measure_harmonic_change
from tasks.music.key import Chroma
from tasks.music.loops import TIME_SIGNATURE as LOOP_METER
from tasks.music.loops import Loop, LoopParams, find_loop
from tasks.music.meter import BEATS_PER_BAR, METERS, Bars, MeterParams, find_bars
from tasks.music.onsets import NO_ONSETS, Onsets
from tasks.music.signals import HOP_S

VERSION = f"beat-readings-10+{HARMONY_VERSION}"
FRAME_RATE_HZ = 50.0  # of `Pulse`
TEMPI_BPM = tuple(38.0 * 1.042**step for step in range(50))  # whose chances are in `Pulse`; the last is 284

LEVELS = (1.0, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 4 / 3, 3 / 2, 2.0, 3.0)  # tempi that are tried, against the first
USUAL_TEMPO_BPM = {"6/8": 78.0, "7/8": 200.0}
USUAL_TEMPO_ELSE_BPM = 112.0

FEATURES = (
    "usual tempo",
    "strength of the beats",
    "share of all beats that are heard",
    "strength of the downbeats",
    "share of all downbeats that are heard",
    "opinion of the network on the meter",
    "opinion of the network on the tempo",
    "evenness of the bars",
    "beats in three parts, in 6/8",
    "beats in three parts, else",
    "onsets on the beats",
    "onsets in three parts, in 6/8",
    "onsets in three parts, else",
    "onsets on the downbeats against other beats",
    "bars alike, against other distances",
    "bars alike, against the likeliest other distance",
    "3/4",
    "5/4",
    "6/8",
    "7/8",
)


@dataclass(frozen=True)
class Pulse:
    """What the network hears, at FRAME_RATE_HZ; frame i is centred at i / FRAME_RATE_HZ seconds.

    Attributes:
        beat: float32 (frames,), probability that a beat falls here.
        downbeat: float32 (frames,), that it is the first of a bar.
        meter: float32 (len(METERS), frames), probability of each meter; "none" is music without a pulse, or no music.
        tempo: float16 (len(TEMPI_BPM), frames), probability of each tempo of the beat.
    """

    beat: np.ndarray
    downbeat: np.ndarray
    meter: np.ndarray
    tempo: np.ndarray


@dataclass(frozen=True)
class BeatParams:
    """The beat model.

    Attributes:
        tempo_min_bpm, tempo_max_bpm: Range of the beat.
        tempo_change_penalty: Cost of a relative change of the interval from one beat to the next: 100 lets it
            change by 1 % for one unit of log-likelihood.
        beat_reach: How many frames around its own a beat is heard in.
        beat_odds: How much rarer beats are than frames between them: the higher, the fainter beats are followed.
        level_range: How far the tempo may stray from the level that is tried, as a factor.
        reading_weights: What counts for a reading, in the order of FEATURES.
        pulse_weights: Constant and weights of the strength of the beats, of their share and of the network's "none",
            for the probability that there is a pulse at all.
        downbeat_gain: What a beat's downbeat activation, as a share of its beat activation, is multiplied by to make a
            probability.
        harmony_weight: What one standard deviation of change in the harmony adds to the logarithm of the odds that a
            beat is a downbeat.
        groove_meter_weights: Added to the weights of 3/4, 5/4, 6/8 and 7/8 for the bars that drums are folded in: the
            logarithm of how much rarer each is beside 4/4 where a drum kit plays (6, 1, 4 and 1 to 88 are assumed) than
            among the clips that the weights come from.
        min_other: Less probability of another way to count is not worth mentioning.
        most_others: So many of them are mentioned.
        min_beats: Fewer are no rhythm.
        min_pulse: Less probability of a pulse is none; below a half, since real music is heard less surely than the
            material of the network.
        min_loop: Less probability of the tempo of a short loop is none.
        drums_weight: How much the drum stem counts against the mixture, in [0, 1].
        meter: The bar model.
        loop: The model of short loops.

    The weights of readings and of the pulse come from tasks/models/training/fit_readings.py, on clips that the network
    was not trained on.
    """

    tempo_min_bpm: float = 45.0
    tempo_max_bpm: float = 270.0
    tempo_change_penalty: float = 100.0
    beat_reach: int = 1
    beat_odds: float = 7.0
    level_range: float = 1.13
    reading_weights: tuple[float, ...] = (
        0.68,
        0.59,
        0.82,
        1.08,
        0.88,
        0.99,
        0.81,
        0.75,
        0.35,
        -0.27,
        0.27,
        -0.02,
        0.18,
        -0.25,
        0.55,
        0.61,
        -0.14,
        -0.04,
        -0.62,
        -0.01,
    )
    pulse_weights: tuple[float, float, float, float] = (5.49, 2.43, 1.17, -1.5)
    downbeat_gain: float = 1.0
    harmony_weight: float = 1.0
    groove_meter_weights: tuple[float, float, float, float] = (-1.65, -3.23, -1.86, -2.69)
    min_other: float = 0.05
    most_others: int = 2
    min_beats: int = 4
    min_pulse: float = 0.3
    min_loop: float = 0.1
    drums_weight: float = 0.5
    meter: MeterParams = field(default_factory=MeterParams)
    loop: LoopParams = field(default_factory=LoopParams)


@dataclass(frozen=True)
class Reading:
    """One way to count the music: a level of the beat and a meter.

    Attributes:
        frames: int64 (n,), the beats at FRAME_RATE_HZ.
        time_s: float64 (n,), the same, between the frames.
        bars: Through these beats, of one meter throughout.
        tempo_bpm: Beats a minute.
        features: What `BeatParams.reading_weights` weigh, (len(FEATURES),).
    """

    frames: np.ndarray
    time_s: np.ndarray
    bars: Bars
    tempo_bpm: float
    features: np.ndarray


@dataclass(frozen=True)
class Rhythm:
    """Beats in ascending time and what follows from them; empty and None where there is no pulse.

    In 6/8 a beat is a dotted quarter, two a bar; in 7/8 it is an eighth.

    Attributes:
        time_s: float64 (n,), seconds.
        beat_in_bar: int64 (n,), 1 = downbeat.
        tempo_bpm: Beats a minute.
        tempo_confidence: In [0, 1].
        tempo_alternative_bpm: The next likely tempo, mostly another metrical level.
        tempo_alternative_confidence: In [0, 1].
        time_signature: "4/4", "3/4", "6/8" and so on.
        time_signature_confidence: In [0, 1].
        swing_ratio: Long to short part of the halved beat: 1 = straight, 2 = triplet swing; None where nothing
            sounds between the beats, and in 6/8.
        groove: The rhythm in whose bars patterns are folded where drums play: in 4/4 unless another meter is beyond
            doubt. None where it is this one.
        others: Other ways to count where drums play, the likeliest first: at another tempo or in another meter. Who
            looks for the same groove elsewhere may find it counted so.
    """

    time_s: np.ndarray
    beat_in_bar: np.ndarray
    tempo_bpm: float | None = None
    tempo_confidence: float = 0.0
    tempo_alternative_bpm: float | None = None
    tempo_alternative_confidence: float = 0.0
    time_signature: str | None = None
    time_signature_confidence: float = 0.0
    swing_ratio: float | None = None
    groove: "Rhythm | None" = None
    others: "tuple[Rhythm, ...]" = ()


def no_pulse() -> Rhythm:
    """The rhythm of what has none."""
    return Rhythm(np.zeros(0), np.zeros(0, np.int64))


def track_beats(
    pulse: Pulse,
    flux: np.ndarray,
    chroma: Chroma | None = None,
    params: BeatParams = BeatParams(),
    onsets: Onsets = NO_ONSETS,
) -> Rhythm:
    """Find the beats, the bars and the tempo in what the network heard.

    Args:
        pulse: Of the whole track.
        flux: float32 (frames,) at HOP_S, whose accents and swing are measured: of the drums, or of the mixture.
        chroma: Whose changes say where bars begin; None leaves that to the network.
        params: The models.
        onsets: Of the drums, or of the mixture, for the groove of short loops.

    Returns:
        The rhythm; that of `no_pulse` where there is none.
    """
    readings = propose_readings(pulse, flux, params)
    rhythm, of_groove, others = no_pulse(), no_pulse(), ()
    if readings:
        features = np.array([reading.features for reading in readings])
        scores = features @ params.reading_weights
        chances = _to_chances(scores)
        rhythm = _count_by(pulse, readings, chances, chances.argmax(), flux, chroma, params)
        of_meter = features[:, -len(params.groove_meter_weights) :] @ params.groove_meter_weights
        for_groove = _to_chances(scores + of_meter)
        if len(rhythm.time_s):
            likeliest, *rest = _find_different(readings, for_groove, params)
            if likeliest != chances.argmax():
                of_groove = _count_by(pulse, readings, for_groove, likeliest, flux, chroma, params)
            ways = [_count_by(pulse, readings, for_groove, index, flux, chroma, params) for index in rest]
            others = [way for way in ways if len(way.time_s)]
    loop = find_loop(onsets, len(flux) * HOP_S, params.loop)
    if loop.certainty >= params.min_loop:
        of_groove, *others = (_rhythm_of_loop(each) for each in (loop, *loop.others))
    return replace(rhythm, groove=of_groove if len(of_groove.time_s) else None, others=tuple(others))


def _rhythm_of_loop(loop: Loop) -> Rhythm:
    return Rhythm(loop.time_s, loop.beat_in_bar, loop.tempo_bpm, loop.certainty, time_signature=LOOP_METER)


def _to_chances(scores: np.ndarray) -> np.ndarray:
    """Logarithms of odds as probabilities that add up to 1."""
    chances = np.exp(scores - scores.max())
    return chances / chances.sum()


def _count_by(
    pulse: Pulse,
    readings: list[Reading],
    chances: np.ndarray,
    index: int,
    flux: np.ndarray,
    chroma: Chroma | None,
    params: BeatParams,
) -> Rhythm:
    """The rhythm of one of the readings, of which each has its chance; none where the pulse is not sure."""
    reading = readings[index]
    certainty = judge_pulse(pulse, reading, params)
    if certainty < params.min_pulse:
        return no_pulse()
    of_tempo: dict[float, float] = {}  # a tempo is as likely as all its meters together
    of_meter = 0.0
    for other, chance in zip(readings, chances, strict=True):
        of_tempo[other.tempo_bpm] = of_tempo.get(other.tempo_bpm, 0.0) + float(chance)
        of_meter += float(chance) * (other.bars.time_signature == reading.bars.time_signature)
    tempo_probability = of_tempo.pop(reading.tempo_bpm)
    alternative_bpm = max(of_tempo, key=of_tempo.__getitem__, default=None)
    return Rhythm(
        time_s=reading.time_s,
        beat_in_bar=_number_beats(pulse, reading, chroma, params),
        tempo_bpm=reading.tempo_bpm,
        tempo_confidence=certainty * tempo_probability,
        tempo_alternative_bpm=alternative_bpm,
        tempo_alternative_confidence=certainty * of_tempo.get(alternative_bpm, 0.0),
        time_signature=reading.bars.time_signature,
        time_signature_confidence=certainty * of_meter,
        swing_ratio=_swing_of(reading, flux),
    )


def _find_different(readings: list[Reading], chances: np.ndarray, params: BeatParams) -> list[int]:
    """The likeliest reading, and the next likely ones whose bars hold other hits than those before them."""
    different: list[int] = []
    for index in np.argsort(-chances, kind="stable").tolist():
        if len(different) > params.most_others or (different and chances[index] < params.min_other):
            break
        if not any(_same_bars(readings[index], readings[other]) for other in different):
            different.append(index)
    return different


def _same_bars(first: Reading, second: Reading) -> bool:
    """Whether two readings have the same beats and, but for how many bars of 6/8 are one of 4/4, the same bars."""
    meters = {first.bars.time_signature, second.bars.time_signature}
    same_tempo = abs(np.log(first.tempo_bpm / second.tempo_bpm)) < np.log(1.04)
    return same_tempo and (len(meters) == 1 or meters == {"4/4", "6/8"})


def propose_readings(pulse: Pulse, flux: np.ndarray, params: BeatParams = BeatParams()) -> list[Reading]:
    """The ways to count the music, each level of the beat in each meter; none where there are not beats enough.

    The first level follows the strongest beats; the others are decoded anew near a simple multiple of its tempo, or
    near a tempo that the network thinks likely, so that each finds its own phase.
    """
    first = decode_beats(pulse.beat, params)
    if len(first) < params.min_beats:
        return []
    slack = round(0.5 * FRAME_RATE_HZ)
    begin, end = max(0, first[0] - slack), min(len(pulse.beat), first[-1] + slack + 1)
    tempo_bpm = regress_tempo(_refine(pulse.beat, first))
    onsets = normalise_flux(flux)
    tempi: list[float] = []
    readings: list[Reading] = []
    for at_bpm in (*(tempo_bpm * level for level in LEVELS), *_likely_tempi(pulse)):
        near = replace(params, tempo_min_bpm=at_bpm / params.level_range, tempo_max_bpm=at_bpm * params.level_range)
        if at_bpm != tempo_bpm and not params.tempo_min_bpm <= at_bpm <= params.tempo_max_bpm:
            continue
        frames = first if at_bpm == tempo_bpm else decode_beats(pulse.beat, near)
        frames = frames[(frames >= begin) & (frames < end)]
        if len(frames) < params.min_beats:
            continue
        time_s = _refine(pulse.beat, frames)
        found_bpm = regress_tempo(time_s)
        if all(abs(found_bpm / other - 1.0) > 0.04 for other in tempi):
            tempi.append(found_bpm)
            accents = measure_accents(onsets, time_s)
            readings += [_read(pulse, accents, frames, begin, end, meter, params) for meter in BEATS_PER_BAR]
    return readings


def _likely_tempi(pulse: Pulse, least: float = 0.08) -> list[float]:
    """Peaks of what the network gives the tempi on average, where there is a pulse."""
    chance = pulse.tempo.astype(np.float32) @ (1.0 - pulse.meter[0]) / max(1.0, len(pulse.beat))
    padded = np.pad(chance, 1)
    peaks = (chance > padded[:-2]) & (chance >= padded[2:]) & (chance > least)
    return [float(TEMPI_BPM[index]) for index in np.flatnonzero(peaks)]


def _read(
    pulse: Pulse, accents: Accents, frames: np.ndarray, begin: int, end: int, meter: str, params: BeatParams
) -> Reading:
    """Bars, tempo and features of a row of beats in a meter; the part from `begin` to `end` counts."""
    time_s = _refine(pulse.beat, frames)
    downbeat = _downbeat_probability(pulse, frames, params)
    bars = find_bars(downbeat, pulse.meter[:, frames], params.meter, (meter,))
    tempo_bpm = regress_tempo(time_s)
    usual_bpm = USUAL_TEMPO_BPM.get(meter, USUAL_TEMPO_ELSE_BPM)
    is_first = bars.beat_in_bar == 1
    downbeats = frames[is_first]
    in_three = _ternary_of(pulse.beat, frames)
    is_ternary = float(meter == "6/8")
    features = (
        -(np.log(tempo_bpm / usual_bpm) ** 2) / 0.1,
        np.log(_peak_near(pulse.beat, frames).mean() + 1e-3),
        np.log(_share_near(pulse.beat[begin:end], frames - begin)),
        np.log((_peak_near(pulse.downbeat, downbeats).mean() if len(downbeats) else 0.0) + 1e-3),
        np.log(_share_near(pulse.downbeat[begin:end], downbeats - begin)),
        np.log(pulse.meter[METERS.index(meter), frames].mean() + 1e-3),
        np.log(_tempo_probability(pulse, frames, tempo_bpm) + 1e-3),
        np.where(is_first, np.log(downbeat), np.log1p(-downbeat)).mean(),
        in_three * is_ternary,
        in_three * (1.0 - is_ternary),
        np.log(accents.beat.mean() + 0.1),
        accents.in_three * is_ternary,
        accents.in_three * (1.0 - is_ternary),
        *accents.of_bars(bars.beat_in_bar, BEATS_PER_BAR[meter]),
        *(float(meter == name) for name in ("3/4", "5/4", "6/8", "7/8")),
    )
    return Reading(frames, time_s, bars, tempo_bpm, np.array(features))


def _number_beats(pulse: Pulse, reading: Reading, chroma: Chroma | None, params: BeatParams) -> np.ndarray:
    """Places in the bar, with changes of the meter where most of the piece has that of the reading."""
    chance = _downbeat_probability(pulse, reading.frames, params)
    if chroma is not None:
        change = params.harmony_weight * measure_harmonic_change(chroma, reading.time_s)
        chance = 1.0 / (1.0 + (1.0 / chance - 1.0) * np.exp(-change))
    meter, signature = pulse.meter[:, reading.frames], reading.bars.time_signature
    bars = find_bars(chance, meter, params.meter)
    if bars.time_signature != signature:
        bars = find_bars(chance, meter, params.meter, (signature,))
    return bars.beat_in_bar


def _tempo_probability(pulse: Pulse, frames: np.ndarray, tempo_bpm: float, reach: float = 1.6) -> float:
    """What the network gives the tempi within `reach` places of this one, on average over the beats."""
    place = np.interp(np.log(tempo_bpm), np.log(TEMPI_BPM), np.arange(len(TEMPI_BPM)))
    near = np.abs(np.arange(len(TEMPI_BPM)) - place) <= reach
    return float(pulse.tempo[near][:, frames].sum(axis=0, dtype=np.float32).mean())


def _downbeat_probability(pulse: Pulse, frames: np.ndarray, params: BeatParams) -> np.ndarray:
    of_downbeat = _peak_near(pulse.downbeat, frames) / np.maximum(_peak_near(pulse.beat, frames), 0.05)
    return np.clip(params.downbeat_gain * of_downbeat, 0.01, 0.95)


def _ternary_of(beat: np.ndarray, frames: np.ndarray) -> float:
    """How much more is heard at the thirds of the beats than at their halves, as a logarithm."""
    interval = np.diff(frames)

    def heard_at(*shares: float) -> float:
        return float(np.mean([_peak_near(beat, np.round(frames[:-1] + s * interval).astype(int), 1) for s in shares]))

    return float(np.log((heard_at(1 / 3, 2 / 3) + 0.01) / (heard_at(1 / 2) + 0.01)))


def judge_pulse(pulse: Pulse, reading: Reading, params: BeatParams = BeatParams()) -> float:
    """Probability that there is a pulse to read at all: strong beats, few between them, a meter that is not "none"."""
    none = float(pulse.meter[0, reading.frames[0] : reading.frames[-1] + 1].mean())
    margin = np.dot(params.pulse_weights, (1.0, reading.features[1], reading.features[2], none))
    return float(1.0 / (1.0 + np.exp(-margin)))


def decode_beats(beat: np.ndarray, params: BeatParams = BeatParams()) -> np.ndarray:
    """The likeliest row of beats under a bar pointer that is one beat long.

    The pointer moves evenly through a beat and may change its tempo only from one beat to the next. So a whole beat
    is scored at once, from running sums of the frames' scores, and a step of the recursion covers as many frames as
    the shortest beat has. The first and the last beat may fall anywhere.

    Args:
        beat: float (frames,) at FRAME_RATE_HZ, the probability of a beat.
        params: Range and stiffness of the tempo.

    Returns:
        Frames of the beats, int64, ascending; none where there are fewer frames than in the shortest beat.

    Reference:
        Krebs, Böck & Widmer, "An efficient state-space model for joint tempo and meter tracking", ISMIR 2015.
    """
    shortest = round(60.0 * FRAME_RATE_HZ / params.tempo_max_bpm)
    longest = round(60.0 * FRAME_RATE_HZ / params.tempo_min_bpm)
    if len(beat) < shortest:
        return np.zeros(0, np.int64)
    interval = np.arange(shortest, longest + 1)
    column = np.arange(len(interval))
    half = params.beat_reach
    change = -params.tempo_change_penalty * np.abs(interval[None, :] / interval[:, None] - 1.0)
    change = (change - np.log(np.exp(change).sum(axis=1, keepdims=True))).astype(np.float32)

    # Frames that cost nothing lie on both sides; `on` and `off` are running sums, so that on[b] - on[a] covers [a, b).
    margin = 2 * longest
    sounding = np.clip(beat.astype(np.float64), 1e-4, 1 - 1e-4)
    on = np.cumsum(np.pad(np.log(sounding), (margin + 1, margin)))
    off = np.cumsum(np.pad(np.log1p(-sounding) - np.log(params.beat_odds), (margin + 1, margin)))

    begin, end = margin - longest, margin + len(beat) + longest  # where beats may fall
    # The scores of a beat here before an interval; no step looks further back than this, so they lie in a ring.
    leaving = np.full((longest + shortest, len(interval)), -np.inf, np.float32)
    leaving[np.arange(begin, margin) % len(leaving)] = 0.0
    last = np.full((longest, len(interval)), -np.inf, np.float32)  # of a last beat after the end, after an interval
    came_from = np.zeros((end, len(interval)), np.uint8)
    for start in range(margin, end, shortest):
        now = np.arange(start, min(start + shortest, end))
        before = now[:, None] - interval
        score = on[before + half + 1] - on[before - half] + off[now[:, None] - half] - off[before + half + 1]
        arrived = (leaving[before % len(leaving), column] + score).astype(np.float32)
        joined = arrived[:, :, None] + change
        came_from[now] = joined.argmax(axis=1)
        leaving[now % len(leaving)] = joined.max(axis=1)
        beyond = now >= margin + len(beat)
        last[now[beyond] - margin - len(beat)] = arrived[beyond]

    now, best = np.unravel_index(last.argmax(), last.shape)
    now += margin + len(beat)
    frames = []
    while now - interval[best] >= margin:
        now -= interval[best]
        frames.append(now - margin)
        best = came_from[now, best]
    return np.array(frames[::-1], np.int64)


def regress_tempo(time_s: np.ndarray, span: int = 16) -> float:
    """Beats a minute: the median slope of straight lines through `span` + 1 beats each.

    One slipped beat does not move it; a piece that changes its tempo gets the tempo of its middle.
    """
    span = min(span, len(time_s) - 1)
    index = np.arange(span + 1) - span / 2
    windows = np.lib.stride_tricks.sliding_window_view(time_s, span + 1)
    return float(60.0 / np.median(windows @ index / (index @ index)))


def tempo_between(rhythm: Rhythm, start_s: float, end_s: float, fewest_beats: int = 8) -> float | None:
    """Beats a minute from `start_s` to `end_s`, by a regression through the beats there; of all where they are few."""
    inside = rhythm.time_s[(rhythm.time_s >= start_s) & (rhythm.time_s < end_s)]
    return regress_tempo(inside) if len(inside) >= fewest_beats else rhythm.tempo_bpm


def measure_swing(flux: np.ndarray, time_s: np.ndarray) -> float | None:
    """Where between two beats the off-beat falls, as the ratio of the parts before and after it.

    The flux is folded onto the beat; the off-beat is its centre of mass around its peak in the middle of the beat.

    Args:
        flux: Of the drums or of the mixture, float32 (frames,) at HOP_S.
        time_s: float (beats,), ascending.

    Returns:
        The ratio; None with less than 8 beats or where little sounds between them.
    """
    if len(time_s) < 8:
        return None
    steps = 48
    phase = np.arange(steps) / steps
    at_s = time_s[:-1, None] + phase * np.diff(time_s)[:, None]
    folded = flux[np.clip(np.round(at_s / HOP_S).astype(int), 0, len(flux) - 1)].mean(axis=0)
    folded = folded - np.median(folded)
    middle = np.flatnonzero((phase >= 0.4) & (phase <= 0.75))
    peak = middle[folded[middle].argmax()]
    around = np.arange(peak - 2, peak + 3)
    weight = np.maximum(folded[around], 0.0)
    if folded[peak] < 0.1 * folded[[-2, -1, 0, 1, 2]].max() or weight.sum() <= 0:
        return None
    offbeat = float(np.clip((phase[around] * weight).sum() / weight.sum(), 0.4, 0.75))
    return offbeat / (1.0 - offbeat)


def blend_pulses(mixture: Pulse, drums: Pulse, weight: float) -> Pulse:
    """The weighted mean of what is heard in the mixture and in its drums."""

    def mean(of_mixture: np.ndarray, of_drums: np.ndarray) -> np.ndarray:
        frames = min(of_mixture.shape[-1], of_drums.shape[-1])
        return (1.0 - weight) * of_mixture[..., :frames] + weight * of_drums[..., :frames]

    return Pulse(
        mean(mixture.beat, drums.beat),
        mean(mixture.downbeat, drums.downbeat),
        mean(mixture.meter, drums.meter),
        mean(mixture.tempo, drums.tempo),
    )


def _swing_of(reading: Reading, flux: np.ndarray) -> float | None:
    """Beats in 6/8 have no halves and those of 7/8 are not divided."""
    return None if reading.bars.time_signature in ("6/8", "7/8") else measure_swing(flux, reading.time_s)


def _share_near(curve: np.ndarray, frames: np.ndarray, reach: int = 2) -> float:
    """The share of a curve's area that lies within `reach` frames of these, in (0, 1]."""
    near = np.zeros(len(curve), bool)
    around = (frames[:, None] + np.arange(-reach, reach + 1)).ravel()
    near[around[(around >= 0) & (around < len(curve))]] = True
    return float((curve[near].sum() + 0.01) / (curve.sum() + 0.01))


def _peak_near(curve: np.ndarray, frames: np.ndarray, reach: int = 2) -> np.ndarray:
    """The largest value within `reach` frames of each of these."""
    around = frames[:, None] + np.arange(-reach, reach + 1)
    return curve[np.clip(around, 0, len(curve) - 1)].max(axis=1)


def _refine(beat: np.ndarray, frames: np.ndarray, reach: int = 2) -> np.ndarray:
    """Seconds of the beats: the centre of mass of the activation around each."""
    around = np.clip(frames[:, None] + np.arange(-reach, reach + 1), 0, len(beat) - 1)
    weight = beat[around].astype(np.float64) ** 2 + 1e-6
    return (around * weight).sum(axis=1) / weight.sum(axis=1) / FRAME_RATE_HZ
