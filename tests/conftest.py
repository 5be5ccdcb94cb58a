"""Synthetic audio and empty lakes that several tests share."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from catalog.lake import Lake
from tests.nights import write_month

RATE_HZ = 44_100


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--spleeter", metavar="PYTHON", help="Interpreter of an environment that has Spleeter 2.4.2.")


@pytest.fixture(scope="session")
def beat_samples() -> np.ndarray:
    """Twelve seconds of a backbeat at 120 bpm, float32 (2, n): kick on 1 and 3, snare on 2 and 4, hi-hat on eighths."""
    random = np.random.default_rng(7)
    samples = np.zeros(12 * RATE_HZ, np.float32)

    def add(time_s: float, hit: np.ndarray) -> None:
        start = round(time_s * RATE_HZ)
        end = min(len(samples), start + len(hit))
        samples[start:end] += hit[: end - start]

    time_s = np.arange(round(0.25 * RATE_HZ)) / RATE_HZ
    kick = 0.8 * np.sin(2 * np.pi * (50 * time_s + 4 * (1 - np.exp(-time_s * 60)))) * np.exp(-time_s * 18)
    noise = np.diff(random.standard_normal(len(time_s) + 1))  # without the lowest octaves, as a snare is
    snare = (0.25 * noise + 0.3 * np.sin(2 * np.pi * 190 * time_s)) * np.exp(-time_s * 22)
    hihat = 0.18 * np.diff(random.standard_normal(len(time_s) + 1)) * np.exp(-time_s * 70)
    for beat in range(24):
        add(beat * 0.5, kick if beat % 2 == 0 else snare)
        add(beat * 0.5, hihat)
        add(beat * 0.5 + 0.25, hihat)
    return np.stack([samples, samples]).astype(np.float32)


@pytest.fixture(scope="session")
def write_track(beat_samples):
    """Write the backbeat to a file, at a gain that makes its content its own."""

    def write(path: Path, gain: float = 0.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (beat_samples * gain).T, RATE_HZ)
        return path

    return write


@pytest.fixture(scope="session")
def _empty_lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lake") / "empty"
    Lake.open(folder).close()
    return folder


@pytest.fixture
def lake(_empty_lake, tmp_path):
    """A lake without rows, open for writing."""
    with Lake.open(shutil.copytree(_empty_lake, tmp_path / "lake")) as opened:
        yield opened


@pytest.fixture(scope="session")
def month_lake(tmp_path_factory):
    """A lake after thirty calm nights and a bad one (see tests/nights.py); to be read only."""
    with Lake.open(tmp_path_factory.mktemp("month") / "lake") as opened:
        write_month(opened, datetime.now(UTC))
        yield opened
