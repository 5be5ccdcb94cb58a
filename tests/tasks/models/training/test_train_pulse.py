from pathlib import Path

import numpy as np
import pytest

from tasks.music.signals import MEL_BANDS

torch = pytest.importorskip("torch", reason="PyTorch is for training only")


@pytest.fixture(scope="module", params=[(), (6, 4)], ids=["flat", "deep"])
def further(request) -> tuple[int, ...]:
    return request.param


@pytest.fixture(scope="module")
def stored(tmp_path_factory, further) -> tuple[Path, np.ndarray, torch.Tensor]:
    """A network of 8 channels that has heard something, a sound, and what it says of it."""
    from tasks.models.training.train_pulse import PulseNetwork, export

    torch.manual_seed(1)
    network = PulseNetwork(channels=8, further=further)
    mel = torch.from_numpy(np.random.default_rng(0).random((1, MEL_BANDS, 400), np.float32))
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.05 * torch.randn_like(weight)
        network(mel)
        path = tmp_path_factory.mktemp("pulse") / "pulse.onnx"
        export(network, path)
        return path, mel, network(mel)


@pytest.mark.parametrize("channels", [8, 12, 16])
def test_a_wider_network_begins_by_saying_what_the_stored_one_says(stored, further, channels):
    from tasks.models.training.train_pulse import PulseNetwork, load_weights

    path, mel, said = stored
    torch.manual_seed(2)
    network = PulseNetwork(channels=channels, further=further)
    with torch.no_grad():
        load_weights(network, path)
        network.eval()
        np.testing.assert_allclose(network(mel), said, atol=1e-4)


def test_the_new_channels_of_a_wider_network_learn(stored, further):
    from tasks.models.training.train_pulse import PulseNetwork, load_weights

    network = PulseNetwork(channels=12, further=further)
    with torch.no_grad():
        load_weights(network, stored[0])
    network.eval()
    network(stored[1]).square().mean().backward()
    assert network.out.weight.grad[:, 8:].abs().max() > 0


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """Ten clips of clicks at 100 to 145 bpm in 4/4."""
    folder = tmp_path_factory.mktemp("material")
    for number in range(10):
        beats = np.arange(0.2, 23.5, 60 / (100 + 5 * number))
        drums = np.zeros((MEL_BANDS, 2_400), np.uint8)
        drums[:, np.round(100 * beats).astype(int)] = 120
        np.savez(
            folder / f"{number:05d}.npz",
            drums=drums,
            band=np.zeros_like(drums),
            beats=beats,
            pos=np.arange(len(beats)) % 4 + 1,
            meter="4/4",
        )
    return folder


def test_the_same_draw_gives_the_same_piece(material):
    from tasks.models.training.train_pulse import Crops

    crops = Crops(sorted(material.glob("*.npz")), seed=3)
    for one, other, changed in zip(crops[2, 5], crops[2, 5], crops[2, 6], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == changed.shape
    assert (crops[2, 5][0] != crops[2, 6][0]).any()


def test_processes_learn_what_one_learns(material, tmp_path, monkeypatch, capsys):
    import onnxruntime

    from tasks.models.training import train_pulse

    said = []
    for workers in ("0", "2"):
        out = tmp_path / f"{workers}.onnx"
        words = ["train_pulse", str(out), str(material), "--channels", "8", "--filters", "4", "--further", "4"]
        monkeypatch.setattr("sys.argv", [*words, "--steps", "6", "--batch", "2", "--workers", workers])
        train_pulse.main()
        mel = np.random.default_rng(0).random((1, MEL_BANDS, 400), np.float32)
        said.append(onnxruntime.InferenceSession(out).run(None, {"mel": mel})[0])
    np.testing.assert_array_equal(*said)
    assert capsys.readouterr().out.splitlines()[-1].startswith("6 ")
