"""One Dask future a track, with a bounded window, and a verdict on every track whose worker dies."""

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from queue import Empty, Queue

from distributed import Client, Future, KilledWorker, get_worker
from distributed.comm import CommClosedError

from tasks.errors import TrackTimeout, WorkerCrashed
from tasks.plan import Fault, TrackJob
from tasks.track import TrackParams, TrackResult, analyse_track, stage_versions
from tasks.worklog import collect_log

FUTURES_PER_WORKER = 4  # one in hand, and the next ones there before short ones end
GRACE_S = 30.0  # beyond the track's own time-out, before a worker that no longer answers is ended
PATIENCE_S, LOOK_STEP_S = 60.0, 10.0  # without a worker, and how often the scheduler is asked
STOP_STEP_S = 0.5
SHARE_OF_MEMORY = 0.8
CUDA_SESSION_MB = 1_200  # that it takes of a process: 1,173 to 1,193 with CUDA 13 on an H100


class ClusterLost(RuntimeError):
    """The cluster cannot finish what it was given."""


def fan_out(
    address: str, jobs: Sequence[TrackJob], params: TrackParams, stop: threading.Event | None = None
) -> Iterator[TrackResult]:
    """Analyse tracks on a Dask cluster; a result for every job, in the order in which they end.

    Once `stop` is set, the tracks in flight are dropped and no result follows.

    A worker that dies takes the tracks down that it held. Each of those is run again with nothing beside it, so that
    only the track that kills its worker a second time is given up.

    Raises:
        ClusterLost: The scheduler is gone, or all workers are and none comes back.
        DiskFull: A worker has no room for its stems.
    """
    stop = stop or threading.Event()
    with _scheduler_at(address), Client(address, set_as_default=False) as client:
        window = FUTURES_PER_WORKER * max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        suspects: list[TrackJob] = []
        for job, result in _run(client, jobs, params, window, stop):
            if result is None:
                suspects.append(job)
            else:
                yield result
        for job in suspects:
            started = time.monotonic()
            for _, result in _run(client, [job], params, 1, stop):
                yield result or TrackResult(job, fault=describe_death(time.monotonic() - started, params))


@contextmanager
def _scheduler_at(address: str) -> Iterator[None]:
    """What Dask says in several ways when its scheduler is gone, as `ClusterLost`."""
    try:
        yield
    except (CommClosedError, CancelledError) as error:
        raise ClusterLost(f"The Dask scheduler at {address} is gone.") from error


def analyse_guarded(job: TrackJob, params: TrackParams) -> TrackResult:
    """`analyse_track`, with an end to a worker that hangs where no exception can reach it, and to what it may hold."""
    guard = threading.Timer(params.timeout_s + GRACE_S, os._exit, [1])
    guard.daemon = True
    guard.start()
    try:
        limited = replace(params, memory_mb=params.memory_mb or _share_of_memory())
        with collect_log() as log, _limit_memory(_most_data_mb(limited)):
            result = analyse_track(job, limited)
        return replace(result, log=log)
    finally:
        guard.cancel()


def _share_of_memory() -> int | None:
    """What Dask lets this worker hold, less a reserve: at 95 % the worker would be ended, whatever it holds."""
    try:
        limit = get_worker().memory_manager.memory_limit
    except ValueError:  # no worker
        return None
    return int(SHARE_OF_MEMORY * limit) >> 20 if limit else None


def _most_data_mb(params: TrackParams) -> int | None:
    """The limit, and what a session on a GPU takes: a track that fits on the processor fits with a GPU."""
    if not params.memory_mb:
        return None
    return params.memory_mb + (CUDA_SESSION_MB if params.stems and params.device == "cuda" else 0)


@contextmanager
def _limit_memory(most_mb: int | None) -> Iterator[None]:
    """Let allocations of this process fail beyond a limit, so that a track dies of it and not its worker."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if most_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (most_mb << 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _run(
    client: Client, jobs: Sequence[TrackJob], params: TrackParams, window: int, stop: threading.Event
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
        future = _take(ended, client, stop)
        if future is None:
            return
        job = running.pop(future.key)
        try:
            result = future.result()
        except KilledWorker:
            result = None
        future.release()
        if waiting:
            submit()
        yield job, result


def _take(ended: Queue, client: Client, stop: threading.Event) -> Future | None:
    """The next future to end; None when the run is to stop.

    Raises:
        ClusterLost: There has been no worker for a while, so nothing will end any more.
    """
    alone_since, looked_at = None, time.monotonic()
    while not stop.is_set():
        try:
            return ended.get(timeout=STOP_STEP_S)
        except Empty:
            now = time.monotonic()
        if now - looked_at >= LOOK_STEP_S:
            looked_at = now
            alone_since = None if client.scheduler_info(n_workers=-1)["workers"] else alone_since or now
            if alone_since and now - alone_since >= PATIENCE_S:
                raise ClusterLost(f"The Dask cluster has had no worker for {PATIENCE_S:.0f} s.")
    return None


def describe_death(seconds: float, params: TrackParams) -> Fault:
    """The fault of a track whose worker died after so many seconds with nothing else in hand."""
    if seconds >= params.timeout_s:
        error = TrackTimeout(f"The track took longer than {params.timeout_s:g} s and did not answer.")
    else:
        error = WorkerCrashed("The process that worked on the track died, twice.")
    return Fault.of(error, "decode", stage_versions(params)["decode"], vars(params))
