"""Changes of the harmony: found where chords change, and nothing made of music without pitches."""

import numpy as np
import pytest

from tasks.music.harmony import MOST_DEVIATIONS, measure_harmonic_change
from tasks.music.key import CHROMA_HOP_S, Chroma, compute_chroma
from tasks.music.signals import SAMPLE_RATE_HZ, Signal

BEAT_S = np.arange(1, 41) * 0.5


def play_chords(change_s: float, first_s: float, duration_s: float = 21.0) -> Signal:
    """Triads of sawtooths; another one every `change_s` seconds, from `first_s` on."""
    t = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    number = np.floor((t - first_s) / change_s).astype(int)
    root = np.array([0, 5, 7, 9])[number % 4]
    pitches = [60 + root, 64 + root, 67 + root]
    hz = [440.0 * 2.0 ** ((pitch - 69) / 12) for pitch in pitches]
    phase = [np.cumsum(one) / SAMPLE_RATE_HZ for one in hz]
    wave = sum(np.sin(2 * np.pi * k * one) / k for one in phase for k in (1, 2, 3, 4))
    return Signal((0.1 * wave)[None].astype(np.float32))


@pytest.mark.parametrize("place", range(4))
def test_the_change_is_largest_on_the_beats_where_chords_change(place):
    change = measure_harmonic_change(compute_chroma(play_chords(2.0, BEAT_S[place])), BEAT_S)
    by_place = [change[start::4][1:-1].mean() for start in range(4)]
    assert int(np.argmax(by_place)) == place
    assert by_place[place] > 1.0 > max(np.delete(by_place, place)) + 0.5


def test_no_beat_counts_without_limit():
    values = np.zeros((12, 110), np.float32)
    values[0, :55], values[1, 55:] = 1.0, 1.0
    change = measure_harmonic_change(Chroma(values, tonality=0.9), BEAT_S)
    assert change.max() == MOST_DEVIATIONS and np.abs(change).max() <= MOST_DEVIATIONS


@pytest.mark.parametrize(
    "chroma",
    [
        Chroma(np.zeros((12, 110), np.float32), tonality=0.9),
        Chroma(np.ones((12, 110), np.float32), tonality=0.9),
        Chroma(np.random.default_rng(1).random((12, 110)).astype(np.float32), tonality=0.2),
        Chroma(np.zeros((12, 0), np.float32), tonality=0.0),
    ],
    ids=["silence", "one chord", "drums alone", "nothing"],
)
def test_without_harmony_nothing_changes(chroma):
    assert not measure_harmonic_change(chroma, BEAT_S).any()


def test_two_beats_are_too_few():
    chroma = Chroma(np.random.default_rng(1).random((12, 110)).astype(np.float32), tonality=0.9)
    assert measure_harmonic_change(chroma, BEAT_S[:2]).tolist() == [0.0, 0.0]
    assert len(measure_harmonic_change(chroma, BEAT_S[:0])) == 0
    assert chroma.hop_s == CHROMA_HOP_S
