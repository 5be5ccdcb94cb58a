"""How long a person waits for `midime analyze` of a 15-second clip, and where a track's time goes.

The wait is of a fresh process, with nothing in memory. The shares are of one warm run in this process over a minute of
the sample corpus, each stage against separation, which is the floor.
"""

import subprocess
import sys
import time
from pathlib import Path

from tasks.track import TrackParams, analyse_file

SAMPLE = Path(__file__).parents[2] / "data/sample/supertuxkart"
ROUNDS = 3


def run() -> dict:
    """Seconds of a cold analysis (fastest of a few), × real time of a warm one, and seconds of its stages."""
    clip = SAMPLE / "ravenbridge_mansion_part_1.mp3"
    command = [sys.executable, "-m", "flows.cli", "analyze", str(clip), "--end", "15", "--lake", "no-lake-here"]
    cold = []
    for _ in range(ROUNDS):
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        cold.append(time.monotonic() - started)
    whole = SAMPLE / "ravenbridge_mansion.ogg"
    analyse_file(whole, TrackParams())
    found = analyse_file(whole, TrackParams())
    seconds = {stage.stage: stage.seconds for stage in found.stages}
    total = sum(seconds.values())
    return {
        "cold_clip_s": round(min(cold), 2),
        "real_time_factor_one_thread": round(found.duration_s / total, 1),
        "all_else_over_separation": round((total - seconds["separate"]) / seconds["separate"], 3),
        "stages_s": seconds,
    }
