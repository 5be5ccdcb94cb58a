"""The flow `ingest`: folders of audio into the lake. Where it runs is in flows/cluster.py, what it does in tasks."""

from threading import Event

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from catalog.lake import Lake
from flows.cluster import open_cluster
from flows.crash import tell_crash
from flows.progress import show_progress
from flows.record import record_run
from flows.report import name_ingest, tag_run
from flows.settings import Settings, StemChoice
from flows.stop import wait_for
from tasks.claims import Claims
from tasks.commit import Owner, check_rejects
from tasks.ingest import ShardWork, find_known, ingest_shard, plan_files, write_plan
from tasks.track import check_models

SHARDS_AT_ONCE = 2  # while one shard ends, the workers have the next one's tracks


@flow(
    name="ingest",
    flow_run_name=name_ingest,
    task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE),
    on_crashed=[tell_crash],
)
def ingest(
    sources: list[str],
    corpus: str | None = None,
    lake: str | None = None,
    stems: StemChoice | None = None,
    workers: int | None = None,
    dask: str | None = None,
    force: str | None = None,
    retry: str | None = None,
    accept_missing: bool = False,
    show_bar: bool = False,
) -> dict:
    """Bring folders of audio into the lake: what is new is analysed, what is known is left alone.

    Args:
        sources: Folders and files.
        corpus: Name of the corpus; by default the name of each source's folder.
        lake: The lake's folder.
        stems: 2, 4, 5 or none.
        workers: Worker processes of the local cluster.
        dask: Address of a Dask scheduler to use instead.
        force: A stage to run again for every track, with those that depend on it, or "all".
        retry: Take only the rejects with this reason, or "all"; `sources` say from where, everywhere by default.
        accept_missing: Go on when a source holds under half of the files that the lake knows from it.
        show_bar: Draw a progress bar on the terminal.

    Returns:
        The run's row of the view `run_history`, with its rejects and the known songs among its tracks.

    Raises:
        TooManyRejects: More of the new files were rejected or failed than the settings allow; the rest is in the lake.
    """
    chosen = {"lake": lake, "stems": stems, "workers": workers, "dask": dask}
    settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    params, place = settings.track_params(), {"lake": str(settings.lake), "catalog": settings.catalog}
    known = {"params": settings.duplicate_params(), "most_sections": settings.sections_per_song}
    owner, stop = Owner(settings.user, settings.privacy), Event()
    asked = {"sources": sources, "corpus": corpus, "force": force, "retry": retry} | chosen
    with (
        Lake.open(**place) as opened,
        opened.at_work(),
        Claims(settings.lake) as claims,
        record_run(opened, "ingest", asked, settings) as run,
    ):
        plan = plan_files(
            **place,
            sources=sources,
            corpus=corpus,
            params=params,
            force=force,
            retry=settings.retry_params(retry),
            accept_missing=accept_missing,
        )
        tag_run(job.corpus for job in plan.jobs)
        run.tally.add(write_plan(**place, plan=quote(plan), run_id=run.run_id))
        run.note_plan(opened, len(plan.jobs))
        if plan.jobs:
            check_models(params)
            work = ShardWork(
                **place, params=params, run_id=run.run_id, owner=owner, claims=claims, tally=run.tally, stop=stop
            )
            with open_cluster(settings) as address, show_progress(plan, run.progress, show_bar) as on_result:
                shards = [
                    ingest_shard.submit(name, quote(jobs), address, quote(work), quote(on_result))
                    for name, jobs in cut_shards(plan.jobs, settings.shard_files)
                ]
                wait_for(shards, stop)
            run.known = find_known(**place, run_id=run.run_id, **known) if settings.find_duplicates else None
        check_rejects(opened, run.run_id, run.counts, settings.max_reject_share)
    return run.summary


def cut_shards(jobs: list, size: int) -> list[tuple[str, list]]:
    """Cut jobs into named shards of one corpus each."""
    shards = []
    for corpus in sorted({job.corpus for job in jobs}):
        of_corpus = [job for job in jobs if job.corpus == corpus]
        shards += [
            (f"{corpus}/{start // size:03d}", of_corpus[start : start + size])
            for start in range(0, len(of_corpus), size)
        ]
    return shards
