"""How fast onsets and beats are found on one thread. Run as a script; it prints seconds of audio a second of work."""

import resource
import time
from collections.abc import Callable

import numpy as np

from tasks.models.pulse import hear_rhythm
from tasks.music.onsets import detect_onsets
from tasks.music.signals import HOP_S, MEL_BANDS, LogMel

DURATION_S = 600.0
BEAT_S = 0.5


def make_mel(duration_s: float) -> LogMel:
    """Bursts over all bands twice a second, each fourth longer, in a soft noise."""
    time_s = np.arange(round(duration_s / HOP_S)) * HOP_S
    decay_s = np.where(np.floor(time_s / BEAT_S) % 4 == 0, 0.2, 0.05)
    burst = np.exp(-(time_s % BEAT_S) / decay_s)
    noise = np.random.default_rng(0).random((MEL_BANDS, len(time_s)), np.float32)
    return LogMel((2.0 * burst + 0.2 * noise).astype(np.float32))


def run(duration_s: float = DURATION_S) -> dict:
    """Measure both stations; the fastest of three runs each, after one that loads the network."""
    mel = make_mel(duration_s)

    def measure(station: Callable[[LogMel], object]) -> float:
        seconds = []
        for _ in range(3):
            started = time.process_time()
            station(mel)
            seconds.append(time.process_time() - started)
        return round(duration_s / min(seconds), 1)

    hear_rhythm(make_mel(10.0))
    return {
        "onsets_realtime_factor": measure(detect_onsets),
        "beats_realtime_factor": measure(hear_rhythm),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    print(run())
