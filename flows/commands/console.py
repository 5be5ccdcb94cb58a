"""What the subcommands share: their options, the settings and the lake they open, and how an answer is printed.

Answers go to standard output, everything else to standard error.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table as Grid

PIPE_WIDTH = 200
out = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
notes = Console(stderr=True, highlight=False, soft_wrap=True)

LakeOption = Annotated[
    Path | None,
    typer.Option("--lake", help="The lake's folder. \\[env: MIDIME_LAKE, default: data/lake]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


class Stems(StrEnum):
    """Stems a track is separated into."""

    TWO, FOUR, FIVE, NONE = "2", "4", "5", "none"


StemsOption = Annotated[
    Stems | None,
    typer.Option(
        help="Stems to separate into: 2 (vocals and the rest), 4 (vocals, drums, bass, other), 5 (with piano),"
        " or none, which is fast and hears less. \\[env: MIDIME_STEMS, default: 4]",
        show_default=False,
    ),
]


class Format(StrEnum):
    """How an answer is printed."""

    TABLE, CSV, JSON = "table", "csv", "json"


class Kind(StrEnum):
    """What is exported."""

    PARQUET, CSV, MIDI, QUANTISED, PREVIEWS = "parquet", "csv", "midi", "quantised", "previews"


def read_settings(lake: Path | None, stems: Stems | None = None):
    from flows.settings import Settings

    chosen = {"lake": lake, "stems": stems and stems.value}
    with bad_settings():
        return Settings(**{name: value for name, value in chosen.items() if value is not None})


@contextmanager
def bad_settings() -> Iterator[None]:
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        refuse(f"The setting {'.'.join(map(str, first['loc']))} is wrong: {first['msg']}.")


def write_path(path: Path) -> str:
    """A path as text; as a URI where its bytes are no text, which no log and no table could hold."""
    return path.as_posix() if path.as_posix().isprintable() else path.absolute().as_uri()


def open_reader(settings, snapshot: int | None = None):
    from catalog.connection import connect

    return connect(settings.lake, settings.catalog, snapshot)


def open_writer(settings):
    from catalog.lake import Lake

    return Lake.open(settings.lake, settings.catalog)


def check_models(settings) -> None:
    """Refuse stems whose weights are not here or damaged, and a device that is not, before any work starts."""
    from tasks.errors import UnusableModel
    from tasks.track import check_models

    try:
        check_models(settings.track_params())
    except UnusableModel as error:
        refuse(str(error))


def check_output(path: Path, *suffixes: str) -> None:
    """Refuse a file that cannot be written, before any work is done."""
    if suffixes and path.suffix.lower() not in suffixes:
        refuse(f"{path} does not end in {', '.join(suffixes[:-1])} or {suffixes[-1]}.")
    if path.is_dir():
        refuse(f"{path} is a folder: name a file.")
    if not path.parent.is_dir():
        refuse(f"There is no folder {path.parent}.")


def print_rows(columns: list[str], rows: list[list]) -> None:
    grid = Grid()
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*("" if value is None else str(value) for value in row))
    out.print(grid)


def print_json(answer: object) -> None:
    print(json.dumps(answer, indent=2, default=str, ensure_ascii=False))


def refuse(message: str) -> NoReturn:
    notes.print(message, style="red", markup=False)
    sys.exit(2)
