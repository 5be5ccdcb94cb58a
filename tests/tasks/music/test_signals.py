import numpy as np
import pytest

from tasks.music.signals import (
    MEL_BANDS,
    SAMPLE_RATE_HZ,
    LogMel,
    MelStream,
    PieceStream,
    PoolStream,
    Signal,
    compute_log_mel,
)


def numbered(frames):
    return np.tile(np.arange(frames, dtype=np.float32), (MEL_BANDS, 1))


def cut(frames, step, piece=10, context=3):
    stream, pieces = PieceStream(piece, context), []
    values = numbered(frames)
    for start in range(0, frames, step):
        pieces += stream.push(values[:, start : start + step])
    return pieces + list(stream.finish())


@pytest.mark.parametrize("step", [1, 4, 13, 100])
@pytest.mark.parametrize("frames", [1, 9, 10, 13, 14, 57])
def test_pieces_cover_every_frame_once_with_its_surroundings(frames, step):
    pieces = cut(frames, step)
    np.testing.assert_array_equal(np.concatenate([p.values[0, p.start : p.end] for p in pieces]), np.arange(frames))
    for piece in pieces:
        first, last = piece.values[0, piece.start], piece.values[0, piece.end - 1]
        assert piece.values[0, 0] == max(0, first - 3)
        assert piece.values[0, -1] == min(frames - 1, last + 3)


def test_pieces_do_not_depend_on_how_the_frames_arrive():
    for one, other in zip(cut(57, 1), cut(57, 57), strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_no_frames_make_no_piece():
    assert list(PieceStream(10, 3).finish()) == []


@pytest.mark.parametrize("step", [1, 7, 25])
def test_pooled_frames_are_means(step):
    stream, values = PoolStream(), numbered(25)
    for start in range(0, 25, step):
        stream.push(LogMel(values[:, start : start + step]))
    pooled = stream.finish()
    np.testing.assert_allclose(pooled.values[0], [4.5, 14.5, 22.0])
    assert pooled.hop_s == pytest.approx(0.1)


@pytest.mark.parametrize("samples", [1, 441, 50_000])
def test_the_spectrogram_of_blocks_is_that_of_the_whole(samples):
    signal = np.random.default_rng(1).standard_normal((2, SAMPLE_RATE_HZ)).astype(np.float32)
    stream = MelStream()
    for start in range(0, signal.shape[1], samples * 100):
        stream.push(signal[:, start : start + samples * 100])
    np.testing.assert_allclose(stream.finish().values, compute_log_mel(Signal(signal)).values, atol=1e-6)
