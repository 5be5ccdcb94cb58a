"""The networks on a GPU against the same networks on the processor. Run it with -s to see the figures."""

import json
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tasks.audio import read_audio
from tasks.errors import ModelNotInstalled
from tasks.models import spleeter_graph
from tasks.models.runtime import CUDA, choose_providers, open_session
from tasks.models.spleeter import Separator, check_separator, load_separator
from tasks.models.spleeter_graph import NETWORK_BINS, NETWORKS, SEGMENT_FRAMES, _Graph, build_graph
from tests.benchmarks.bench_separation import error_db, separate_in_blocks

SAMPLE = Path(__file__).parents[3] / "data/sample"
AGREEMENT_DB = 60  # that the error of a stem lies below the stem
INPUT_GAIN = 0.01  # brings the magnitudes of music, in the hundreds, down to ones


@pytest.fixture(scope="module", autouse=True)
def gpu():
    try:
        session = open_session(_Graph().serialise("magnitude", (1,), (1,)), device="cuda")
    except ModelNotInstalled as error:
        pytest.skip(f"needs onnxruntime-gpu and a GPU: {error}")
    assert session.get_providers()[0] == CUDA


@pytest.fixture(scope="module")
def cache_path(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def song():
    return read_audio(SAMPLE / "supertuxkart/kart_grand_prix.mp3").samples


@pytest.fixture
def random_weights(monkeypatch):
    """Weights in the place of a checkpoint, of a size that keeps what a layer gives near what it takes."""

    def random_tensors(prefix, shapes):
        random = np.random.default_rng(0)
        tensors = {}
        for name, shape in shapes.items():
            if name.endswith("kernel"):
                limit = np.sqrt(6 / np.prod(shape[:-1])) * (INPUT_GAIN if shape[2] == 2 and shape[3] == 16 else 1)
                low, high = -limit, limit
            else:
                low, high = (0.5, 1.5) if name.endswith(("gamma", "variance")) else (-0.2, 0.2)
            tensors[name] = random.uniform(low, high, shape).astype(np.float32)
        return tensors

    monkeypatch.setattr(spleeter_graph, "read_tensors", random_tensors)


def separate(separator, samples):
    """The stems of samples, and the seconds that they took when warm."""
    separate_in_blocks(separator, samples[:, :600_000])
    started = time.perf_counter()
    stems = separate_in_blocks(separator, samples)
    return stems, time.perf_counter() - started


def assert_agreement(what: str, on_cuda, on_cpu, samples) -> None:
    stems, seconds = separate(on_cuda, samples)
    truth, cpu_seconds = separate(on_cpu, samples)
    audio_s = samples.shape[1] / 44_100
    print(f"\n{what}: {audio_s / seconds:.0f}× real time on cuda, {audio_s / cpu_seconds:.0f}× on the processor")
    for stem, part in stems.items():
        error = error_db(part, truth[stem])
        print(f"{what}: {stem}: {error:.1f} dB")
        assert np.any(truth[stem])
        assert error < -AGREEMENT_DB


@pytest.mark.parametrize("stems", [2, 4])
def test_stems_of_a_song_are_those_of_the_processor(song, cache_path, stems):
    on_cuda, on_cpu = (load_separator(stems, device=device, cache_path=cache_path) for device in ("cuda", "cpu"))
    assert_agreement(f"{stems} stems", on_cuda, on_cpu, song)


@pytest.mark.parametrize("stems", [4, 5])
def test_networks_of_more_stems_agree_with_the_processor(song, random_weights, stems):
    graph = build_graph(Path("random"), NETWORKS[stems])
    on_cuda, on_cpu = (
        Separator(open_session(graph, device=device), stems, own_split=False, threads=1) for device in ("cuda", "cpu")
    )
    assert_agreement(f"network of {stems} stems", on_cuda, on_cpu, song[:, :800_000])


def test_one_segment_has_the_masks_of_the_processor(random_weights):
    graph = build_graph(Path("random"), NETWORKS[2])
    magnitude = np.abs(np.random.default_rng(1).standard_normal((1, 2, SEGMENT_FRAMES, NETWORK_BINS), np.float32)) * 100
    masks, truth = (
        open_session(graph, device=device).run(None, {"magnitude": magnitude})[0] for device in ("cuda", "cpu")
    )
    print(f"\nmasks: {error_db(masks, truth):.1f} dB, at most {np.abs(masks - truth).max():.1e} apart")
    assert np.std(truth) > 0.1
    assert error_db(masks, truth) < -AGREEMENT_DB


def test_pieces_give_the_stems_of_the_whole(song, cache_path):
    separator = load_separator(2, device="cuda", cache_path=cache_path)
    whole, pieces = separator.stream(), separator.stream()
    expected = [whole.push(song), whole.finish()]
    found = [pieces.push(song[:, start : start + 70_001]) for start in range(0, song.shape[1], 70_001)]
    found.append(pieces.finish())
    for stem in separator.stems:
        joined, truth = (np.concatenate([part[stem] for part in parts], axis=1) for parts in (found, expected))
        assert error_db(joined, truth) < -AGREEMENT_DB


def test_all_but_the_transposed_convolutions_runs_on_the_gpu(random_weights, tmp_path):
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    graph = build_graph(Path("random"), NETWORKS[2])
    session = onnxruntime.InferenceSession(graph, options, providers=choose_providers("cuda"))
    session.run(None, {"magnitude": np.ones((1, 2, SEGMENT_FRAMES, NETWORK_BINS), np.float32)})
    events = [event["args"] for event in json.loads(Path(session.end_profiling()).read_text()) if "args" in event]
    ran = Counter((event["op_name"], event["provider"]) for event in events if event.get("provider"))
    print(f"\nnodes: {dict(ran)}")
    assert ("Conv", CUDA) in ran
    # One at the end of each stem's network: ONNX Runtime has no kernel for CUDA where the padding is asymmetric.
    assert {name for name, provider in ran if provider != CUDA} <= {"ConvTranspose"}


def test_silence_gives_silent_stems(cache_path):
    separator = load_separator(2, device="cuda", cache_path=cache_path)
    for part in separate_in_blocks(separator, np.zeros((2, 600_000), np.float32)).values():
        assert not part.any()


def test_the_device_is_taken_before_any_work(cache_path):
    check_separator(4, device="cuda", cache_path=cache_path)


def test_memory_of_the_gpu_does_not_grow_from_track_to_track(song, cache_path):
    separator = load_separator(4, device="cuda", cache_path=cache_path)
    after = []
    for _ in range(3):
        separate_in_blocks(separator, song)
        after.append(_used_mb())
    print(f"\nmemory of the GPU after each track: {after} MB")
    assert after[2] <= after[0] + 16


def _used_mb() -> int:
    """Of the first GPU, by all processes."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
