import numpy as np
import pytest

from tasks.music.meter import BEATS_PER_BAR, METERS, find_bars


def downbeat_curve(beats: int, beats_per_bar: int, phase: int = 0, contrast: float = 0.5, seed: int = 0) -> np.ndarray:
    """What a network hears at the beats of bars of one length: more on the downbeats, with errors."""
    rng = np.random.default_rng(seed)
    is_first = np.arange(beats) % beats_per_bar == phase
    return np.clip(0.2 + contrast * is_first + rng.normal(0, 0.1, beats), 0.01, 0.99)


def opinion(beats: int, meter: str | None = None, certainty: float = 0.4) -> np.ndarray:
    """The network's opinion on the meter; even without one."""
    even = np.full((len(METERS), beats), 1.0 / len(METERS))
    if meter is not None:
        even *= 1 - certainty
        even[METERS.index(meter)] += certainty
    return even


def test_no_beats_have_no_bars():
    bars = find_bars(np.zeros(0), np.zeros((len(METERS), 0)))
    assert len(bars.beat_in_bar) == 0
    assert bars.time_signature is None
    assert bars.confidence == 0.0


@pytest.mark.parametrize("meter", ["4/4", "3/4", "5/4", "7/8"])
def test_the_downbeats_tell_the_meter(meter):
    length = BEATS_PER_BAR[meter]
    bars = find_bars(downbeat_curve(60, length, phase=1), opinion(60))
    assert bars.time_signature == meter
    assert set(bars.beat_in_bar) == set(range(1, length + 1))
    np.testing.assert_array_equal(np.flatnonzero(bars.beat_in_bar == 1) % length, 1)


def test_the_network_tells_two_beats_of_six_eight():
    bars = find_bars(downbeat_curve(40, 2), opinion(40, "6/8"))
    assert bars.time_signature == "6/8"
    assert set(bars.beat_in_bar) == {1, 2}


@pytest.mark.parametrize("phase", range(4))
def test_a_pick_up_begins_inside_a_bar(phase):
    bars = find_bars(downbeat_curve(48, 4, phase), opinion(48))
    assert bars.beat_in_bar[phase] == 1
    assert bars.beat_in_bar[0] == (1 - phase - 1) % 4 + 1


def test_bars_survive_a_missed_beat():
    heard = np.delete(downbeat_curve(64, 4), 31)
    bars = find_bars(heard, opinion(63))
    expected = np.delete(np.arange(64) % 4 + 1, 31)
    assert (bars.beat_in_bar == expected).mean() > 0.9


def test_a_piece_may_change_its_meter():
    heard = np.concatenate([downbeat_curve(60, 4), downbeat_curve(60, 3)])
    bars = find_bars(heard, opinion(120))
    assert (bars.beat_in_bar[:56] == np.arange(56) % 4 + 1).all()
    assert (bars.beat_in_bar[66:] == np.arange(6, 60) % 3 + 1).all()


def test_clear_bars_are_surer_than_faint_ones():
    clear = find_bars(downbeat_curve(64, 4, contrast=0.6), opinion(64, "4/4"))
    faint = find_bars(downbeat_curve(64, 4, contrast=0.02), opinion(64))
    assert clear.confidence > 0.9
    assert faint.confidence < clear.confidence


@pytest.mark.parametrize("beats", [1, 2, 3, 1000])
def test_any_number_of_beats_gets_places(beats):
    bars = find_bars(np.full(beats, 0.5), opinion(beats))
    assert len(bars.beat_in_bar) == beats
    assert bars.beat_in_bar.min() >= 1
    assert 0.0 <= bars.confidence <= 1.0
