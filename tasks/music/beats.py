"""The beat: when it falls, at which level it is counted, how fast it goes, how it swings.

The pulse network (tasks/models/pulse.py) hears, readings.py proposes ways to count it, and this module chooses the one
that explains the beats and the downbeats best.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.music.accents import measure_swing
from tasks.music.harmony import VERSION as HARMONY_VERSION
from tasks.music.harmony import measure_harmonic_change
from tasks.music.key import Chroma
from tasks.music.loops import TIME_SIGNATURE as LOOP_METER
from tasks.music.loops import Loop, LoopParams, find_loop
from tasks.music.meter import find_bars
from tasks.music.onsets import NO_ONSETS, Onsets
from tasks.music.pulse import Pulse, regress_tempo
from tasks.music.readings import Reading, ReadingParams, downbeat_probability, propose_readings
from tasks.music.signals import HOP_S

VERSION = f"beat-readings-11+{HARMONY_VERSION}"


@dataclass(frozen=True)
class BeatParams:
    """The beat model.

    Attributes:
        reading_weights: What counts for a reading, in the order of readings.FEATURES.
        pulse_weights: Constant and weights of the strength of the beats, of their share and of the network's "none",
            for the probability that there is a pulse at all.
        harmony_weight: What one standard deviation of change in the harmony adds to the logarithm of the odds that a
            beat is a downbeat.
        groove_meter_weights: Added to the weights of 3/4, 5/4, 6/8 and 7/8 for the bars that drums are folded in: the
            logarithm of how much rarer each is beside 4/4 where a drum kit plays (6, 1, 4 and 1 to 88 are assumed) than
            among the clips that the weights come from.
        min_other: Less probability of another way to count is not worth mentioning.
        most_others: So many of them are mentioned.
        min_pulse: Less probability of a pulse is none; below a half, since real music is heard less surely than the
            material of the network.
        min_loop: Less probability of the tempo of a short loop is none.
        drums_weight: How much the drum stem counts against the mixture, in [0, 1].
        readings: What counts as a way to count.
        loop: The model of short loops.

    The weights of readings and of the pulse come from tasks/models/training/fit_readings.py, on clips that the network
    was not trained on.
    """

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
    harmony_weight: float = 1.0
    groove_meter_weights: tuple[float, float, float, float] = (-1.65, -3.23, -1.86, -2.69)
    min_other: float = 0.01
    most_others: int = 4
    min_pulse: float = 0.3
    min_loop: float = 0.1
    drums_weight: float = 0.5
    readings: ReadingParams = field(default_factory=ReadingParams)
    loop: LoopParams = field(default_factory=LoopParams)


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
    readings = propose_readings(pulse, flux, params.readings)
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


def _number_beats(pulse: Pulse, reading: Reading, chroma: Chroma | None, params: BeatParams) -> np.ndarray:
    """Places in the bar, with changes of the meter where most of the piece has that of the reading."""
    chance = downbeat_probability(pulse, reading.frames, params.readings)
    if chroma is not None:
        change = params.harmony_weight * measure_harmonic_change(chroma, reading.time_s)
        chance = 1.0 / (1.0 + (1.0 / chance - 1.0) * np.exp(-change))
    meter, signature = pulse.meter[:, reading.frames], reading.bars.time_signature
    bars = find_bars(chance, meter, params.readings.meter)
    if bars.time_signature != signature:
        bars = find_bars(chance, meter, params.readings.meter, (signature,))
    return bars.beat_in_bar


def judge_pulse(pulse: Pulse, reading: Reading, params: BeatParams = BeatParams()) -> float:
    """Probability that there is a pulse to read at all: strong beats, few between them, a meter that is not "none"."""
    none = float(pulse.meter[0, reading.frames[0] : reading.frames[-1] + 1].mean())
    margin = np.dot(params.pulse_weights, (1.0, reading.features[1], reading.features[2], none))
    return float(1.0 / (1.0 + np.exp(-margin)))


def tempo_between(rhythm: Rhythm, start_s: float, end_s: float, fewest_beats: int = 8) -> float | None:
    """Beats a minute from `start_s` to `end_s`, by a regression through the beats there; of all where they are few."""
    inside = rhythm.time_s[(rhythm.time_s >= start_s) & (rhythm.time_s < end_s)]
    return regress_tempo(inside) if len(inside) >= fewest_beats else rhythm.tempo_bpm


def _swing_of(reading: Reading, flux: np.ndarray) -> float | None:
    """Beats in 6/8 have no halves and those of 7/8 are not divided."""
    return None if reading.bars.time_signature in ("6/8", "7/8") else measure_swing(flux, reading.time_s)
