"""The Prefect tasks of the flow `ingest`. What they do is in tasks/plan.py, fanout.py, track.py and commit.py."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from catalog.duplicates import refresh_matches
from catalog.known import find_known_tracks
from catalog.lake import Lake
from catalog.matching.evidence import DuplicateParams
from tasks.claims import Claims
from tasks.commit import Counts, Owner, Tally, commit_known, commit_plan, commit_shard, split_known
from tasks.fanout import fan_out
from tasks.plan import Plan, RetryParams, TrackJob, make_plan
from tasks.track import TrackParams, TrackResult, stage_versions

OTHERS_STEP_S = 2.0  # how often contents that another ingest has claimed are asked for


@task(name="plan", cache_policy=NO_CACHE)
def plan_files(
    lake: str,
    catalog: str | None,
    sources: Sequence[str],
    corpus: str | None,
    params: TrackParams,
    force: str | None,
    retry: RetryParams,
    accept_missing: bool,
) -> Plan:
    """Find out what there is to do."""
    with Lake.open(lake, catalog) as opened:
        versions, limits = stage_versions(params), vars(params)
        return make_plan(sources, corpus, opened.connection, versions, force, retry, accept_missing, limits)


@task(name="commit plan", cache_policy=NO_CACHE)
def write_plan(lake: str, catalog: str | None, plan: Plan, run_id: str) -> Counts:
    """Write what needs no analysis, and tell of files that are gone."""
    if plan.missing:
        get_run_logger().warning(
            f"{len(plan.missing)} files that the lake knows are gone; it keeps its rows. The first: {plan.missing[0]}"
        )
    with Lake.open(lake, catalog) as opened:
        return commit_plan(opened, plan, run_id)


@dataclass(frozen=True)
class ShardWork:
    """What the shards of a run share: the lake, what to compute, and who has claimed, counted and ended what."""

    lake: str
    catalog: str | None
    params: TrackParams
    run_id: str
    owner: Owner
    claims: Claims
    tally: Tally
    stop: Event


@task(name="shard", task_run_name="shard {name}", cache_policy=NO_CACHE)
def ingest_shard(
    name: str, jobs: Sequence[TrackJob], address: str, work: ShardWork, on_result: Callable[[TrackResult], None]
) -> Counts:
    """Analyse the tracks of a shard on the cluster and commit them together.

    Those that another ingest is analysing come last: by then the lake has them, or the other one is dead.
    """
    started = time.monotonic()
    counts, waiting = Counts(), list(jobs)
    with Lake.open(work.lake, work.catalog) as opened:
        while waiting and not work.stop.is_set():
            mine, waiting = work.claims.take(waiting)
            results = []
            try:
                fresh, known = split_known(opened, mine)
                counts += work.tally.add(commit_known(opened, known, work.run_id))
                for result in fan_out(address, fresh, work.params, work.stop):
                    results.append(result)
                    for line in result.log:
                        get_run_logger().log(line.level, f"{result.job.file.uri}: {line.message}")
                    on_result(result)
            finally:
                if results:  # also when the cluster is lost or the disk is full
                    counts += work.tally.add(commit_shard(opened, name, results, work.run_id, work.owner))
                work.claims.free(mine)
            if waiting:
                work.stop.wait(OTHERS_STEP_S)
    seconds = time.monotonic() - started
    get_run_logger().info(
        f"{name}: {counts.new} tracks, {counts.rejected + counts.failed} rejected, {seconds:.0f} s "
        f"({counts.audio_s / seconds:.0f}× real time)"
    )
    return counts


@task(name="find known songs", cache_policy=NO_CACHE)
def find_known(lake: str, catalog: str | None, run_id: str, params: DuplicateParams, most_sections: int) -> list[dict]:
    """Match the new tracks with those that were there, and tell which of them are known songs."""
    with Lake.open(lake, catalog) as opened:
        refresh_matches(opened, params)
        known = find_known_tracks(opened.connection, run_id, most_sections, params)
    sections = sum(track.known_sections for track in known)
    get_run_logger().info(f"known songs: {len(known)} tracks with {sections} sections")
    return [track.to_dict() for track in known]
