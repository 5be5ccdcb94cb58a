import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import BadCheckpoint, BadSamples, ModelNotInstalled
from tasks.models import spleeter, spleeter_graph
from tasks.models.spleeter import load_separator, packaged_checkpoint
from tasks.models.spleeter_graph import Network, build_graph
from tests.benchmarks.bench_separation import error_db

REFERENCE = Path(__file__).parents[2] / "benchmarks/spleeter_reference/reference.py"
SECONDS = 13  # two segments of the networks


@pytest.fixture(scope="session")
def samples():
    return runpy.run_path(str(REFERENCE))["reference_signal"](SECONDS)


@pytest.fixture(scope="session")
def cache_path(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def two_stems(cache_path):
    return load_separator(2, threads=2, cache_path=cache_path)


@pytest.fixture(scope="session")
def four_stems(cache_path):
    return load_separator(4, threads=2, cache_path=cache_path)


@pytest.fixture(scope="session")
def four_whole(four_stems, samples):
    return separate(four_stems, samples, samples.shape[1])


def separate(separator, samples, block_samples):
    stream = separator.stream()
    results = [
        stream.push(samples[:, start : start + block_samples]) for start in range(0, samples.shape[1], block_samples)
    ]
    results.append(stream.finish())
    return {stem: np.concatenate([result[stem] for result in results], axis=1) for stem in separator.stems}


def test_two_stems_are_those_of_spleeter(two_stems, samples):
    """The reference holds every 1999th sample of Spleeter 2.4.2's stems of the same signal and checkpoint."""
    reference = np.load(Path(__file__).with_name("spleeter_reference.npz"))
    stems = separate(two_stems, samples, 100_000)
    for stem in ("vocals", "accompaniment"):
        assert error_db(stems[stem][:, ::1999], reference[stem]) < -80


def test_pieces_give_the_stems_of_the_whole(four_stems, four_whole, samples):
    pieces = separate(four_stems, samples, 70_001)
    for stem in four_stems.stems:
        assert error_db(pieces[stem], four_whole[stem]) < -80


def test_stems_are_as_long_as_the_track_and_add_up_to_it(four_whole, samples):
    assert {part.shape for part in four_whole.values()} == {samples.shape}
    assert error_db(sum(four_whole.values()), samples) < -80


def test_stems_of_one_push_have_one_length(four_stems, samples):
    stream = four_stems.stream()
    assert {part.shape for part in stream.push(samples[:, :1000]).values()} == {(2, 0)}
    lengths = {part.shape for part in stream.push(samples[:, 1000:]).values()}
    assert len(lengths) == 1
    assert lengths.pop()[1] > 0


def test_bass_tone_goes_to_bass_and_bursts_to_drums(four_stems, four_whole):
    def level_db(stem, low_hz, high_hz):
        power = np.abs(np.fft.rfft(four_whole[stem].mean(axis=0))) ** 2
        hz = np.fft.rfftfreq(four_whole[stem].shape[1], 1 / 44_100)
        return 10 * np.log10(power[(hz > low_hz) & (hz < high_hz)].sum())

    assert level_db("bass", 50, 60) > level_db("drums", 50, 60) + 10
    assert level_db("drums", 4000, 10_000) > level_db("other", 4000, 10_000) + 3


def test_backends_tell_network_from_split(four_stems, two_stems):
    assert two_stems.backends == {"vocals": "spleeter-2stems", "accompaniment": "spleeter-2stems"}
    assert four_stems.backends["vocals"] == "spleeter-2stems"
    assert four_stems.backends["drums"].startswith("spleeter-2stems+hpss-")


def test_silence_gives_silent_stems_without_the_network(two_stems, monkeypatch):
    monkeypatch.setattr(two_stems, "find_masks", lambda magnitude: pytest.fail("the network ran"))
    stems = separate(two_stems, np.zeros((2, 600_000), np.float32), 200_000)
    for part in stems.values():
        assert part.shape == (2, 600_000)
        assert not part.any()


@pytest.mark.parametrize("length", [0, 1, 4097])
def test_short_signals_keep_their_length(four_stems, length):
    stems = separate(four_stems, np.full((2, length), 0.1, np.float32), max(1, length))
    assert {part.shape for part in stems.values()} == {(2, length)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(two_stems, bad):
    block = np.zeros((2, 100), np.float32)
    block[1, 50] = bad
    with pytest.raises(BadSamples):
        two_stems.stream().push(block)


def test_mono_block_is_refused(two_stems):
    with pytest.raises(ValueError, match="stereo"):
        two_stems.stream().push(np.zeros((1, 100), np.float32))


def test_separator_is_loaded_once(two_stems, cache_path):
    assert load_separator(2, threads=2, cache_path=cache_path) is two_stems


def test_stems_that_are_not_installed_are_one_clear_line(tmp_path):
    with pytest.raises(ModelNotInstalled, match="5stems model is not installed") as caught:
        load_separator(5, model_path=tmp_path)
    assert "\n" not in str(caught.value)


def test_there_are_no_three_stems():
    with pytest.raises(ModelNotInstalled, match="2, 4 or 5"):
        load_separator(3)


def test_device_without_its_runtime_is_refused(cache_path, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelNotInstalled, match="onnxruntime-gpu"):
        load_separator(2, device="cuda", cache_path=cache_path)


def test_checkpoint_of_other_networks_is_refused_by_name(tmp_path):
    shutil.copytree(packaged_checkpoint(), tmp_path / "4stems")
    with pytest.raises(BadCheckpoint, match=r"4stems.* has no variable 'batch_normalization_24/beta'"):
        load_separator(4, model_path=tmp_path, cache_path=tmp_path)


def test_truncated_checkpoint_is_refused_by_name(tmp_path):
    shutil.copytree(packaged_checkpoint(), tmp_path / "2stems")
    with (tmp_path / "2stems/model.data-00000-of-00001").open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(BadCheckpoint, match=r"2stems/model\.data-00000-of-00001 is truncated"):
        load_separator(2, model_path=tmp_path, cache_path=tmp_path)


def test_converted_checkpoint_is_cached_under_its_hash(two_stems, cache_path):
    names = [path.name for path in cache_path.iterdir()]
    assert len(names) == 1
    assert spleeter.checkpoint_sha256(packaged_checkpoint()) in names[0]


def test_damaged_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(spleeter, "build_graph", lambda prefix, network: b"graph")
    spleeter._load_graph(packaged_checkpoint(), 2, tmp_path)
    (cached,) = tmp_path.iterdir()
    whole = cached.read_bytes()
    cached.write_bytes(b"grapes" + whole[5:])
    assert spleeter._load_graph(packaged_checkpoint(), 2, tmp_path) == b"graph"
    assert cached.read_bytes() == whole


def test_cache_that_cannot_be_written_is_gone_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(spleeter, "build_graph", lambda prefix, network: b"graph")
    assert spleeter._load_graph(packaged_checkpoint(), 2, tmp_path / "file") == b"graph"


@pytest.mark.parametrize("network", [Network(("a", "b"), "LeakyRelu"), Network(("a", "b", "c"), "Elu", softmax=True)])
def test_graph_is_the_published_network(network, monkeypatch):
    """A network with few filters and random weights against its definition written out in NumPy."""
    import onnxruntime

    monkeypatch.setattr(spleeter_graph, "FILTERS", (2, 3, 2, 3, 2, 3))
    weights = {}

    def random_tensors(prefix, shapes):
        random = np.random.default_rng(0)
        for name, shape in shapes.items():
            low, high = (0.5, 1.5) if "variance" in name or "gamma" in name else (-0.4, 0.4)
            weights[name] = random.uniform(low, high, shape).astype(np.float32)
        return weights

    monkeypatch.setattr(spleeter_graph, "read_tensors", random_tensors)
    graph = build_graph(Path("random"), network, frames=64, bins=128)
    magnitude = np.random.default_rng(1).uniform(0, 2, (2, 64, 128)).astype(np.float32)
    masks = onnxruntime.InferenceSession(graph).run(None, {"magnitude": magnitude[None]})[0]

    logits = np.stack([unet_by_definition(weights, magnitude, stem, network) for stem in range(len(network.stems))])
    soft = np.exp(logits) / np.exp(logits).sum(axis=0) if network.softmax else 1 / (1 + np.exp(-logits))
    power = (soft * magnitude) ** 2
    shares = (power + 1e-10 / len(network.stems)) / (power.sum(axis=0) + 1e-10)
    np.testing.assert_allclose(masks, shares, atol=1e-4)


def unet_by_definition(weights, magnitude, stem, network):
    def layer(kind, number):
        return f"{kind}_{number}" if number else kind

    def activate(value, decoder=False):
        if network.activation == "Elu":
            return np.where(value > 0, value, np.expm1(np.minimum(value, 0)))
        return np.where(value > 0, value, (0.0 if decoder else 0.2) * value)

    def normalise(value, number):
        gamma, beta, mean, variance = (
            weights[f"{layer('batch_normalization', number)}/{part}"][:, None, None]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (value - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def kernel_of(kind, number):
        name = layer(kind, number)
        return weights[f"{name}/kernel"].astype(np.float64), weights[f"{name}/bias"][:, None, None]

    def convolve(value, number, stride, dilation, pad):
        kernel, bias = kernel_of("conv2d", number)
        height, width = value.shape[1] // stride, value.shape[2] // stride
        padded = np.pad(value, ((0, 0), pad, pad))
        result = np.zeros((kernel.shape[3], height, width))
        for y in range(kernel.shape[0]):
            for x in range(kernel.shape[1]):
                rows, columns = y * dilation, x * dilation
                part = padded[:, rows : rows + height * stride : stride, columns : columns + width * stride : stride]
                result += np.tensordot(kernel[y, x].T, part, axes=1)
        return result + bias

    def spread(value, number):
        """The transpose of a strided convolution: every cell adds a kernel to the result; "same" cuts 1 and 2 off."""
        kernel, bias = kernel_of("conv2d_transpose", number)
        height, width = 2 * value.shape[1], 2 * value.shape[2]
        result = np.zeros((kernel.shape[2], height + 3, width + 3))
        for y in range(5):
            for x in range(5):
                result[:, y : y + height : 2, x : x + width : 2] += np.tensordot(kernel[y, x], value, axes=1)
        return result[:, 1:-2, 1:-2] + bias

    value, skips = magnitude.astype(np.float64), []
    for level in range(6):
        value = convolve(value, 7 * stem + level, 2, 1, (1, 2))
        skips.append(value)
        value = activate(normalise(value, 12 * stem + level))
    value = skips.pop()
    for level in range(6):
        value = normalise(activate(spread(value, 6 * stem + level), decoder=True), 12 * stem + 6 + level)
        if skips:
            value = np.concatenate([skips.pop(), value])
    return convolve(value, 7 * stem + 6, 1, 2, (3, 3))
