"""The Dask cluster that a run computes on: its own by default, a running one by its address."""

from collections.abc import Iterator
from contextlib import contextmanager

from flows.settings import Settings


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

        with Client(settings.dask, timeout=10, set_as_default=False) as client:
            yield client.scheduler.address
        return
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set(
            {
                # A worker that dies has the one track in hand on its conscience: do not give it to another.
                "distributed.scheduler.allowed-failures": 0,
                "distributed.scheduler.work-stealing": False,
                "distributed.worker.daemon": False,
            }
        ),
        LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="ERROR",
        ) as cluster,
    ):
        yield cluster.scheduler_address
