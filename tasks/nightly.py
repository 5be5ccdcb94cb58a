"""The Prefect tasks of the flow `nightly`. What they do is in catalog/."""

import functools
from collections.abc import Callable

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from catalog.duplicates import refresh_matches
from catalog.index import IndexParams, refresh_indexes
from catalog.lake import Lake
from catalog.matching.evidence import DuplicateParams
from catalog.songs import refresh_song_groups


def station(name: str) -> Callable:
    """A task that names itself in the error that ends it."""

    def wrap(work: Callable) -> Callable:
        @functools.wraps(work)
        def run(*args, **kwargs):
            try:
                return work(*args, **kwargs)
            except Exception as error:  # whatever it is, it goes on, with the name of the station
                error.add_note(name)
                raise

        return task(name=name, cache_policy=NO_CACHE)(run)

    return wrap


@station("find duplicates")
def find_duplicates(lake: str, catalog: str | None, params: DuplicateParams) -> dict[str, int]:
    """Find the pairs of tracks that share audio."""
    with Lake.open(lake, catalog) as opened:
        counts = refresh_matches(opened, params)
    get_run_logger().info(f"matches: {counts['matches']}, {counts['changed']} changed, {counts['tracks']} new tracks")
    return counts


@station("group songs")
def group_tracks(lake: str, catalog: str | None, run_id: str, params: DuplicateParams) -> dict[str, int]:
    """Decide which song each track belongs to."""
    with Lake.open(lake, catalog) as opened:
        counts = refresh_song_groups(opened, run_id, params)
    get_run_logger().info(
        f"songs: {counts['songs']}, with {counts['same']} copies, {counts['excerpt']} excerpts and "
        f"{counts['unique']} tracks alone"
    )
    return counts


@station("build indexes")
def build_indexes(lake: str, catalog: str | None, params: IndexParams) -> list[dict]:
    """Build the indexes and the similarity table of each instrument."""
    with Lake.open(lake, catalog) as opened:
        indexes = refresh_indexes(opened, params)
    for index in indexes:
        get_run_logger().info(
            f"{index['index_version']}: {index['vectors']} vectors, recall {index['recall_at_10']:.3f}, "
            f"{index['similarities']} similarities, {index['outcome']}"
        )
    return indexes


@station("compact")
def compact_lake(lake: str, catalog: str | None) -> dict[str, int]:
    """Merge small files and forget old snapshots."""
    with Lake.open(lake, catalog) as opened:
        counts = opened.compact()
    get_run_logger().info(f"files: {counts['files_before']} before, {counts['files_after']} after")
    return counts
