import numpy as np
import pytest

from tasks.music.pulse import FRAME_RATE_HZ, decode_beats, regress_tempo
from tests.drum_beats import share_found
from tests.known_pulses import beat_curve


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


def test_tempo_is_the_slope_through_the_beats():
    rng = np.random.default_rng(0)
    beat_s = np.arange(100) * 60 / 123.4 + rng.normal(0, 0.01, 100)
    assert regress_tempo(beat_s) == pytest.approx(123.4, rel=0.002)


def test_one_slipped_beat_does_not_move_the_tempo():
    beat_s = np.delete(np.arange(120) * 0.5, 40)
    assert regress_tempo(beat_s) == pytest.approx(120.0, rel=1e-3)
