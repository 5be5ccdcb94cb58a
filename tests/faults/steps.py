"""An ingest, step by step in one process, without Prefect and Dask: the same plan, the same chain, the same commits.

A process that runs it can meet a fault between any two of its steps: its own death, or a full disk from then on.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from catalog.errors import UnwritableLake
from catalog.lake import Lake
from tasks.commit import Counts, Owner, Run, commit_plan, commit_shard
from tasks.errors import DiskFull
from tasks.plan import make_plan
from tasks.track import TrackParams, analyse_track, stage_versions

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.steps"])
SHARD_FILES = 3
FILLER = "filler"
RATE_HZ = 44_100

PATIENCE_S = 600  # CI runs beside other work
NO_ROOM = 3  # the exit code of a process that said in a line of ours that the disk is full

# Where a fault can come: the function at whose n-th call it does, and whether before or after it.
STEPS = {
    "before the lake is opened": ("catalog.lake:Lake.open", "before"),
    "before the lake is declared": ("catalog.lake:_declare", "before"),
    "before rows are inserted": ("catalog.lake:Transaction.insert", "before"),
    "after rows are inserted": ("catalog.lake:Transaction.insert", "after"),
    "after rows are deleted": ("catalog.lake:Transaction.delete", "after"),
    "before a commit": ("catalog.lake:Lake._commit", "before"),
    "after a commit": ("catalog.lake:Lake._commit", "after"),
    "before files are recorded": ("catalog.lake:Lake._record_files", "before"),
    "after a file is hashed for the record": ("catalog.file_record:measure_file", "after"),
    "after the plan": ("tests.faults.steps:make_plan", "after"),
    "before the plan is committed": ("tests.faults.steps:commit_plan", "before"),
    "after a track": ("tests.faults.steps:analyse_track", "after"),
    "while a stem is written": ("tasks.audio:FlacWriter.push", "after"),
    "after a stem has its name": ("tasks.audio:FlacWriter.commit", "after"),
    "before a shard is committed": ("tests.faults.steps:commit_shard", "before"),
    "after a shard is committed": ("tests.faults.steps:commit_shard", "after"),
}


def write_clip(path: Path, content: int) -> None:
    """One second of hits, different for each number in pitch and in speed; every seventh is no audio at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content % 7 == 6:
        path.write_bytes(b"no audio %d" % content)
        return
    random = np.random.default_rng(content)
    time_s = np.arange(RATE_HZ) / RATE_HZ
    hits = np.exp(-(time_s % (0.2 + 0.01 * (content % 11))) * 30) * random.standard_normal(RATE_HZ)
    soundfile.write(path, 0.2 * hits + 0.2 * np.sin(2 * np.pi * (200 + content) * time_s), RATE_HZ, format="WAV")


def ingest_folder(lake: Path, source: Path, stems: int = 0, force: str | None = None) -> Counts:
    """Bring a folder into the lake, three files a shard."""
    params = TrackParams(lake=str(lake), stems=stems)
    run = Run("ingest", {"source": str(source)}, "test")
    with Lake.open(lake) as opened, opened.at_work():
        run.write(opened)
        plan = make_plan([source], "c", opened.connection, stage_versions(params), force)
        counts = commit_plan(opened, plan, run.run_id)
        for start in range(0, len(plan.jobs), SHARD_FILES):
            results = [analyse_track(job, params) for job in plan.jobs[start : start + SHARD_FILES]]
            counts += commit_shard(opened, f"c/{start}", results, run.run_id, Owner())
        run.end("completed").write(opened, counts)
    return counts


def die(lake: Path) -> None:
    """End this process as the system ends one: with no word."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(lake: Path) -> None:
    """Leave no room where the lake lies."""
    with (lake.parent / FILLER).open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


def ingest_in_process(
    lake: Path,
    source: Path,
    step: str | None = None,
    call: int = 1,
    fault: Callable[[Path], None] = die,
    **options,
) -> int | None:
    """Ingest in a process of its own, which meets a fault at the n-th call of a step.

    Returns:
        Its exit code: -SIGKILL when it died at that step, `NO_ROOM` when it told of a full disk.
    """
    process = PROCESSES.Process(target=_work, args=(lake, source, step, call, fault, options))
    process.start()
    process.join(PATIENCE_S)
    return process.exitcode


def _work(lake: Path, source: Path, step: str | None, call: int, fault: Callable[[Path], None], options: dict) -> None:
    if step:
        _arm(*STEPS[step], call, lambda: fault(lake))
    try:
        ingest_folder(lake, source, **options)
    except (DiskFull, UnwritableLake) as error:
        print(error, file=sys.stderr)
        sys.exit(NO_ROOM)


def _arm(target: str, when: str, call: int, fault: Callable[[], None]) -> None:
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    held = vars(owner)[name]
    function = held.__func__ if isinstance(held, classmethod) else held
    calls = 0

    def faulty(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            fault()
        answer = function(*args, **kwargs)
        if calls == call and when == "after":
            fault()
        return answer

    setattr(owner, name, classmethod(faulty) if isinstance(held, classmethod) else faulty)


def read_rows(lake: Path, address: str | None = None) -> dict[str, list]:
    """What the lake holds but for names of runs, times of writing and speed."""
    import catalog

    left_out = {
        "tracks": "upload_date",
        "patterns": "created_at",
        "files": "run_id",
        "rejects": "run_id, rejected_at, attempts",
        "track_stages": "run_id, seconds, peak_rss_mb",
    }
    tables = ("tracks", "files", "stems", "onsets", "beats", "notes", "sections", "patterns", "fingerprints")
    with catalog.connect(lake, address) as connection:
        return {
            name: connection.execute(
                f"SELECT * {f'EXCLUDE ({left_out[name]})' if name in left_out else ''} FROM {name} ORDER BY ALL"
            ).fetchall()
            for name in (*tables, "rejects", "track_stages")
        }
