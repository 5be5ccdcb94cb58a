import numpy as np
import pytest

from tasks.models.pulse import hear_pulse, hear_rhythm
from tasks.music.beats import BeatParams
from tasks.music.signals import MEL_BANDS, SAMPLE_RATE_HZ, LogMel
from tests.drum_beats import make_mel, play, rock, share_found


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
    assert hear_rhythm(mixture, make_mel(drums), params=BeatParams(drums_weight=0.9)).tempo_bpm == pytest.approx(
        110, rel=0.02
    )


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
