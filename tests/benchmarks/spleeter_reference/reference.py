"""Separates samples with Spleeter 2.4.2 itself. Runs in the environment of requirements.txt, never in the product's.

    python reference.py FOLDER_OF_2STEMS OUTPUT.npz [INPUT.npy]

The input is stereo float32 (2, n) at 44.1 kHz, or `reference_signal` where none is named. The output holds each stem,
(2, n), and `seconds` and `cpu_seconds` of a second, warm run.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

RATE_HZ = 44_100


def reference_signal(seconds: float = 13.0) -> np.ndarray:
    """A wavering voice-like tone, a bass and noise bursts, float32 (2, n); the same on every machine."""
    index = np.arange(round(seconds * RATE_HZ), dtype=np.uint64)
    time_s = index.astype(np.float64) / RATE_HZ
    hashed = (index * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    hashed = ((hashed ^ (hashed >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    noise = (hashed >> np.uint64(8)).astype(np.float64) / 2**23 - 1.0
    phase = 2 * np.pi * (220.0 * time_s + 1.5 * np.sin(2 * np.pi * 5.5 * time_s))
    voice = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 0.4 * time_s) > 0)
    bass = np.sin(2 * np.pi * 55.0 * time_s)
    bursts = noise * np.exp(-25.0 * (time_s % 0.5))
    left = 0.15 * voice + 0.25 * bass + 0.3 * bursts
    right = 0.12 * voice + 0.25 * bass + 0.2 * bursts
    return np.stack([left, right]).astype(np.float32)


def main() -> None:
    checkpoint, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    samples = np.load(sys.argv[3]) if len(sys.argv) > 3 else reference_signal()
    os.environ["MODEL_PATH"] = str(checkpoint.parent)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from spleeter.separator import Separator

    separator = Separator(f"spleeter:{checkpoint.name}", multiprocess=False)
    separator.separate(samples.T)
    started, cpu_started = time.perf_counter(), time.process_time()
    stems = separator.separate(samples.T)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    np.savez(output, seconds=seconds, cpu_seconds=cpu_seconds, **{stem: part.T for stem, part in stems.items()})


if __name__ == "__main__":
    main()
