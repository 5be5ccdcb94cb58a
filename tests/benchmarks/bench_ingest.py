"""What an ingest costs beside the music: planning, handing out, committing, a stage run again, a worker's memory.

Run as a script with the number of known files (100,000 by default) and of tracks for one worker (1,000).
"""

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import soundfile
from distributed import Client

from catalog.lake import Lake
from catalog.tables import FILES, TRACK_STAGES, TRACKS, make_id
from flows.cluster import open_cluster
from flows.settings import Settings
from tasks.commit import Owner, commit_shard
from tasks.fanout import fan_out
from tasks.plan import StoredStem, make_plan
from tasks.track import TrackParams, TrackResult, analyse_track, stage_versions

KNOWN_FILES = 100_000
HANDED_OUT = 2_000
COMMITTED = 500
RATE_HZ = 44_100
MUSIC_S = 120
TRACKS_OF_A_WORKER = 1_000
LOOKS_AT_MEMORY = (10, 50, 100, 200, 500, 1_000)


def run(known_files: int = KNOWN_FILES, tracks: int = TRACKS_OF_A_WORKER) -> dict:
    """Measure all; a ratio where there is something to compare with."""
    with TemporaryDirectory() as scratch:
        return {
            "planning": measure_planning(Path(scratch) / "planning", known_files),
            "orchestration": measure_orchestration(Path(scratch) / "orchestration"),
            "stage_again": measure_stage_again(Path(scratch) / "again"),
            "memory": measure_memory(Path(scratch) / "memory", tracks),
        }


def measure_planning(top: Path, count: int) -> dict:
    """Seconds to see that nothing has changed in a folder of so many files, on one core, and those it computed."""
    stages = stage_versions(TrackParams())
    rows = {"tracks": [], "files": [], "track_stages": []}
    for index in range(count):
        path = top / "corpus" / f"{index // 1000:03d}" / f"{index:06d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % index)
        status, track = path.stat(), {"corpus": "corpus", "track_id": make_id("track", index)}
        modified_at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=status.st_mtime_ns // 1000)
        rows["tracks"].append(track | {"file_hash": str(index)})
        seen = {"uri": path.as_uri(), "size_bytes": status.st_size, "modified_at": modified_at}
        rows["files"].append(track | seen)
        rows["track_stages"] += [track | {"stage": name, "stage_version": version} for name, version in stages.items()]
    with Lake.open(top / "lake") as lake:
        with lake.transaction("made up") as change:
            for table in (TRACKS, FILES, TRACK_STAGES):
                change.insert(table.name, table.make_rows(rows[table.name]))
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        started, started_cpu = time.perf_counter(), time.process_time()
        plan = make_plan([top / "corpus"], None, lake.connection, stages)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        os.sched_setaffinity(0, before)
    assert plan.unchanged == count, plan.unchanged
    return {"files": count, "seconds": round(seconds, 1), "cpu_seconds": round(cpu_s, 1)}


def measure_orchestration(top: Path) -> dict:
    """Milliseconds a file for handing it to a worker and back, and for writing its rows."""
    (top / "corpus").mkdir(parents=True)
    for index in range(HANDED_OUT):
        (top / "corpus" / f"{index}.mp3").write_bytes(b"no music %d" % index)
    params = TrackParams(stems=0)
    jobs = make_plan([top / "corpus"], "c", None, {}).jobs
    started = time.perf_counter()
    for job in jobs:
        analyse_track(job, params)
    alone = time.perf_counter() - started
    with open_cluster(Settings(lake=top / "lake", workers=1)) as address:
        list(fan_out(address, jobs[:50], params))
        started = time.perf_counter()
        assert len(list(fan_out(address, jobs, params))) == HANDED_OUT
        handed_out = time.perf_counter() - started
    job = make_plan([write_music(top / "a.wav", 30)], "c", None, {}).jobs[0]
    analysis = analyse_track(job, params).analysis
    results = [TrackResult(replace(job, track_id=make_id("track", index)), analysis) for index in range(COMMITTED)]
    with Lake.open(top / "lake") as lake:
        started = time.perf_counter()
        for start in range(0, COMMITTED, 100):
            commit_shard(lake, f"c/{start}", results[start : start + 100], make_id("run", 1), Owner())
        committed = time.perf_counter() - started
    return {
        "hand_out_ms_per_file": round(1000 * (handed_out - alone) / HANDED_OUT, 2),
        "commit_ms_per_file": round(1000 * committed / COMMITTED, 2),
    }


def measure_stage_again(top: Path) -> dict:
    """How many times faster a track's stages run from stored stems than with the separation."""
    params = TrackParams(lake=str(top / "lake"), stems=4)
    job = make_plan([write_music(top / "a.wav", MUSIC_S)], "c", None, {}).jobs[0]
    analyse_track(job, params)
    started = time.perf_counter()
    first = analyse_track(job, params)
    whole = time.perf_counter() - started
    stems = tuple(StoredStem(stem.stem, stem.uri, stem.sha256, stem.backend) for stem in first.analysis.stems)
    started = time.perf_counter()
    analyse_track(replace(job, stages=frozenset({"beats"}), stems=stems), params)
    again = time.perf_counter() - started
    return {"audio_s": MUSIC_S, "times_faster": round(whole / again, 2)}


def measure_memory(top: Path, tracks: int, stems: int = 4) -> dict[int, int]:
    """Resident megabytes of a worker after so many tracks of one to three seconds, each another one."""
    for index in range(tracks):
        write_music(top / "corpus" / f"{index:04d}.wav", 1 + index % 3, seed=index)
    params = TrackParams(lake=str(top / "lake"), stems=stems)
    jobs = make_plan([top / "corpus"], "c", None, {}).jobs
    curve = {}
    settings = Settings(lake=top / "lake", workers=1)
    with open_cluster(settings) as address, Client(address, set_as_default=False) as client:
        (pid,) = client.run(os.getpid).values()
        worker = psutil.Process(pid)
        for count, result in enumerate(fan_out(address, jobs, params), 1):
            assert result.analysis, result.fault
            if count in LOOKS_AT_MEMORY:
                curve[count] = worker.memory_info().rss >> 20
    return curve


def write_music(path: Path, duration_s: int, seed: int = 1) -> Path:
    """Hits over a chord."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(duration_s * RATE_HZ) / RATE_HZ
    hits = np.exp(-(time_s % 0.5) * 30) * np.random.default_rng(seed).standard_normal(len(time_s))
    wave = 0.2 * hits + 0.1 * np.sin(2 * np.pi * 220 * time_s) + 0.1 * np.sin(2 * np.pi * 330 * time_s)
    soundfile.write(path, np.stack([wave, wave], axis=1), RATE_HZ)
    return path


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:2])))
