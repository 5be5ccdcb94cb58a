"""Asking: the lake by SQL, its tables, the models, and how everything stands."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as Grid

from flows.commands.console import (
    Format,
    JsonOption,
    Kind,
    LakeOption,
    check_output,
    notes,
    open_reader,
    out,
    print_json,
    print_rows,
    read_settings,
    refuse,
)


def sql(
    query: Annotated[str, typer.Argument(help='Such as "SELECT title, tempo_bpm FROM tracks".', metavar="QUERY")],
    form: Annotated[Format, typer.Option("--format", help="How to print the answer.")] = Format.TABLE,
    lake: LakeOption = None,
    snapshot: Annotated[
        int | None, typer.Option(min=0, help="Read the lake as it was at this snapshot. \\[default: the newest]")
    ] = None,
) -> None:
    """Ask the lake a question. It is opened read-only."""
    from catalog.connection import read_arrow

    with open_reader(read_settings(lake), snapshot) as connection:
        answer = read_arrow(connection, query)
    if form is Format.JSON:
        print_json(answer.to_pylist())
    elif form is Format.CSV:
        answer.to_pandas().to_csv(sys.stdout, index=False)
    else:
        columns = [column.to_pylist() for column in answer.columns]
        print_rows(answer.column_names, [list(row) for row in zip(*columns, strict=True)])


def export(
    query: Annotated[
        str, typer.Argument(help="A SELECT; for MIDI files and previews with pattern_id.", metavar="QUERY")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file, or the folder of files.")],
    kind: Annotated[
        Kind | None,
        typer.Option("--as", help="What to write; by default what the file's name says.", show_default=False),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Write this owner's private patterns as well.")] = None,
    lake: LakeOption = None,
) -> None:
    """Write what a query finds: rows as Parquet or CSV, or its patterns as MIDI files or previews."""
    from flows.export import export_query

    suffix = output.suffix.lower().lstrip(".")
    if kind is None and suffix not in (Kind.PARQUET, Kind.CSV):
        refuse(f"{output} ends neither with .parquet nor .csv: say --as midi, quantised or previews for a folder.")
    if kind in (Kind.MIDI, Kind.QUANTISED, Kind.PREVIEWS):
        if output.exists() and not output.is_dir():
            refuse(f"{output} is a file: name a folder for the {kind}.")
    else:
        check_output(output)
    count = export_query(query, output, kind or Kind(suffix), read_settings(lake), user)
    notes.print(f"{count} in {output}", markup=False)


def shell(
    lake: LakeOption = None,
    attach: Annotated[bool, typer.Option("--attach", help="Only print how another DuckDB client attaches it.")] = False,
) -> None:
    """Ask the lake at a prompt, read-only; or print the statement with which other clients attach it."""
    from catalog.clients import Shell, attach_statement

    settings = read_settings(lake)
    with open_reader(settings) as connection:
        if attach:
            print(attach_statement(settings.lake, settings.catalog))
        else:
            Shell(connection).run()


def tables(as_json: JsonOption = False) -> None:
    """Explain every table and column: the data dictionary."""
    from rich.markdown import Markdown

    from catalog.dictionary import write_dictionary
    from catalog.tables import TABLES

    if as_json:
        print_json(
            {table.name: {field.name: [field.sql_type, field.meaning] for field in table.fields} for table in TABLES}
        )
    else:
        out.print(Markdown(write_dictionary()))


def models(
    lake: LakeOption = None,
    add: Annotated[
        Path | None, typer.Option(help="An archive of Spleeter's: check its hash and put it in its place.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models: which are here, where they come from, their licences and hashes; or add one."""
    from tasks.models.registry import add_archive, list_models

    model_path = Path(read_settings(lake).track_params().model_path)
    if add:
        place = add_archive(add, model_path)
        notes.print(f"{place} is there and whole.", style="green", markup=False)
    found = list_models(model_path)
    if as_json:
        print_json([vars(model) for model in found])
        return
    for model in found:
        out.print(f"[bold]{model.name}[/bold] ({model.stage}): {'installed' if model.path else 'not installed'}")
        out.print(f"  source {model.source}, licence {model.licence}", highlight=False, soft_wrap=True)
        if model.path:
            out.print(f"  {model.path}\n  sha256 {model.sha256}", highlight=False, soft_wrap=True)
        else:
            out.print(f"  sha256 of the archive {model.archive_sha256}", highlight=False, soft_wrap=True)
            out.print(model.how_to_install, highlight=False, markup=False, soft_wrap=True)


def status(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Say how things stand: lake, Prefect, Dask, models, index, open alarms and the last runs."""
    from flows.status import read_status

    health = read_status(read_settings(lake))
    if as_json:
        print_json(health)
        return
    grid = Grid(title="Health", show_header=False)
    for name, value in health.items():
        if isinstance(value, str):
            grid.add_row(name, value)
    grid.add_row("alarms", f"{len(health['alarms'])} open" if health["alarms"] else "none open")
    out.print(grid)
    for alarm in health["alarms"]:
        out.print(alarm, style="red", markup=False, highlight=False, soft_wrap=True)
    if health["runs"]:
        print_rows(list(health["runs"][0]), [list(run.values()) for run in health["runs"]])
