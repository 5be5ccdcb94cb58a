"""What the command makes of bad and odd files, on the evaluation set `broken`.

The set's own script writes the files (it needs ffmpeg and sox), `midime ingest` takes the folder, and
score_broken.py compares. Run as root, the ingest is stripped of root's right to read what permissions forbid.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote_to_bytes, urlsplit

import catalog

NEEDS = ("ffmpeg", "sox")
DROPPED = "-dac_override,-dac_read_search"
AS_ANYONE = ["setpriv", f"--bounding-set={DROPPED}", f"--inh-caps={DROPPED}"] if os.geteuid() == 0 else []


def run(eval_path: Path) -> dict:
    """Ingest the set and score it.

    Returns:
        correct of total, the silently lost, the run's counts, the command's exit code and its seconds.
    """
    with TemporaryDirectory() as scratch:
        folder, lake = Path(scratch) / "broken", Path(scratch) / "lake"
        run_script(eval_path / "broken/make_broken.py", folder)
        environment = {**os.environ, "PREFECT_HOME": f"{scratch}/prefect", "MIDIME_MAX_REJECT_SHARE": "1"}
        started = time.monotonic()
        command = [sys.executable, "-m", "flows.cli", "ingest", str(folder), "--lake", str(lake), "--stems", "none"]
        done = subprocess.run([*AS_ANYONE, *command, "--json"], env=environment, capture_output=True, text=True)
        seconds = time.monotonic() - started
        if not done.stdout.strip():
            raise RuntimeError(f"The ingest ended with {done.returncode} and without a summary:\n{done.stderr[-2000:]}")
        summary = json.loads(done.stdout)
        predictions = Path(scratch) / "predictions.json"
        predictions.write_text(json.dumps(read_statuses(lake, folder)))
        result = Path(scratch) / "scores.json"
        run_script(eval_path / "score/score_broken.py", f"{folder}.truth.csv", predictions, "--json", result)
        scores = json.loads(result.read_text())
    parts = ("new", "unchanged", "duplicate", "rejected", "failed")
    return {
        "correct": scores["correct"],
        "total": scores["total"],
        "silently_lost": len(scores["silent"]),
        "wrong": scores["wrong"],
        "counts_add_up": summary["files_seen"] == sum(summary[f"files_{part}"] for part in parts),
        "exit_code": done.returncode,
        "seconds": round(seconds, 1),
    }


def run_script(*command: object) -> None:
    """Run one of the set's own scripts."""
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def read_statuses(lake: Path, folder: Path) -> list[dict]:
    """What the lake says of every file below the folder."""
    with catalog.connect(lake) as connection:
        good = connection.execute("SELECT uri FROM files").fetchall()
        bad = connection.execute("SELECT uri FROM rejects").fetchall()
    rows = [(uri, "ok") for (uri,) in good] + [(uri, "error") for (uri,) in bad]
    return [{"file": os.path.relpath(to_path(uri), folder), "status": status} for uri, status in rows]


def to_path(uri: str) -> str:
    return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1])), indent=1))
