import numpy as np
import pytest

from tasks.music.stems import LOW_BINS, SplitParams, SplitStream, _band_starts, find_masks

BIN_HZ = 44_100 / 4096
BINS = 2049
FRAMES = 100


def stereo(magnitude: np.ndarray) -> np.ndarray:
    return np.stack([magnitude, magnitude]).astype(np.complex64)


@pytest.fixture
def noise():
    random = np.random.default_rng(0)
    values = random.standard_normal((2, 2, FRAMES, BINS)).astype(np.float32)
    return (values[0] + 1j * values[1]).astype(np.complex64)


def test_lasting_tone_is_no_drum():
    magnitude = np.zeros((FRAMES, BINS))
    magnitude[:, 100] = 10.0
    drums, _ = find_masks(stereo(magnitude), BIN_HZ)
    assert drums[FRAMES // 2, 100] < 0.05


def test_wide_burst_is_a_drum():
    magnitude = np.zeros((FRAMES, BINS))
    magnitude[50:53] = 10.0
    drums, _ = find_masks(stereo(magnitude), BIN_HZ)
    assert (drums[50:53] > 0.95).all()


def test_low_lasting_tone_is_bass_and_a_high_one_is_not():
    magnitude = np.zeros((FRAMES, BINS))
    magnitude[:, [6, 60]] = 10.0
    _, bass = find_masks(stereo(magnitude), BIN_HZ)
    assert bass[50, 6] > 0.9
    assert bass[50, 60] < 0.1


def test_low_burst_is_a_kick():
    magnitude = np.zeros((FRAMES, BINS))
    magnitude[50:54, 4:8] = 10.0
    drums, bass = find_masks(stereo(magnitude), BIN_HZ)
    assert (drums[50:54, 4:8] > 0.9).all()
    assert (bass[50:54, 4:8] < 0.1).all()


def test_low_burst_beside_the_middle_is_no_kick():
    magnitude = np.zeros((FRAMES, BINS))
    magnitude[50:54, 4:8] = 10.0
    spectrum = stereo(magnitude)
    spectrum[1] = 0
    drums, _ = find_masks(spectrum, BIN_HZ)
    assert (drums[50:54, 4:8] < 0.1).all()


def test_shares_add_up_to_one_at_most(noise):
    drums, bass = find_masks(noise, BIN_HZ)
    assert drums.shape == (FRAMES, BINS)
    assert drums.min() >= 0
    assert bass.min() >= 0
    assert drums.max() <= 1
    assert (drums[:, :LOW_BINS] + bass).max() <= 1 + 1e-6


def test_silence_stays_silent():
    stream = SplitStream(BIN_HZ)
    drums, bass = stream.push(np.zeros((2, FRAMES, BINS), np.complex64))
    assert not drums.any()
    assert not bass.any()


@pytest.mark.parametrize("piece", [1, 7, 40])
def test_pieces_give_the_masks_of_the_whole(noise, piece):
    whole = SplitStream(BIN_HZ).push(noise)
    stream = SplitStream(BIN_HZ)
    parts = [stream.push(noise[:, start : start + piece]) for start in range(0, FRAMES, piece)]
    for index in range(2):
        joined = np.concatenate([part[index] for part in parts], axis=1)
        np.testing.assert_allclose(joined, whole[index], atol=1e-4)


def test_results_trail_the_input_by_the_delay():
    spectrum = np.zeros((2, FRAMES, BINS), np.complex64)
    spectrum[:, 50:53] = 10.0
    stream = SplitStream(BIN_HZ, SplitParams(hold_frames=11))
    drums, _ = stream.push(spectrum)
    loud = np.flatnonzero(np.abs(drums).sum(axis=(0, 2)) > 1)
    assert stream.delay_frames == 10
    assert loud.tolist() == [60, 61, 62]


def test_bands_cover_all_bins_once():
    starts = _band_starts(BINS)
    assert starts[0] == 0
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < BINS
    assert starts[:LOW_BINS].tolist() == list(range(LOW_BINS))
