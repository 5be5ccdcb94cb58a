from itertools import pairwise

import numpy as np
import pytest

from tasks.models.pulse import hear_pulse, hear_rhythm
from tasks.music.beats import (
    FRAME_RATE_HZ,
    BeatParams,
    Pulse,
    decode_beats,
    measure_swing,
    no_pulse,
    propose_readings,
    regress_tempo,
)
from tasks.music.meter import METERS
from tasks.music.onsets import compute_flux
from tasks.music.signals import MEL_BANDS, SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel


def make_mel(samples: np.ndarray) -> LogMel:
    return compute_log_mel(Signal(np.atleast_2d(samples).astype(np.float32)))


def play(strokes: list[tuple[float, str]], duration_s: float, seed: int = 0) -> np.ndarray:
    """Kicks (falling sines), snares and hi-hats (noise) at these times."""
    rng = np.random.default_rng(seed)
    samples = np.zeros(round((duration_s + 1) * SAMPLE_RATE_HZ))
    t = np.arange(round(0.25 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(len(t))
    sounds = {
        "kick": np.sin(2 * np.pi * (50 * t + 4 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.08),
        "snare": 0.35 * noise * np.exp(-t / 0.05) + 0.3 * np.sin(2 * np.pi * 190 * t) * np.exp(-t / 0.06),
        "hihat": 0.15 * np.diff(noise, prepend=0) * np.exp(-t / 0.02),
    }
    for time_s, name in strokes:
        start = round(time_s * SAMPLE_RATE_HZ)
        samples[start : start + len(t)] += 0.5 * sounds[name]
    return samples[: round(duration_s * SAMPLE_RATE_HZ)]


def rock(beat_s: np.ndarray, swing: float = 0.5) -> list[tuple[float, str]]:
    """Kick on one and three, snare on two and four, hi-hat in eighths."""
    strokes = []
    for index, (now, following) in enumerate(pairwise(beat_s)):
        strokes += [(now, "kick" if index % 2 == 0 else "snare"), (now, "hihat")]
        strokes.append((now + swing * (following - now), "hihat"))
        if index % 4 == 1:
            strokes.append((now + swing * (following - now), "kick"))
    return strokes


def beat_curve(beat_s: np.ndarray, duration_s: float, strength: float = 0.8) -> np.ndarray:
    """What a network hears that knows the beats."""
    curve = np.full(round(duration_s * FRAME_RATE_HZ), 0.02)
    frames = np.round(np.asarray(beat_s) * FRAME_RATE_HZ).astype(int)
    for reach, share in ((1, 0.5), (-1, 0.5), (0, 1.0)):
        curve[np.clip(frames + reach, 0, len(curve) - 1)] = strength * share
    return curve


def share_found(beat_s: np.ndarray, found_s: np.ndarray, window_s: float = 0.07) -> float:
    return float((np.abs(np.subtract.outer(beat_s, found_s)).min(axis=1) < window_s).mean())


@pytest.mark.parametrize("tempo_bpm", [60, 96, 128, 174])
def test_decoding_follows_a_steady_pulse(tempo_bpm):
    beat_s = np.arange(0.31, 29, 60 / tempo_bpm)
    found_s = decode_beats(beat_curve(beat_s, 30)) / FRAME_RATE_HZ
    assert abs(len(found_s) - len(beat_s)) <= 2
    assert share_found(beat_s, found_s, 0.03) == 1.0


def test_decoding_fills_missing_beats():
    beat_s = np.arange(0.5, 29, 0.5)
    heard = np.delete(beat_s, [10, 11, 30])
    assert share_found(beat_s, decode_beats(beat_curve(heard, 30)) / FRAME_RATE_HZ) == 1.0


def test_decoding_follows_a_ramp():
    beat_s = 0.5 + np.cumsum(np.linspace(0.65, 0.42, 60))
    found_s = decode_beats(beat_curve(beat_s, 34)) / FRAME_RATE_HZ
    assert share_found(beat_s, found_s, 0.04) > 0.95
    inside = (found_s > beat_s[0] - 0.1) & (found_s < beat_s[-1] + 0.1)
    assert abs(inside.sum() - len(beat_s)) <= 1


@pytest.mark.parametrize("frames", [0, 1, 5, 25, 100])
def test_decoding_takes_any_length(frames):
    found = decode_beats(np.full(frames, 0.1))
    assert ((found >= 0) & (found < max(frames, 1))).all()
    assert (np.diff(found) > 0).all()


def test_readings_have_different_tempi():
    beat_s = np.arange(0.5, 29, 0.5)
    beat = beat_curve(beat_s, 30)
    pulse = Pulse(beat, beat_curve(beat_s[::4], 30), np.full((len(METERS), len(beat)), 1 / len(METERS)))
    tempi = np.sort([reading.tempo_bpm for reading in propose_readings(pulse)])
    assert len(tempi) > 2
    assert (tempi[1:] / tempi[:-1] > 1.03).all()


def test_tempo_is_the_slope_through_the_beats():
    rng = np.random.default_rng(0)
    beat_s = np.arange(100) * 60 / 123.4 + rng.normal(0, 0.01, 100)
    assert regress_tempo(beat_s) == pytest.approx(123.4, rel=0.002)


def test_one_slipped_beat_does_not_move_the_tempo():
    beat_s = np.delete(np.arange(120) * 0.5, 40)
    assert regress_tempo(beat_s) == pytest.approx(120.0, rel=1e-3)


@pytest.mark.parametrize("tempo_bpm", [84, 104, 126])
def test_a_drum_beat_is_followed(tempo_bpm):
    beat_s = np.arange(0.4, 30, 60 / tempo_bpm)
    rhythm = hear_rhythm(make_mel(play(rock(beat_s), 30)))
    assert rhythm.tempo_bpm == pytest.approx(tempo_bpm, rel=0.01)
    assert share_found(beat_s[1:-1], rhythm.time_s) > 0.95
    assert rhythm.time_signature == "4/4"


def test_beats_lie_where_the_drums_are():
    beat_s = np.arange(0.4, 30, 60 / 104)
    rhythm = hear_rhythm(make_mel(play(rock(beat_s), 30)))
    error_s = rhythm.time_s[np.abs(np.subtract.outer(beat_s[1:-1], rhythm.time_s)).argmin(axis=1)] - beat_s[1:-1]
    assert abs(np.median(error_s)) < 0.015


def test_results_are_within_their_ranges():
    rhythm = hear_rhythm(make_mel(play(rock(np.arange(0.4, 20, 0.5)), 20)))
    assert (np.diff(rhythm.time_s) > 0).all()
    assert len(rhythm.beat_in_bar) == len(rhythm.time_s)
    assert 0 < rhythm.tempo_alternative_confidence <= rhythm.tempo_confidence <= 1
    assert rhythm.tempo_confidence + rhythm.tempo_alternative_confidence <= 1 + 1e-9
    assert 0 <= rhythm.time_signature_confidence <= 1


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_swing_is_the_ratio_of_the_halves(ratio):
    beat_s = np.arange(0.4, 30, 60 / 110)
    flux = compute_flux(make_mel(play(rock(beat_s, swing=ratio / (1 + ratio)), 30)))
    assert measure_swing(flux, beat_s) == pytest.approx(ratio, abs=0.15)


def test_without_offbeats_there_is_no_swing():
    beat_s = np.arange(0.4, 30, 60 / 110)
    flux = compute_flux(make_mel(play([(time_s, "kick") for time_s in beat_s], 30)))
    assert measure_swing(flux, beat_s) is None


def pulseless(name: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    n = 15 * SAMPLE_RATE_HZ
    t = np.arange(n) / SAMPLE_RATE_HZ
    return {
        "nothing": np.zeros(0),
        "one sample": np.zeros(1),
        "half a second": 0.1 * rng.standard_normal(SAMPLE_RATE_HZ // 2),
        "silence": np.zeros(n),
        "white noise": 0.1 * rng.standard_normal(n),
        "sine": 0.3 * np.sin(2 * np.pi * 440 * t),
        "slow swell": 0.2 * np.sin(2 * np.pi * 0.07 * t) * np.sin(2 * np.pi * 220 * t),
        "single hit": play([(3.0, "snare")], 15),
    }[name]


@pytest.mark.parametrize(
    "name", ["nothing", "one sample", "half a second", "silence", "white noise", "sine", "slow swell", "single hit"]
)
def test_without_a_pulse_there_are_no_beats(name):
    rhythm = hear_rhythm(make_mel(pulseless(name)))
    assert len(rhythm.time_s) == 0
    assert rhythm.tempo_bpm is None
    assert rhythm.time_signature is None
    assert rhythm.tempo_confidence == 0.0
    assert rhythm.time_signature_confidence == 0.0


def test_an_empty_drum_stem_changes_nothing():
    mixture = make_mel(play(rock(np.arange(0.4, 20, 0.5)), 20))
    silent = LogMel(np.zeros_like(mixture.values))
    np.testing.assert_array_equal(hear_rhythm(mixture, silent).time_s, hear_rhythm(mixture).time_s)


def test_the_drum_stem_is_heard_where_the_mixture_hides_the_beat():
    rng = np.random.default_rng(0)
    drums = play(rock(np.arange(0.4, 30, 60 / 110)), 30)
    mixture = make_mel(drums + 0.5 * rng.standard_normal(len(drums)))
    assert hear_rhythm(mixture, make_mel(drums), BeatParams(drums_weight=0.9)).tempo_bpm == pytest.approx(110, rel=0.02)


def test_the_pulse_has_one_frame_for_two_of_the_spectrogram():
    for frames in (0, 1, 2, 7, 100):
        pulse = hear_pulse(LogMel(np.zeros((MEL_BANDS, frames), np.float32)))
        assert len(pulse.beat) == len(pulse.downbeat) == pulse.meter.shape[1] == (frames + 1) // 2


def test_the_pulse_of_a_long_track_is_that_of_its_parts():
    values = np.random.default_rng(0).random((MEL_BANDS, 7_001), np.float32)
    whole = hear_pulse(LogMel(values))
    end = hear_pulse(LogMel(values[:, 2_000:]))
    np.testing.assert_allclose(whole.beat[-200:], end.beat[-200:], atol=0.05)
    assert len(whole.beat) == 3_501


def test_the_same_input_gives_the_same_output():
    mel = make_mel(play(rock(np.arange(0.4, 10, 0.5)), 10))
    first, second = hear_rhythm(mel), hear_rhythm(mel)
    np.testing.assert_array_equal(first.time_s, second.time_s)
    assert first.tempo_confidence == second.tempo_confidence


def test_no_pulse_is_empty():
    assert len(no_pulse().time_s) == len(no_pulse().beat_in_bar) == 0
