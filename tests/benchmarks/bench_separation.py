"""How fast, how lean and how true to Spleeter the separation is. Speeds are ratios within one run.

    python -m tests.benchmarks.bench_separation [PYTHON_OF_THE_REFERENCE]
    python -m tests.benchmarks.bench_separation --device cuda

With the interpreter of an environment made from spleeter_reference/requirements.txt, Spleeter 2.4.2 itself runs on the
same samples and the same checkpoint. With a device, only that device is measured, beside the processor.
"""

import argparse
import json
import multiprocessing
import os
import resource
import runpy
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.models.spleeter import HOP_SAMPLES, Separator, load_separator, packaged_checkpoint
from tasks.models.spleeter_graph import NETWORK_BINS, SEGMENT_FRAMES
from tasks.music.signals import SAMPLE_RATE_HZ

REFERENCE = Path(__file__).with_name("spleeter_reference") / "reference.py"
BLOCK_S = 10
SPEED_SEGMENTS = 6
# Six segments, less the frame of silence before a track and what the split holds back: none is mostly padding.
SPEED_S = (SPEED_SEGMENTS * SEGMENT_FRAMES - 20) * HOP_SAMPLES / SAMPLE_RATE_HZ
REFERENCE_S = 60
LONG_TRACK_S = 3 * 3600
TRACKS = 1_000
TRACK_S = 5


def run(reference_python: Path | None = None, long_track_s: float = LONG_TRACK_S, tracks: int = TRACKS) -> dict:
    """Measure speed, memory and, where a reference is named, agreement with it.

    Args:
        reference_python: Interpreter of the reference environment.
        long_track_s: Length of the track whose peak memory is taken.
        tracks: How many tracks one process separates in a row.
    """
    figures = measure_speed(1) | measure_speed(os.cpu_count())
    figures["long_track_peak_mb"] = _in_fresh_process(peak_of_a_long_track, long_track_s)
    figures["growth_after_ten_tracks_mb"] = _in_fresh_process(growth_over_tracks, tracks)
    if reference_python:
        figures |= compare_with_reference(reference_python, os.cpu_count())
    return figures


def compare_devices(device: str, threads: int) -> dict:
    """What `measure_speed` measures on a device, how many times as fast that is, and the error of each stem there."""
    on_device, on_cpu = measure_speed(threads, device), measure_speed(threads)
    samples = runpy.run_path(str(REFERENCE))["reference_signal"](REFERENCE_S)
    stems, truth = (
        separate_in_blocks(load_separator(4, threads=threads, device=name), samples) for name in (device, "cpu")
    )
    return {
        device: on_device,
        "cpu": on_cpu,
        "times_as_fast": {
            name: round(speed / on_cpu[name], 1) for name, speed in on_device.items() if name.startswith("realtime")
        },
        "error_db": {stem: round(error_db(part, truth[stem]), 1) for stem, part in stems.items()},
    }


def measure_speed(threads: int, device: str = "cpu") -> dict:
    """Seconds of audio a second of time, and the network's share of the CPU time.

    CPU time hardly changes with what else the machine does; on one thread it is what a quiet machine would take.
    """
    samples = _noise(SPEED_S)
    segment = np.abs(np.random.default_rng(1).standard_normal((2, SEGMENT_FRAMES, NETWORK_BINS), np.float32))
    two, four = (load_separator(stems, threads=threads, device=device) for stems in (2, 4))
    works = (
        lambda: [two.find_masks(segment) for _ in range(SPEED_SEGMENTS)],
        lambda: _drain(two, samples),
        lambda: _drain(four, samples),
    )
    (network_s, network_cpu_s), (two_s, two_cpu_s), (four_s, four_cpu_s) = _fastest(*works)
    return {
        f"realtime_factor_network_{threads}_threads": round(SPEED_S / network_s, 1),
        f"realtime_factor_2_stems_{threads}_threads": round(SPEED_S / two_s, 1),
        f"realtime_factor_4_stems_{threads}_threads": round(SPEED_S / four_s, 1),
        f"realtime_factor_4_stems_cpu_{threads}_threads": round(SPEED_S / four_cpu_s, 1),
        f"share_of_network_2_stems_{threads}_threads": round(network_cpu_s / two_cpu_s, 2),
        f"share_of_network_4_stems_{threads}_threads": round(network_cpu_s / four_cpu_s, 2),
    }


