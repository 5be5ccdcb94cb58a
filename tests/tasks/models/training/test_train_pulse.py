from pathlib import Path

import numpy as np
import pytest

from tasks.music.signals import MEL_BANDS

torch = pytest.importorskip("torch", reason="PyTorch is for training only")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Path, np.ndarray, torch.Tensor]:
    """A network of 8 channels that has heard something, a sound, and what it says of it."""
    from tasks.models.training.train_pulse import PulseNetwork, export

    torch.manual_seed(1)
    network = PulseNetwork(channels=8)
    mel = torch.from_numpy(np.random.default_rng(0).random((1, MEL_BANDS, 400), np.float32))
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
        network(mel)
        path = tmp_path_factory.mktemp("pulse") / "pulse.onnx"
        export(network, path)
        return path, mel, network(mel)


@pytest.mark.parametrize("channels", [8, 12, 16])
def test_a_wider_network_begins_by_saying_what_the_stored_one_says(stored, channels):
    from tasks.models.training.train_pulse import PulseNetwork, load_weights

    path, mel, said = stored
    torch.manual_seed(2)
    network = PulseNetwork(channels=channels)
    with torch.no_grad():
        load_weights(network, path)
        network.eval()
        np.testing.assert_allclose(network(mel), said, atol=1e-4)


def test_the_new_channels_of_a_wider_network_learn(stored):
    from tasks.models.training.train_pulse import PulseNetwork, load_weights

    network = PulseNetwork(channels=12)
    with torch.no_grad():
        load_weights(network, stored[0])
    network.eval()
    network(stored[1]).square().mean().backward()
    assert network.out.weight.grad[:, 8:].abs().max() > 0
