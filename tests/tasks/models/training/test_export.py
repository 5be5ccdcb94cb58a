from pathlib import Path

import numpy as np
import pytest

from tasks.models.drums import DrumTranscriber
from tasks.models.runtime import open_session
from tasks.music.signals import MEL_BANDS, Piece

torch = pytest.importorskip("torch", reason="PyTorch is for training only")


def test_the_written_network_gives_what_the_trained_one_gives(tmp_path: Path):
    from tasks.models.training.export import write_onnx
    from tasks.models.training.network import CLASSES, CONTEXT_FRAMES, DrumNetwork

    torch.manual_seed(1)
    network = DrumNetwork()
    network.train()
    with torch.no_grad():
        network(torch.rand(4, 2, 300, MEL_BANDS))  # so that the normalisations have something to fold
    network.eval()
    write_onnx(network, (0.5,) * CLASSES, tmp_path / "drums.onnx")
    transcriber = DrumTranscriber(open_session(tmp_path / "drums.onnx", 1))
    frames = np.random.default_rng(2).random((2, MEL_BANDS, 400), dtype=np.float32)
    mine = transcriber.activate(Piece(frames, 0, 400))
    with torch.no_grad():
        theirs = torch.sigmoid(network(torch.from_numpy(frames.transpose(0, 2, 1)[None].copy()))[0]).numpy()
    np.testing.assert_allclose(mine.reshape(2 * CLASSES, 400), theirs, atol=1e-5)
    assert transcriber.context_frames == CONTEXT_FRAMES