def compare_with_reference(python: Path, threads: int) -> dict:
    """Error of each stem in dB below Spleeter's, and how many times as fast we are, both warm."""
    samples = runpy.run_path(str(REFERENCE))["reference_signal"](REFERENCE_S)
    reference = run_spleeter(python, samples)
    separator = load_separator(2, threads=threads)
    stems = separate_in_blocks(separator, samples)
    ((ours_s, ours_cpu_s),) = _fastest(lambda: _drain(separator, samples))
    return {
        "error_db": {stem: round(error_db(stems[stem], reference[stem]), 1) for stem in separator.stems},
        "times_as_fast_as_spleeter": round(float(reference["seconds"]) / ours_s, 1),
        "times_less_cpu_than_spleeter": round(float(reference["cpu_seconds"]) / ours_cpu_s, 1),
    }


def run_spleeter(python: Path, samples: np.ndarray, source: Path | None = None) -> dict[str, np.ndarray]:
    """Spleeter's own stems of samples (2, n), and the seconds that it took when warm.

    Args:
        python: Interpreter of the reference environment.
        samples: Stereo at SAMPLE_RATE_HZ.
        source: Folder of the checkpoint, named 2stems, 4stems or 5stems; ours by default.
    """
    source = source or packaged_checkpoint()
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "input.npy", samples)
        # Spleeter looks for a file of its own beside the checkpoint, so it gets a folder of links.
        checkpoint = Path(folder) / source.name
        checkpoint.mkdir()
        for path in source.iterdir():
            (checkpoint / path.name).symlink_to(path)
        (checkpoint / ".probe").unlink(missing_ok=True)
        (checkpoint / ".probe").write_text("OK")
        output = Path(folder) / "output.npz"
        subprocess.run([python, REFERENCE, checkpoint, output, Path(folder) / "input.npy"], check=True)
        return dict(np.load(output))


def peak_of_a_long_track(duration_s: float) -> float:
    """Peak resident memory of a process that separates one long track into four stems, in MB."""
    stream = load_separator(4).stream()
    block = _noise(BLOCK_S)
    for _ in range(round(duration_s / BLOCK_S)):
        stream.push(block)
    stream.finish()
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def growth_over_tracks(tracks: int) -> float:
    """How much the resident memory grows from the tenth track of a process to the last one, in MB."""
    separator = load_separator(4)
    samples = _noise(TRACK_S)
    after_ten = 0.0
    for track in range(tracks):
        _drain(separator, samples)
        if track == 9:
            after_ten = _resident_mb()
    return round(_resident_mb() - after_ten, 1)


def separate_in_blocks(separator: Separator, samples: np.ndarray) -> dict[str, np.ndarray]:
    """The stems of a whole track, (2, n) each."""
    parts = list(_stream(separator, samples))
    return {stem: np.concatenate([part[stem] for part in parts], axis=1) for stem in separator.stems}


def _stream(separator: Separator, samples: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    stream = separator.stream()
    block = BLOCK_S * SAMPLE_RATE_HZ
    for start in range(0, samples.shape[1], block):
        yield stream.push(samples[:, start : start + block])
    yield stream.finish()


def _drain(separator: Separator, samples: np.ndarray) -> None:
    """Separate as the pipeline does, which keeps no more than a block."""
    for _ in _stream(separator, samples):
        pass


def _fastest(*works: Callable[[], object], rounds: int = 4) -> list[tuple[float, float]]:
    """The shortest time and CPU time of each work in seconds; the works take turns, so that a busy machine is fair."""
    shortest = [(float("inf"), float("inf"))] * len(works)
    for _ in range(rounds):
        for index, work in enumerate(works):
            started, cpu_started = time.perf_counter(), time.process_time()
            work()
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
            shortest[index] = min(shortest[index][0], seconds), min(shortest[index][1], cpu_seconds)
    return shortest


def _in_fresh_process(work: Callable[[float], float], argument: float) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, argument).result()


def _noise(duration_s: float) -> np.ndarray:
    samples = np.random.default_rng(1).standard_normal((2, round(duration_s * SAMPLE_RATE_HZ)), np.float32)
    return samples * np.float32(0.1)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def error_db(estimate: np.ndarray, truth: np.ndarray) -> float:
    """The power of the error against that of the truth; -300 where there is none."""
    return float(10 * np.log10(np.sum((estimate - truth) ** 2) / np.sum(truth**2) + 1e-30))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("reference_python", nargs="?", type=Path)
    parser.add_argument("--device")
    options = parser.parse_args()
    if options.device:
        figures = {
            f"{threads}_threads": compare_devices(options.device, threads) for threads in sorted({1, os.cpu_count()})
        }
    else:
        figures = run(options.reference_python)
    print(json.dumps(figures, indent=1))
