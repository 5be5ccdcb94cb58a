"""One Dask future a track, with a bounded window, and a verdict on every track whose worker dies."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from queue import Empty, Queue

from distributed import Client, Future, KilledWorker

from tasks.errors import TrackTimeout, WorkerCrashed
from tasks.plan import Fault, TrackJob
from tasks.track import TrackParams, TrackResult, analyse_track
from tasks.worklog import collect_log

FUTURES_PER_WORKER = 2
GRACE_S = 30.0  # beyond the track's own time-out, before a worker that no longer answers is ended
PATIENCE, PATIENCE_STEP_S = 6, 10.0


class ClusterLost(RuntimeError):
    """The cluster cannot finish what it was given."""


def fan_out(address: str, jobs: Sequence[TrackJob], params: TrackParams) -> Iterator[TrackResult]:
    """Analyse tracks on a Dask cluster; a result for every job, in the order in which they end.

    A worker that dies takes the tracks down that it held. Each of those is run again with nothing beside it, so that
    only the track that kills its worker a second time is given up.

    Raises:
        ClusterLost: All workers are gone and none comes back.
    """
    with Client(address, set_as_default=False) as client:
        window = FUTURES_PER_WORKER * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        suspects: list[TrackJob] = []
        for job, result in _run(client, jobs, params, window):
            if result is None:
                suspects.append(job)
            else:
                yield result
        for job in suspects:
            started = time.monotonic()
            for _, result in _run(client, [job], params, 1):
                yield result or TrackResult(job, fault=_describe_death(time.monotonic() - started, params))


def analyse_guarded(job: TrackJob, params: TrackParams) -> TrackResult:
    """`analyse_track`, with an end to a worker that hangs where no exception can reach it."""
    guard = threading.Timer(params.timeout_s + GRACE_S, os._exit, [1])
    guard.daemon = True
    guard.start()
    try:
        with collect_log() as log:
            result = analyse_track(job, params)
        return replace(result, log=log)
    finally:
        guard.cancel()


def _run(
    client: Client, jobs: Sequence[TrackJob], params: TrackParams, window: int
) -> Iterator[tuple[TrackJob, TrackResult | None]]:
    """Each job with its result, or None where its worker died."""
    waiting = deque(jobs)
    running: dict[str, TrackJob] = {}
    ended: Queue[Future] = Queue()

    def submit() -> None:
        job = waiting.popleft()
        future = client.submit(analyse_guarded, job, params, pure=False)
        running[future.key] = job
        future.add_done_callback(ended.put)

    while waiting and len(running) < window:
        submit()
    while running:
        future = _take(ended, client)
        job = running.pop(future.key)
        try:
            result = future.result()
        except KilledWorker:
            result = None
        future.release()
        if waiting:
            submit()
        yield job, result


def _take(ended: Queue, client: Client) -> Future:
    """The next future to end.

    Raises:
        ClusterLost: There has been no worker for a while, so nothing will end any more.
    """
    alone = 0
    while alone < PATIENCE:
        try:
            return ended.get(timeout=PATIENCE_STEP_S)
        except Empty:
            alone = 0 if client.scheduler_info(n_workers=-1)["workers"] else alone + 1
    raise ClusterLost(f"The Dask cluster has had no worker for {PATIENCE * PATIENCE_STEP_S:.0f} s.")


def _describe_death(seconds: float, params: TrackParams) -> Fault:
    if seconds >= params.timeout_s:
        error = TrackTimeout(f"The track took longer than {params.timeout_s:g} s and did not answer.")
    else:
        error = WorkerCrashed("The process that worked on the track died, twice.")
    return Fault.of(error, "decode", "")
