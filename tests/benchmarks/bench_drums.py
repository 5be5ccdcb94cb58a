"""How fast the drum station is on one thread. Run as a script; it prints seconds of audio for each second of work."""

import time

import numpy as np

from tasks.models.drums import load_transcriber
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel

DURATION_S = 600


def run() -> dict:
    """Transcribe ten minutes of random frames, three times, and take the fastest."""
    frames = round(DURATION_S / HOP_S)
    rng = np.random.default_rng(1)
    log_mel = LogMel(rng.random((MEL_BANDS, frames), dtype=np.float32))
    transcriber = load_transcriber(threads=1)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        transcriber.transcribe(log_mel, log_mel)
        seconds.append(time.perf_counter() - started)
    return {"realtime_factor": round(DURATION_S / min(seconds), 1)}


if __name__ == "__main__":
    print(run())
