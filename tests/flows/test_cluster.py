"""The cluster of a run: what its workers must not do."""

import os

import pytest
from distributed import Client

from flows.cluster import open_cluster
from flows.settings import Settings

MALLOC = "MALLOC_TRIM_THRESHOLD_"


def read_malloc() -> str | None:
    return os.environ.get(MALLOC)


def list_callbacks(dask_worker) -> list[str]:
    return sorted(dask_worker.periodic_callbacks)


@pytest.mark.end_to_end
def test_no_worker_keeps_a_profile_that_grows_with_the_tracks(tmp_path):
    with open_cluster(Settings(lake=tmp_path, workers=1)) as address, Client(address, set_as_default=False) as client:
        (callbacks,) = client.run(list_callbacks).values()
    assert "heartbeat" in callbacks
    assert not [name for name in callbacks if "profile" in name]


@pytest.mark.end_to_end
def test_workers_keep_the_memory_that_the_next_array_needs(tmp_path, monkeypatch):
    monkeypatch.delenv(MALLOC, raising=False)  # Dask leaves its own in the process that starts a cluster
    with open_cluster(Settings(lake=tmp_path, workers=1)) as address, Client(address, set_as_default=False) as client:
        assert list(client.run(read_malloc).values()) == [None]
