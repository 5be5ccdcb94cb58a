import numpy as np
import pytest

from tasks.music.accents import LONGEST_LAG, measure_accents, measure_swing, normalise_flux
from tasks.music.onsets import compute_flux
from tasks.music.signals import HOP_S
from tests.drum_beats import make_mel, play, rock

BEAT_S = 0.5
TIMES_S = np.arange(0.5, 40, BEAT_S)


def flux_of(at_s: np.ndarray, strength: np.ndarray | float = 1.0, duration_s: float = 41.0) -> np.ndarray:
    flux = np.zeros(round(duration_s / HOP_S))
    flux[np.round(at_s / HOP_S).astype(int)] = strength
    return normalise_flux(flux)


@pytest.mark.parametrize("length", [3, 4, 5])
def test_bars_are_alike_at_their_own_length(length):
    place = np.arange(len(TIMES_S)) % length
    offbeats = TIMES_S[place == 1] + BEAT_S / 2
    accents = measure_accents(flux_of(np.concatenate([TIMES_S, offbeats])), TIMES_S)
    own = accents.of_bars(place + 1, length)
    for other in {2, 3, 4, 5} - {length}:
        assert own[1] > accents.of_bars(np.arange(len(TIMES_S)) % other + 1, other)[1]
        assert own[2] > accents.of_bars(np.arange(len(TIMES_S)) % other + 1, other)[2]


def test_louder_downbeats_are_stronger():
    place = np.arange(len(TIMES_S)) % 4
    accents = measure_accents(flux_of(TIMES_S, np.where(place == 0, 2.0, 1.0)), TIMES_S)
    assert accents.of_bars(place + 1, 4)[0] == pytest.approx(np.log(2), abs=0.1)
    assert accents.of_bars((place + 1) % 4 + 1, 4)[0] < 0


def test_thirds_are_told_from_halves():
    thirds = (TIMES_S[:, None] + BEAT_S * np.array([0, 1 / 3, 2 / 3])).ravel()
    halves = (TIMES_S[:, None] + BEAT_S * np.array([0, 0.5])).ravel()
    assert measure_accents(flux_of(thirds), TIMES_S).in_three > 1
    assert measure_accents(flux_of(halves), TIMES_S).in_three < -1


@pytest.mark.parametrize("flux", [np.zeros(0), np.zeros(10), np.zeros(4_100)])
def test_silence_says_nothing(flux):
    accents = measure_accents(normalise_flux(flux), TIMES_S)
    assert accents.in_three == 0
    assert accents.of_bars(np.arange(len(TIMES_S)) % 4 + 1, 4) == pytest.approx((0, 0, 0), abs=1e-9)


def test_a_few_beats_are_not_compared():
    accents = measure_accents(flux_of(TIMES_S), TIMES_S[:6])
    assert np.isnan(accents.alike).all()
    assert len(accents.alike) == LONGEST_LAG + 1
    assert accents.of_bars(np.array([1, 2, 3, 4, 1, 2]), 4)[1:] == (0, 0)


@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_swing_is_the_ratio_of_the_halves(ratio):
    beat_s = np.arange(0.4, 30, 60 / 110)
    flux = compute_flux(make_mel(play(rock(beat_s, swing=ratio / (1 + ratio)), 30)))
    assert measure_swing(flux, beat_s) == pytest.approx(ratio, abs=0.15)


def test_without_offbeats_there_is_no_swing():
    beat_s = np.arange(0.4, 30, 60 / 110)
    flux = compute_flux(make_mel(play([(time_s, "kick") for time_s in beat_s], 30)))
    assert measure_swing(flux, beat_s) is None
