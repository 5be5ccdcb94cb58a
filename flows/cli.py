"""The command `midime`: what a person types. Every answer is made elsewhere; here it is asked for and printed.

Answers go to standard output, everything else to standard error. Exit code 0 means success, 1 that something failed
that is not the caller's fault, 2 that the request cannot be served; then one line says why.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

app = typer.Typer(
    name="midime",
    help="Turn folders of music into a lake of stems, beats, drum patterns and fingerprints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
PIPE_WIDTH = 200
out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = Console(stderr=True, highlight=False, soft_wrap=True)

LakeOption = Annotated[
    Path | None,
    typer.Option("--lake", help="The lake's folder. [env: MIDIME_LAKE, default: data/lake]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


class Stems(StrEnum):
    """Stems a track is separated into."""

    TWO, FOUR, FIVE, NONE = "2", "4", "5", "none"


class Format(StrEnum):
    """How an answer is printed."""

    TABLE, CSV, JSON = "table", "csv", "json"


def main() -> None:
    """Run the command; a request that cannot be served is one line and exit code 2."""
    from catalog.errors import CatalogError

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        app()
    except (CatalogError, FileNotFoundError) as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        notes.print("Stopped. What was committed stays; run the same command again to carry on.")
        sys.exit(130)


@app.command()
def ingest(
    sources: Annotated[list[Path], typer.Argument(help="Folders to walk and files to take.", metavar="SRC…")],
    lake: LakeOption = None,
    corpus: Annotated[str | None, typer.Option(help="Name of the corpus; by default the folder's.")] = None,
    stems: Annotated[
        Stems | None, typer.Option(help="Stems to separate into. [default: 4]", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one a core.")] = None,
    dask: Annotated[
        str | None, typer.Option(help="Address of a running Dask scheduler, such as tcp://host:8786.")
    ] = None,
    force: Annotated[str | None, typer.Option(help="Run a stage again for every track; all for everything.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring folders of audio into the lake. What is known and unchanged is left alone."""
    from flows.settings import Settings
    from tasks.track import stage_versions

    chosen = {"lake": lake, "stems": stems and stems.value, "workers": workers, "dask": dask}
    with _bad_settings():
        settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    if workers and dask:
        _refuse("Choose --workers or --dask: a running cluster has its own workers.")
    versions = stage_versions(settings.track_params())
    if force is not None and force != "all" and force not in versions:
        _refuse(f"There is no stage {force}: choose all, {', '.join(versions)}.")
    for source in sources:
        if not source.exists():
            _refuse(f"There is no file or folder {source}.")
    _check_models(settings)
    if dry_run:
        _print_plan(settings, sources, corpus, force, as_json)
        return
    _check_cluster(settings)
    from flows.ingest import ingest as ingest_flow

    summary = ingest_flow(
        sources=[str(source) for source in sources],
        corpus=corpus,
        lake=str(settings.lake),
        stems=settings.stems,
        workers=workers,
        dask=dask,
        force=force,
        show_bar=notes.is_terminal and not as_json,
    )
    if as_json:
        _print_json(summary)
    else:
        _print_ingest(summary, settings.lake)


