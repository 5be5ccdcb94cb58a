import sys

import numpy as np
import pytest

from tasks.music.chromaprint import (
    AcousticFingerprint,
    ChromaprintMissing,
    ChromaprintStream,
    find_changing_items,
)
from tasks.music.signals import SAMPLE_RATE_HZ


def melody(seconds, seed):
    """Random notes of a quarter second with four harmonics, float32 (2, n)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    notes = []
    for _ in range(seconds * 4):
        hz = 110 * 2 ** (rng.integers(0, 36) / 12)
        notes.append(np.exp(-4 * time_s) * sum(np.sin(2 * np.pi * hz * k * time_s) / k for k in range(1, 5)))
    return np.tile(np.concatenate(notes).astype(np.float32) * 0.3, (2, 1))


def fingerprint_of(samples, block=SAMPLE_RATE_HZ * 10):
    stream = ChromaprintStream()
    for start in range(0, samples.shape[1], block):
        stream.push(samples[:, start : start + block])
    return stream.finish()


@pytest.fixture(scope="module")
def song():
    return melody(40, seed=1)


@pytest.fixture(scope="module")
def items(song):
    return fingerprint_of(song).items


def test_fingerprint_covers_the_whole_length():
    found = fingerprint_of(np.tile(melody(20, seed=3), (1, 8)))  # 160 s: beyond the 120 s of fpcalc's default
    assert found.items.dtype == np.uint32
    assert abs(len(found.items) * found.hop_s - 160) < 3


def test_blocks_of_any_size_give_the_same_items(song, items):
    np.testing.assert_array_equal(fingerprint_of(song, block=7_777).items, items)


def test_too_little_audio_gives_no_items():
    assert len(fingerprint_of(np.zeros((2, 22_050), np.float32)).items) == 0
    assert len(ChromaprintStream().finish().items) == 0


def test_silence_and_a_steady_tone_are_not_usable(items):
    time_s = np.arange(SAMPLE_RATE_HZ * 30) / SAMPLE_RATE_HZ
    tone = np.tile(np.sin(2 * np.pi * 440 * time_s).astype(np.float32) * 0.5, (2, 1))
    assert not fingerprint_of(tone).usable
    assert not fingerprint_of(np.zeros_like(tone)).usable
    assert AcousticFingerprint("test", items).usable


def test_static_runs_are_left_out():
    changing = find_changing_items(np.array([1, 2] + [5] * 8 + [3, 3], np.uint32))
    assert changing.tolist() == [True] * 2 + [False] * 8 + [True] * 2


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "chromaprint", None)
    with pytest.raises(ChromaprintMissing, match="libchromaprint1"):
        ChromaprintStream()
