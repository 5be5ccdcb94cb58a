"""The runs: bringing folders into the lake, and what is done every night."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from flows.commands.console import (
    JsonOption,
    LakeOption,
    StemsOption,
    bad_settings,
    check_models,
    notes,
    open_reader,
    open_writer,
    out,
    print_json,
    print_rows,
    read_settings,
    refuse,
    write_path,
)
from flows.commands.plans import check_sources, print_plan

MOST_KNOWN = 20  # known songs that are printed


def ingest(
    sources: Annotated[list[Path], typer.Argument(help="Folders to walk and files to take.", metavar="SRC…")],
    lake: LakeOption = None,
    corpus: Annotated[str | None, typer.Option(help="Name of the corpus. \\[default: each folder's name]")] = None,
    stems: StemsOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Worker processes, a track each. \\[env: MIDIME_WORKERS, default: one a core]"),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            help="A running Dask scheduler, such as tcp://host:8786. \\[env: MIDIME_DASK, default: one of its own]"
        ),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            help="A stage to run again for every track, with those that need it, or all. midime --version lists them."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Go on when over half of a folder's files are gone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, as midime plan.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring folders of audio into the lake. What is known and unchanged is left alone."""
    from flows.settings import Settings

    chosen = {"lake": lake, "stems": stems and stems.value, "workers": workers, "dask": dask}
    with bad_settings():
        settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    if workers and dask:
        refuse("Choose --workers or --dask: a running cluster has its own workers.")
    check_sources(settings, sources, force)
    check_models(settings)
    if dry_run:
        print_plan(settings, sources, corpus, force, as_json)
        return
    _check_cluster(settings)
    open_writer(settings).close()
    from flows.ingest import ingest as ingest_flow
    from tasks.plan import name_corpus

    summary = _run_flow(
        ingest_flow,
        sources=[write_path(source) for source in sources],
        corpus=corpus and name_corpus(corpus),
        lake=str(settings.lake),
        stems=settings.stems,
        workers=workers,
        dask=dask,
        force=force,
        accept_missing=yes,
        show_bar=notes.is_terminal and not as_json,
    )
    _print_summary(summary, settings.lake, as_json)


def retry(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Only files in these folders. \\[default: everywhere]", metavar="[SRC…]")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Only files that were left out for this reason, such as timeout.")
    ] = "all",
    lake: LakeOption = None,
    stems: StemsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try rejected and failed files once more, although nothing about them has changed."""
    from tasks.errors import REASONS

    if reason not in ("all", *REASONS):
        refuse(f"There is no reason {reason}: choose all, {', '.join(REASONS)}.")
    settings = read_settings(lake, stems)
    open_reader(settings).close()
    check_models(settings)
    _check_cluster(settings)
    from flows.retry import retry as retry_flow

    summary = _run_flow(
        retry_flow,
        reason=reason,
        sources=[write_path(source) for source in sources or []],
        lake=str(settings.lake),
        stems=settings.stems,
        show_bar=notes.is_terminal and not as_json,
    )
    _print_summary(summary, settings.lake, as_json)


def nightly(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Group duplicates, rebuild the index and the similarity table, and tidy the lake."""
    from flows.nightly import nightly as nightly_flow

    settings = read_settings(lake)
    open_reader(settings).close()
    summary = _run_flow(nightly_flow, lake=str(settings.lake))
    if as_json:
        print_json(summary)
        return
    rows = [[name.replace("_", " "), value] for name, value in summary.items() if name != "indexes"]
    rows += [[f"index of {index['instrument_type']}", index["index_version"]] for index in summary["indexes"]]
    print_rows(["nightly", str(settings.lake)], rows)


def _run_flow(flow: Callable, **parameters) -> dict:
    """Run a flow; end with one line and exit code 1 where too much of its work came to nothing."""
    from flows.stop import exit_when_stopped
    from tasks.commit import TooManyRejects
    from tasks.fanout import ClusterLost

    try:
        with exit_when_stopped():
            return flow(**parameters)
    except ClusterLost as error:
        notes.print(f"{error} Run the same command again to carry on.", style="red", markup=False)
        sys.exit(1)
    except TooManyRejects as error:
        notes.print(f'{error} Which and why: midime sql "FROM failed_files"', style="red", markup=False)
        sys.exit(1)


def _check_cluster(settings) -> None:
    """Refuse a scheduler that does not answer before any work starts."""
    if settings.dask:
        from flows.cluster import open_cluster

        if not re.fullmatch(r"\w+://[^/]+:\d+", settings.dask):
            refuse(f"The address {settings.dask} of a Dask scheduler is not of the form tcp://host:8786.")

        try:
            with open_cluster(settings):
                pass
        except (OSError, ValueError) as error:
            refuse(f"No Dask scheduler answers at {settings.dask}: {str(error).splitlines()[0]}")


def _print_summary(summary: dict, lake: Path, as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    grid = Grid(title=f"Ingest into {lake}", title_justify="left")
    for name in ("seen", "new", "unchanged", "duplicate", "rejected", "failed"):
        grid.add_column(name, justify="right")
    grid.add_row(*(str(summary[f"files_{name.header}"]) for name in grid.columns))
    out.print(grid)
    if not summary["files_seen"] and not summary["parameters"].get("retry"):
        notes.print(f"No audio file was found, and {summary['files_ignored']} of other kinds.", style="yellow")
    notes.print("seen = new + unchanged + duplicate + rejected + failed", style="dim")
    _print_known(summary)
    for reject in summary["rejects"]:
        notes.print(f"{reject['reason']}: {reject['uri']}: {reject['message']}", style="yellow", markup=False)


def _print_known(summary: dict) -> None:
    from flows.report import write_known, write_known_track

    for told in write_known(summary["known_tracks"], summary["known_sections"]):
        notes.print(f"{told}:", style="cyan")
    for track in summary["known_songs"][:MOST_KNOWN]:
        row = write_known_track(track)
        notes.print(
            f"{row['track']} is {row['relation']} of {row['of']}: {row['sections']}", style="cyan", markup=False
        )
    if len(summary["known_songs"]) > MOST_KNOWN:
        notes.print(f"and {len(summary['known_songs']) - MOST_KNOWN} more (--json tells all)", style="cyan")
