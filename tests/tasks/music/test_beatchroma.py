import numpy as np
import pytest

from catalog.matching.beat_chroma import BEAT_CHROMA, BeatChroma
from tasks.music.beatchroma import ALGORITHM, HOP_S, MIN_BEATS, fold_beats
from tasks.music.key import Chroma

BEATS_S = 1.0 + 0.5 * np.arange(MIN_BEATS)


def play_scale(tonality=0.8):
    """C for two beats, then C#, and so on: five frames a second."""
    time_s = 0.2 * np.arange(120)
    values = np.eye(12)[:, (np.maximum(0, time_s - 1.0) // 1.0).astype(int) % 12]
    return Chroma(values.astype(np.float32), tonality=tonality)


def test_each_half_beat_has_its_pitch_class():
    folded = BeatChroma.from_items(fold_beats(play_scale(), BEATS_S).items)
    assert folded.parts == 2 * MIN_BEATS
    middle = folded.level[:, 2:-2:4].argmax(axis=0)  # away from the changes, which frames blur
    assert list(middle[:12]) == list(range(12))
    assert folded.level.max(axis=0) == pytest.approx(15)


def test_the_times_of_the_half_beats_are_kept():
    folded = BeatChroma.from_items(fold_beats(play_scale(), BEATS_S).items)
    assert folded.edges_s == pytest.approx(1.0 + 0.25 * np.arange(2 * MIN_BEATS + 1), abs=0.002)


@pytest.mark.parametrize(
    ("tonality", "beats"), [(0.1, MIN_BEATS), (0.8, MIN_BEATS - 1), (0.8, 0)], ids=["drums", "short", "no pulse"]
)
def test_without_harmony_or_a_pulse_there_is_nothing_to_compare(tonality, beats):
    assert not len(fold_beats(play_scale(tonality), BEATS_S[:beats]).items)


def test_the_index_takes_these_fingerprints():
    assert (BEAT_CHROMA.algorithm, BEAT_CHROMA.hop_s) == (ALGORITHM, HOP_S)
