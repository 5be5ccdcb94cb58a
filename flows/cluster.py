"""The Dask cluster that a run computes on: its own by default, a running one by its address."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flows.settings import Settings

CONNECT_TIMEOUT_S = 10.0
OWN_CLUSTER = {
    # A worker that dies has the one track in hand on its conscience: do not give it to another.
    "distributed.scheduler.allowed-failures": 0,
    # The profiler of a worker keeps what it saw: 0.1 MB a short track.
    "distributed.worker.profile.enabled": False,
    # With Dask's own value a worker hands back the memory of every array: getting it again takes a third of its time.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}


@contextmanager
def open_cluster(settings: Settings) -> Iterator[str]:
    """Give the address of a scheduler for the length of a run.

    The local workers are processes with one thread each: the decoders and networks are not all safe in threads, and
    the threads of the networks are counted in `TrackParams.threads`.

    Raises:
        OSError: Nothing answers at the address of the settings.
    """
    if settings.dask:
        from distributed import Client

        logging.getLogger("distributed").setLevel(logging.ERROR)
        with Client(settings.dask, timeout=CONNECT_TIMEOUT_S, set_as_default=False) as client:
            yield client.scheduler.address
        return
    import dask
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)  # workers that come and go are no news
    with (
        dask.config.set(OWN_CLUSTER),
        LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,  # nor is a heartbeat that the end of a run cuts off
        ) as cluster,
    ):
        yield cluster.scheduler_address
