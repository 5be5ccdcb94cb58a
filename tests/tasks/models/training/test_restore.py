from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is for training only")


def trained(seed: int, inputs):
    """A network whose normalisations have seen something."""
    from tasks.models.training.network import DrumNetwork

    torch.manual_seed(seed)
    network = DrumNetwork()
    with torch.no_grad():
        network.train()(inputs)
    return network.eval()


@pytest.fixture
def inputs():
    return torch.from_numpy(np.random.default_rng(3).random((2, 2, 160, 80), dtype=np.float32))


def test_a_network_taken_out_of_joined_ones_says_what_it_said(tmp_path: Path, inputs):
    from tasks.models.training.ensemble import join_networks
    from tasks.models.training.export import write_onnx
    from tasks.models.training.network import CLASSES
    from tasks.models.training.restore import read_network

    networks = [trained(seed, inputs) for seed in range(2)]
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for network, path in zip(networks, paths, strict=True):
        write_onnx(network, (0.5,) * CLASSES, path)
    join_networks(paths, tmp_path / "both.onnx")
    for part, network in enumerate(networks):
        restored = read_network(tmp_path / "both.onnx", part)
        with torch.no_grad():
            torch.testing.assert_close(restored(inputs), network(inputs), atol=1e-4, rtol=1e-4)


def test_restored_norms_change_nothing_and_training_hears_the_same(tmp_path: Path, inputs):
    from tasks.models.training.export import write_onnx
    from tasks.models.training.network import CLASSES
    from tasks.models.training.restore import read_network, restore_norms

    network = trained(1, inputs)
    write_onnx(network, (0.5,) * CLASSES, tmp_path / "a.onnx")
    restored = read_network(tmp_path / "a.onnx")
    restore_norms(restored, inputs)
    restored.dropout.p = 0.0
    with torch.no_grad():
        torch.testing.assert_close(restored(inputs), network(inputs), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(restored.train()(inputs), network(inputs), atol=1e-3, rtol=1e-3)


def test_a_network_of_another_shape_is_refused():
    from tasks.models import drums
    from tasks.models.training.restore import read_network

    with pytest.raises(ValueError, match="no network of this shape"):
        read_network(Path(drums.__file__).with_name("drums.onnx"), 7)
