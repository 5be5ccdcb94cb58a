"""The ways in which a piece could be counted: levels of the beat and meters, each with what speaks for it.

Which of them is the one is chosen in beats.py; bars are found in meter.py, what the onsets say in accents.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.music.accents import measure_accents, normalise_flux
from tasks.music.meter import BEATS_PER_BAR, METERS, Bars, MeterParams, find_bars
from tasks.music.pulse import (
    FRAME_RATE_HZ,
    TEMPI_BPM,
    DecodingParams,
    Pulse,
    decode_beats,
    peak_near,
    place_between_frames,
    regress_tempo,
    share_near,
)

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
class ReadingParams:
    """What counts as a way to count.

    Attributes:
        decoding: Of each row of beats.
        level_range: How far the tempo may stray from the level that is tried, as a factor.
        min_beats: Fewer are no rhythm.
        downbeat_gain: What a beat's downbeat activation, as a share of its beat activation, is multiplied by to make a
            probability.
        meter: The bar model.
    """

    decoding: DecodingParams = field(default_factory=DecodingParams)
    level_range: float = 1.13
    min_beats: int = 4
    downbeat_gain: float = 1.0
    meter: MeterParams = field(default_factory=MeterParams)


@dataclass(frozen=True)
class Reading:
    """One way to count the music: a level of the beat and a meter.

    Attributes:
        frames: int64 (n,), the beats at FRAME_RATE_HZ.
        time_s: float64 (n,), the same, between the frames.
        bars: Through these beats, of one meter throughout.
        tempo_bpm: Beats a minute.
        features: What `beats.BeatParams.reading_weights` weigh, (len(FEATURES),).
    """

    frames: np.ndarray
    time_s: np.ndarray
    bars: Bars
    tempo_bpm: float
    features: np.ndarray


def propose_readings(pulse: Pulse, flux: np.ndarray, params: ReadingParams = ReadingParams()) -> list[Reading]:
    """The ways to count the music, each level of the beat in each meter; none where there are not beats enough.

    The first level follows the strongest beats; the others are decoded anew near a simple multiple of its tempo, or
    near a tempo that the network thinks likely, so that each finds its own phase.
    """
    first = decode_beats(pulse.beat, params.decoding)
    if len(first) < params.min_beats:
        return []
    slack = round(0.5 * FRAME_RATE_HZ)
    heard = slice(max(0, first[0] - slack), min(len(pulse.beat), first[-1] + slack + 1))
    tempo_bpm = regress_tempo(place_between_frames(pulse.beat, first))
    onsets = normalise_flux(flux)
    tempi: list[float] = []
    readings: list[Reading] = []
    for at_bpm in (*(tempo_bpm * level for level in LEVELS), *_likely_tempi(pulse)):
        slowest_bpm, fastest_bpm = at_bpm / params.level_range, at_bpm * params.level_range
        near = replace(params.decoding, tempo_min_bpm=slowest_bpm, tempo_max_bpm=fastest_bpm)
        if at_bpm != tempo_bpm and not params.decoding.tempo_min_bpm <= at_bpm <= params.decoding.tempo_max_bpm:
            continue
        frames = first if at_bpm == tempo_bpm else decode_beats(pulse.beat, near)
        frames = frames[(frames >= heard.start) & (frames < heard.stop)]
        if len(frames) < params.min_beats:
            continue
        time_s = place_between_frames(pulse.beat, frames)
        found_bpm = regress_tempo(time_s)
        if all(abs(found_bpm / other - 1.0) > 0.04 for other in tempi):
            tempi.append(found_bpm)
            readings += _read(pulse, onsets, frames, time_s, found_bpm, heard, params)
    return readings


def _likely_tempi(pulse: Pulse, least: float = 0.08) -> list[float]:
    """Peaks of what the network gives the tempi on average, where there is a pulse."""
    chance = pulse.tempo.astype(np.float32) @ (1.0 - pulse.meter[0]) / max(1.0, len(pulse.beat))
    padded = np.pad(chance, 1)
    peaks = (chance > padded[:-2]) & (chance >= padded[2:]) & (chance > least)
    return [float(TEMPI_BPM[index]) for index in np.flatnonzero(peaks)]


def _read(
    pulse: Pulse,
    onsets: np.ndarray,
    frames: np.ndarray,
    time_s: np.ndarray,
    tempo_bpm: float,
    heard: slice,
    params: ReadingParams,
) -> Iterator[Reading]:
    """A row of beats in each meter: its bars, and what speaks for it; only the frames `heard` count."""
    accents = measure_accents(onsets, time_s)
    downbeat = downbeat_probability(pulse, frames, params)
    strength = np.log(peak_near(pulse.beat, frames).mean() + 1e-3)
    share = np.log(share_near(pulse.beat[heard], frames - heard.start))
    opinion_on_tempo = np.log(_tempo_probability(pulse, frames, tempo_bpm) + 1e-3)
    in_three = _ternary_of(pulse.beat, frames)
    for meter in BEATS_PER_BAR:
        bars = find_bars(downbeat, pulse.meter[:, frames], params.meter, (meter,))
        usual_bpm = USUAL_TEMPO_BPM.get(meter, USUAL_TEMPO_ELSE_BPM)
        is_first = bars.beat_in_bar == 1
        downbeats = frames[is_first]
        is_ternary = float(meter == "6/8")
        features = (
            -(np.log(tempo_bpm / usual_bpm) ** 2) / 0.1,
            strength,
            share,
            np.log((peak_near(pulse.downbeat, downbeats).mean() if len(downbeats) else 0.0) + 1e-3),
            np.log(share_near(pulse.downbeat[heard], downbeats - heard.start)),
            np.log(pulse.meter[METERS.index(meter), frames].mean() + 1e-3),
            opinion_on_tempo,
            np.where(is_first, np.log(downbeat), np.log1p(-downbeat)).mean(),
            in_three * is_ternary,
            in_three * (1.0 - is_ternary),
            np.log(accents.beat.mean() + 0.1),
            accents.in_three * is_ternary,
            accents.in_three * (1.0 - is_ternary),
            *accents.of_bars(bars.beat_in_bar, BEATS_PER_BAR[meter]),
            *(float(meter == name) for name in ("3/4", "5/4", "6/8", "7/8")),
        )
        yield Reading(frames, time_s, bars, tempo_bpm, np.array(features))


def _tempo_probability(pulse: Pulse, frames: np.ndarray, tempo_bpm: float, reach: float = 1.6) -> float:
    """What the network gives the tempi within `reach` places of this one, on average over the beats."""
    place = np.interp(np.log(tempo_bpm), np.log(TEMPI_BPM), np.arange(len(TEMPI_BPM)))
    near = np.abs(np.arange(len(TEMPI_BPM)) - place) <= reach
    return float(pulse.tempo[near][:, frames].sum(axis=0, dtype=np.float32).mean())


def downbeat_probability(pulse: Pulse, frames: np.ndarray, params: ReadingParams) -> np.ndarray:
    """Of each of the beats at `frames` (n,) that it is a downbeat, by its sound alone: float (n,), 0.01 to 0.95."""
    of_downbeat = peak_near(pulse.downbeat, frames) / np.maximum(peak_near(pulse.beat, frames), 0.05)
    return np.clip(params.downbeat_gain * of_downbeat, 0.01, 0.95)


def _ternary_of(beat: np.ndarray, frames: np.ndarray) -> float:
    """How much more is heard at the thirds of the beats than at their halves, as a logarithm."""
    interval = np.diff(frames)

    def heard_at(*shares: float) -> float:
        return float(np.mean([peak_near(beat, np.round(frames[:-1] + s * interval).astype(int), 1) for s in shares]))

    return float(np.log((heard_at(1 / 3, 2 / 3) + 0.01) / (heard_at(1 / 2) + 0.01)))
