"""What would be done, without doing it."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import (
    JsonOption,
    LakeOption,
    StemsOption,
    open_reader,
    print_json,
    print_rows,
    read_settings,
    refuse,
)


def plan(
    sources: Annotated[list[Path], typer.Argument(help="Folders to walk and files to take.", metavar="SRC…")],
    lake: LakeOption = None,
    stems: StemsOption = None,
    force: Annotated[str | None, typer.Option(help="A stage to run again for every track, as for ingest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an ingest would do, stage by stage, and how long it would take by past speed."""
    settings = read_settings(lake, stems)
    check_sources(settings, sources, force)
    print_plan(settings, sources, None, force, as_json)


def check_sources(settings, sources: list[Path], force: str | None) -> None:
    """Refuse folders and stages that do not exist."""
    from tasks.track import stage_versions

    versions = stage_versions(settings.track_params())
    if force is not None and force != "all" and force not in versions:
        refuse(f"There is no stage {force}: choose all, {', '.join(versions)}.")
    for source in sources:
        if not source.exists():
            refuse(f"There is no file or folder {source}.")


def print_plan(settings, sources: list[Path], corpus: str | None, force: str | None, as_json: bool) -> None:
    """Compare the sources with the lake and print what follows."""
    from catalog.errors import LakeNotFound
    from tasks.estimate import estimate_work
    from tasks.plan import make_plan
    from tasks.track import stage_versions

    try:
        connection = open_reader(settings)
    except LakeNotFound:
        connection = None
    params = settings.track_params()
    versions = stage_versions(params)
    retry = settings.retry_params()
    made = make_plan(sources, corpus, connection, versions, force, retry, limits=vars(params))
    work = estimate_work(made.jobs, connection, list(versions))
    known = [stage.hours for stage in work if stage.hours is not None]
    hours = sum(known) / settings.workers if len(known) == len(work) else None
    counts = {
        "files seen": made.seen,
        "to analyse": len(made.jobs),
        "of these, known with stages to run again": sum(job.stages is not None for job in made.jobs),
        "unchanged": made.unchanged,
        "duplicates": len(made.duplicates) + sum(len(job.copies) for job in made.jobs),
        "unreadable": len(made.faults),
        "given up before": len(made.left_alone),
        "ignored": made.ignored,
        "gone from the sources": len(made.missing),
    }
    if as_json:
        print_json(counts | {"stages": [vars(stage) for stage in work], "hours": hours})
        return
    print_rows(["plan", "files"], [[name, count] for name, count in counts.items()])
    if made.jobs:
        print_rows(["stage", "tracks", "worker hours"], [[s.stage, s.tracks, _hours(s.hours)] for s in work])
        print_rows(["with", "hours"], [[f"{settings.workers} workers", _hours(hours) or "unknown: no past speed"]])


def _hours(hours: float | None) -> str | None:
    return None if hours is None else f"{hours:.2f}"
