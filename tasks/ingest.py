"""The Prefect tasks of the flow `ingest`. What they do is in tasks/plan.py, fanout.py, track.py and commit.py."""

import time
from collections.abc import Callable, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from catalog.lake import Lake
from tasks.commit import Counts, Owner, commit_plan, commit_shard
from tasks.fanout import fan_out
from tasks.plan import Plan, RetryParams, TrackJob, make_plan
from tasks.track import TrackParams, TrackResult, stage_versions


@task(name="plan", cache_policy=NO_CACHE)
def plan_files(
    lake: str,
    catalog: str | None,
    sources: Sequence[str],
    corpus: str | None,
    params: TrackParams,
    force: str | None,
    retry: RetryParams,
) -> Plan:
    """Find out what there is to do."""
    with Lake.open(lake, catalog) as opened:
        return make_plan(sources, corpus, opened.connection, stage_versions(params), force, retry)


@task(name="commit plan", cache_policy=NO_CACHE)
def write_plan(lake: str, catalog: str | None, plan: Plan, run_id: str) -> Counts:
    """Write what needs no analysis."""
    with Lake.open(lake, catalog) as opened:
        return commit_plan(opened, plan, run_id)


@task(name="shard", task_run_name="shard {name}", cache_policy=NO_CACHE)
def ingest_shard(
    name: str,
    jobs: Sequence[TrackJob],
    address: str,
    params: TrackParams,
    lake: str,
    catalog: str | None,
    run_id: str,
    owner: Owner,
    on_result: Callable[[TrackResult], None],
) -> Counts:
    """Analyse the tracks of a shard on the cluster and commit them together."""
    started = time.monotonic()
    results = []
    for result in fan_out(address, jobs, params):
        results.append(result)
        for line in result.log:
            get_run_logger().log(line.level, f"{result.job.file.path}: {line.message}")
        on_result(result)
    with Lake.open(lake, catalog) as opened:
        counts = commit_shard(opened, name, results, run_id, owner)
    seconds = time.monotonic() - started
    get_run_logger().info(
        f"{name}: {counts.new} tracks, {counts.rejected + counts.failed} rejected, {seconds:.0f} s "
        f"({counts.audio_s / seconds:.0f}× real time)"
    )
    return counts