@app.command()
def nightly(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Group duplicates, rebuild the index and the similarity table, and tidy the lake."""
    from flows.nightly import nightly as nightly_flow

    settings = _settings(lake)
    _open_reader(settings).close()
    summary = nightly_flow(lake=str(settings.lake))
    if as_json:
        _print_json(summary)
        return
    rows = [[name.replace("_", " "), value] for name, value in summary.items() if name != "indexes"]
    rows += [[f"index of {index['instrument_type']}", index["index_version"]] for index in summary["indexes"]]
    _print_rows(["nightly", str(settings.lake)], rows)


@app.command()
def analyze(
    file: Annotated[Path, typer.Argument(help="The audio file.", metavar="FILE")],
    start: Annotated[float, typer.Option(min=0, help="Start of the part, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="End of the part, in seconds.")] = None,
    instrument: Annotated[str, typer.Option(help="The instrument whose pattern is wanted.")] = "drums",
    stems: Annotated[
        Stems | None, typer.Option(help="Stems to separate into. [default: 4]", show_default=False)
    ] = None,
    lake: LakeOption = None,
) -> None:
    """Analyse one clip and print what was heard as JSON. Nothing is written."""
    from flows.analyze import analyze_clip

    _check_instrument(instrument)
    if not file.exists():
        _refuse(f"There is no file {file}.")
    if end is not None and end <= start:
        _refuse(f"The part ends at {end:g} s, before it starts at {start:g} s.")
    settings = _settings(lake, stems)
    _check_models(settings)
    answer = analyze_clip(file, settings, start, end)
    _print_json(answer)
    if answer["status"] != "success":
        sys.exit(1)


@app.command()
def search(
    query: Annotated[
        str,
        typer.Argument(
            help="A pattern's identifier, an audio or MIDI file, or steps such as 'kick=x...x... snare=....x...'.",
            metavar="PATTERN_OR_FILE",
        ),
    ],
    instrument: Annotated[str, typer.Option(help="Instrument of the patterns.")] = "drums",
    min_similarity: Annotated[float, typer.Option(min=-1, max=1, help="Least cosine similarity.")] = 0.7,
    limit: Annotated[int, typer.Option(min=1, help="Most sections in the answer.")] = 20,
    tempo: Annotated[str | None, typer.Option(help="Range of tempi in bpm, such as 80:140.")] = None,
    genre: Annotated[str | None, typer.Option(help="Genres, separated by commas.")] = None,
    key: Annotated[str | None, typer.Option(help='Key, such as "C minor".')] = None,
    user: Annotated[str | None, typer.Option(help="Who asks: sees the private tracks of this user as well.")] = None,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find patterns like a given one, grouped by their songs."""
    from flows.search import find_similar

    _check_instrument(instrument)
    settings = _settings(lake)
    answer = find_similar(
        query,
        settings,
        instrument=instrument,
        min_similarity=min_similarity,
        limit=limit,
        tempo=_read_range(tempo),
        genres=genre.split(",") if genre else None,
        key=key,
        user_id=user or settings.user,
    )
    _print_json(answer) if as_json else _print_matches(answer)


@app.command()
def preview(
    pattern: Annotated[str, typer.Argument(help="The pattern's identifier.", metavar="PATTERN_ID")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .wav, .flac, .ogg or .mp3 file to write.")],
    lake: LakeOption = None,
    user: Annotated[str | None, typer.Option(help="Who asks: private tracks are for their owner.")] = None,
) -> None:
    """Write at most 15 seconds of the section that a pattern was folded from."""
    from flows.search import write_preview

    settings = _settings(lake)
    seconds = write_preview(pattern, output, settings, user or settings.user)
    notes.print(f"{output}: {seconds:.1f} s")


@app.command()
def midi(
    pattern: Annotated[str, typer.Argument(help="The pattern's identifier.", metavar="PATTERN_ID")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .mid file to write.")],
    lake: LakeOption = None,
    user: Annotated[str | None, typer.Option(help="Who asks: private tracks are for their owner.")] = None,
) -> None:
    """Write the MIDI file of a pattern, as it was played."""
    from flows.search import write_midi

    settings = _settings(lake)
    write_midi(pattern, output, settings, user or settings.user)
    notes.print(f"{output}")


@app.command()
def plot(
    track: Annotated[str, typer.Argument(help="The track's identifier.", metavar="TRACK_ID")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file to write.")],
    lake: LakeOption = None,
) -> None:
    """Draw a track: its sections, its hits, and a few bars of it."""
    from catalog.plot import plot_track
    from flows.search import read_id

    with _open_reader(_settings(lake)) as connection:
        plot_track(connection, read_id(track), output)
    notes.print(f"{output}")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help='Such as "SELECT title, tempo_bpm FROM tracks".', metavar="QUERY")],
    form: Annotated[Format, typer.Option("--format", help="How to print the answer.")] = Format.TABLE,
    lake: LakeOption = None,
    snapshot: Annotated[int | None, typer.Option(min=0, help="Read the lake as it was at this snapshot.")] = None,
) -> None:
    """Ask the lake a question. It is opened read-only."""
    from catalog.lake import read_arrow

    with _open_reader(_settings(lake), snapshot) as connection:
        answer = read_arrow(connection, query)
    if form is Format.JSON:
        _print_json(answer.to_pylist())
    elif form is Format.CSV:
        answer.to_pandas().to_csv(sys.stdout, index=False)
    else:
        columns = [column.to_pylist() for column in answer.columns]
        _print_rows(answer.column_names, [list(row) for row in zip(*columns, strict=True)])


@app.command()
def tables(as_json: JsonOption = False) -> None:
    """Explain every table and column: the data dictionary."""
    from rich.markdown import Markdown

    from catalog.tables import TABLES, write_dictionary

    if as_json:
        _print_json(
            {table.name: {field.name: [field.sql_type, field.meaning] for field in table.fields} for table in TABLES}
        )
    else:
        out.print(Markdown(write_dictionary()))


@app.command()
def models(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """List the models: which are here, where they come from, their licences and hashes."""
    from tasks.models.registry import list_models

    found = list_models(Path(_settings(lake).track_params().model_path))
    if as_json:
        _print_json([vars(model) for model in found])
        return
    for model in found:
        out.print(f"[bold]{model.name}[/bold] ({model.stage}): {'installed' if model.path else 'not installed'}")
        out.print(f"  source {model.source}, licence {model.licence}", highlight=False, soft_wrap=True)
        if model.path:
            out.print(f"  {model.path}\n  sha256 {model.sha256}", highlight=False, soft_wrap=True)
        else:
            out.print(model.how_to_install, highlight=False, markup=False, soft_wrap=True)


@app.command()
def status(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Say how things stand: lake, Prefect, Dask, models, index and the last runs."""
    from flows.status import read_status

    health = read_status(_settings(lake))
    if as_json:
        _print_json(health)
        return
    grid = Grid(title="Health", show_header=False)
    for name, value in health.items():
        if name != "runs":
            grid.add_row(name, str(value))
    out.print(grid)
    if health["runs"]:
        _print_rows(list(health["runs"][0]), [list(run.values()) for run in health["runs"]])


@app.command()
def purge(
    track: Annotated[list[str] | None, typer.Option(help="A track's identifier; may be given several times.")] = None,
    user: Annotated[str | None, typer.Option(help="Every track of this owner.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    lake: LakeOption = None,
) -> None:
    """Remove every trace of tracks: rows, stems, MIDI, index entries and old snapshots. Cannot be undone."""
    if bool(track) == bool(user):
        _refuse("Say whose traces: --track ID or --user ID.")
    settings = _settings(lake)
    with _open_reader(settings) as connection:
        ids = track or [
            row[0]
            for row in connection.execute(
                "SELECT track_id::VARCHAR FROM tracks WHERE user_id = ? ORDER BY ALL", [user]
            ).fetchall()
        ]
    if not ids:
        _refuse(f"The lake holds no track of user {user}.")
    if not yes:
        typer.confirm(f"Remove {len(ids)} tracks for good?", abort=True, err=True)
    with _open_writer(settings) as opened:
        removed = opened.purge_tracks(ids)
    _print_rows(["removed from", "count"], [[name, count] for name, count in removed.items() if count])


@app.command()
def compact(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Merge small files, drop deleted rows, and forget snapshots older than a week."""
    settings = _settings(lake)
    _open_reader(settings).close()
    with _open_writer(settings) as opened:
        done = opened.compact()
    _print_json(done) if as_json else _print_rows(
        ["what", "count"], [[name.replace("_", " "), n] for name, n in done.items()]
    )


@app.command()
def verify(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Check every committed file against its recorded hash and row count, and every reference between tables."""
    settings = _settings(lake)
    _open_reader(settings).close()
    with _open_writer(settings) as opened:
        problems = opened.verify()
    if as_json:
        _print_json({"problems": problems})
    else:
        for problem in problems:
            notes.print(problem, style="red", markup=False)
        notes.print(f"{len(problems)} problems." if problems else "All files and references are sound.")
    if problems:
        sys.exit(1)


def _settings(lake: Path | None, stems: Stems | None = None):
    from flows.settings import Settings

    chosen = {"lake": lake, "stems": stems and stems.value}
    with _bad_settings():
        return Settings(**{name: value for name, value in chosen.items() if value is not None})


@contextmanager
def _bad_settings() -> Iterator[None]:
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        _refuse(f"The setting {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.")


def _open_reader(settings, snapshot: int | None = None):
    from catalog.lake import connect

    return connect(settings.lake, settings.catalog, snapshot)


def _open_writer(settings):
    from catalog.lake import Lake

    return Lake.open(settings.lake, settings.catalog)


def _check_models(settings) -> None:
    """Refuse stems whose weights are not here before any work starts."""
    from tasks.models.spleeter import find_checkpoint

    params = settings.track_params()
    models = Path(params.model_path)
    if params.stems and not (
        find_checkpoint(params.stems, models) or (params.stems == 4 and find_checkpoint(2, models))
    ):
        _refuse(f"The {params.stems}-stem model is not installed: midime models tells how to add it.")


def _check_cluster(settings) -> None:
    """Refuse a scheduler that does not answer before any work starts."""
    if settings.dask:
        from flows.cluster import open_cluster

        try:
            with open_cluster(settings):
                pass
        except (OSError, ValueError) as error:
            _refuse(f"No Dask scheduler answers at {settings.dask}: {str(error).splitlines()[0]}")


def _check_instrument(instrument: str) -> None:
    if instrument != "drums":
        _refuse(f"There are no patterns of {instrument} yet: only drums.")


def _read_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        _refuse(f"The tempo range {text} is not of the form 80:140.")
    return low, high


def _print_plan(settings, sources: list[Path], corpus: str | None, force: str | None, as_json: bool) -> None:
    from catalog.errors import LakeNotFound
    from tasks.plan import make_plan
    from tasks.track import stage_versions

    try:
        connection = _open_reader(settings)
    except LakeNotFound:
        connection = None
    versions = stage_versions(settings.track_params())
    plan = make_plan(sources, corpus, connection, versions, force, settings.retry_params())
    counts = {
        "files seen": plan.seen,
        "to analyse": len(plan.jobs),
        "unchanged": plan.unchanged,
        "duplicates": len(plan.duplicates) + sum(len(job.copies) for job in plan.jobs),
        "unreadable": len(plan.faults),
        "given up before": len(plan.left_alone),
        "ignored": plan.ignored,
        "gone from the sources": len(plan.missing),
    }
    if as_json:
        _print_json(counts)
    else:
        _print_rows(["dry run", "files"], [[name, count] for name, count in counts.items()])


def _print_ingest(summary: dict, lake: Path) -> None:
    grid = Grid(title=f"Ingest into {lake}", title_justify="left")
    for name in ("seen", "new", "unchanged", "duplicate", "rejected", "failed"):
        grid.add_column(name, justify="right")
    grid.add_row(*(str(summary[f"files_{name.header}"]) for name in grid.columns))
    out.print(grid)
    notes.print("seen = new + unchanged + duplicate + rejected + failed", style="dim")
    for reject in summary["rejects"]:
        notes.print(f"{reject['reason']}: {reject['uri']}: {reject['message']}", style="yellow", markup=False)


def _print_matches(answer: dict) -> None:
    rows = [
        [
            f"{section['similarity_score']:.3f}",
            section.get("title") or "",
            section.get("artist") or "",
            section["section"],
            "" if section["tempo"] is None else f"{section['tempo']:.1f}",
            section["key"] or "",
            section["genre"] or "",
            section["pattern_id"],
        ]
        for song in answer["results"]
        for section in song["sections"]
    ]
    _print_rows(["similarity", "title", "artist", "section", "bpm", "key", "genre", "pattern"], rows)
    notes.print(f"{answer['total_matches']} matches in {len(answer['results'])} songs")


def _print_rows(columns: list[str], rows: list[list]) -> None:
    grid = Grid()
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*("" if value is None else str(value) for value in row))
    out.print(grid)


def _print_json(answer: object) -> None:
    print(json.dumps(answer, indent=2, default=str, ensure_ascii=False))


def _refuse(message: str) -> None:
    notes.print(message, style="red", markup=False)
    sys.exit(2)


if __name__ == "__main__":
    main()
