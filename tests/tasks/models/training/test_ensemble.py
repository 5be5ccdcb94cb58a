from pathlib import Path

import numpy as np
import pytest

from tasks.models.drums import DrumTranscriber
from tasks.models.runtime import open_session
from tasks.music.signals import MEL_BANDS, Piece

torch = pytest.importorskip("torch", reason="PyTorch is for training only")


def test_networks_joined_give_the_mean_of_what_they_give(tmp_path: Path):
    from tasks.models.training.ensemble import join_networks
    from tasks.models.training.export import write_onnx
    from tasks.models.training.network import CLASSES, DrumNetwork

    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        write_onnx(DrumNetwork().eval(), (0.5,) * CLASSES, path)
    join_networks(paths, tmp_path / "both.onnx")
    piece = Piece(np.random.default_rng(2).random((2, MEL_BANDS, 300), dtype=np.float32), 0, 300)
    first, second, both = (
        DrumTranscriber(open_session(path, 1)).activate(piece) for path in (*paths, tmp_path / "both.onnx")
    )
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-5)
