"""Fanning out: a track that kills its worker costs itself alone."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import LocalCluster

import tasks.fanout
from tasks.errors import NotAudio
from tasks.fanout import CUDA_SESSION_MB, ClusterLost, fan_out
from tasks.plan import make_plan
from tasks.track import TrackParams, TrackResult, analyse_track

PARAMS = TrackParams(stems=0)


@pytest.fixture(scope="module")
def cluster():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as running,
    ):
        yield running.scheduler_address


def fake_analysis(job, params) -> TrackResult:
    """Stands for a decoder with a fatal bug: dies on one file, answers with the chain's own fault on the others."""
    if os.path.basename(job.file.path) == "deadly.wav":
        os._exit(1)
    return analyse_track(job, params)


fake_analysis.__module__ = "__main__"  # pickled by value: the workers cannot import a test


def test_a_track_that_kills_its_worker_costs_itself_alone(cluster, tmp_path, monkeypatch):
    for name in ("a.wav", "b.wav", "deadly.wav", "d.wav", "e.wav"):
        (tmp_path / name).write_bytes(name.encode())
    jobs = make_plan([tmp_path], "c", None, {}).jobs
    monkeypatch.setattr(tasks.fanout, "analyse_guarded", fake_analysis)
    reasons = {os.path.basename(r.job.file.path): r.fault.reason for r in fan_out(cluster, jobs, PARAMS)}
    assert reasons == dict.fromkeys(("a.wav", "b.wav", "d.wav", "e.wav"), "not_audio") | {"deadly.wav": "crash"}


def test_every_job_has_a_result(cluster, tmp_path):
    for index in range(20):
        (tmp_path / f"{index}.wav").write_bytes(b"%d" % index)
    jobs = make_plan([tmp_path], "c", None, {}).jobs
    assert {result.job.track_id for result in fan_out(cluster, jobs, PARAMS)} == {job.track_id for job in jobs}


def test_a_track_that_needs_more_memory_than_it_may_is_out_of_memory(tmp_path, monkeypatch):
    def devour(path, params, **_):
        return np.ones(1 << 28)  # 2 GiB

    (tmp_path / "a.wav").write_bytes(b"music")
    (job,) = make_plan([tmp_path], "c", None, {}).jobs
    monkeypatch.setattr("tasks.track.analyse_file", devour)
    held_mb = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10
    fault = tasks.fanout.analyse_guarded(job, replace(PARAMS, memory_mb=held_mb + 500)).fault
    assert (fault.reason, fault.failed) == ("out_of_memory", True)
    assert np.ones(1 << 20).sum() == 1 << 20


@pytest.mark.parametrize(
    ("device", "stems", "reason"), [("cuda", 4, "not_audio"), ("cuda", 0, "out_of_memory"), ("cpu", 4, "out_of_memory")]
)
def test_a_session_on_a_gpu_is_beside_what_a_track_may_hold(tmp_path, monkeypatch, device, stems, reason):
    def open_session(*_, **__):
        held = np.empty(CUDA_SESSION_MB << 20, np.uint8)
        raise NotAudio(f"It is no audio, and {held.nbytes} bytes are held.")

    (tmp_path / "a.wav").write_bytes(b"music")
    (job,) = make_plan([tmp_path], "c", None, {}).jobs
    monkeypatch.setattr("tasks.track.analyse_file", open_session)
    held_mb = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) >> 10
    params = replace(PARAMS, memory_mb=held_mb + 500, device=device, stems=stems)
    fault = tasks.fanout.analyse_guarded(job, params).fault
    assert (fault.reason, fault.limit_value) == (reason, held_mb + 500 if reason == "out_of_memory" else None)


def devour_memory(job, params):
    """The guard around a stage that takes memory until there is none."""
    import tasks.fanout
    import tasks.track

    def devour(*_, **__):
        held = []
        while True:
            held.append(np.ones(1 << 24))  # 128 MiB

    if os.path.basename(job.file.path) == "huge.wav":
        tasks.track.analyse_file, real = devour, tasks.track.analyse_file
    try:
        return tasks.fanout.analyse_guarded(job, params)
    finally:
        if os.path.basename(job.file.path) == "huge.wav":
            tasks.track.analyse_file = real


devour_memory.__module__ = "__main__"


def test_a_track_that_eats_memory_costs_itself_alone_without_any_setting(tmp_path, monkeypatch):
    for name in ("a.wav", "huge.wav", "z.wav"):
        (tmp_path / name).write_bytes(name.encode())
    jobs = make_plan([tmp_path], "c", None, {}).jobs
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="3GiB", dashboard_address="127.0.0.1:0") as one,
    ):
        worker = one.workers[0].pid
        monkeypatch.setattr(tasks.fanout, "analyse_guarded", devour_memory)
        results = {os.path.basename(r.job.file.path): r.fault for r in fan_out(one.scheduler_address, jobs, PARAMS)}
        assert one.workers[0].pid == worker
    reasons = {name: fault.reason for name, fault in results.items()}
    assert reasons == {"a.wav": "not_audio", "huge.wav": "out_of_memory", "z.wav": "not_audio"}
    assert results["huge.wav"].limit_value == int(0.8 * 3 * 1024)


def test_a_run_that_is_to_stop_drops_the_tracks_in_flight(cluster, tmp_path):
    for index in range(20):
        (tmp_path / f"{index}.wav").write_bytes(b"%d" % index)
    jobs, stop = make_plan([tmp_path], "c", None, {}).jobs, threading.Event()
    results = fan_out(cluster, jobs, PARAMS, stop)
    next(results)
    stop.set()
    assert len(list(results)) < 19


def test_a_scheduler_that_is_killed_ends_the_run_and_names_itself(tmp_path):
    for index in range(200):
        (tmp_path / f"{index}.wav").write_bytes(b"%d" % index)
    told = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)],
        **quiet,
    )
    worker = None
    try:
        while not told.exists():
            assert scheduler.poll() is None
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        worker = subprocess.Popen([*python, "distributed.cli.dask_worker", address, "--nthreads", "1"], **quiet)
        results = fan_out(address, make_plan([tmp_path], "c", None, {}).jobs, PARAMS)
        next(results)
        scheduler.kill()
        with pytest.raises(ClusterLost, match=address):
            list(results)
    finally:
        for process in (scheduler, worker):
            if process:
                process.kill()
                process.wait()
