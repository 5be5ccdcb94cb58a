"""The command `midime`: one program of the subcommands in flows/commands.

Exit code 0 means success, 1 that something failed that is not the caller's fault, 2 that the request cannot be served;
then one line says why. 130 means Ctrl-C, 143 SIGTERM.
"""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from flows.commands import dashboard, patterns, plans, questions, runs, services, songs, upkeep
from flows.commands.console import read_settings, refuse

COMMANDS = (
    runs.ingest,
    plans.plan,
    runs.retry,
    runs.nightly,
    patterns.analyze,
    patterns.search,
    patterns.preview,
    patterns.midi,
    patterns.plot,
    songs.why,
    songs.merge,
    songs.split,
    questions.sql,
    questions.shell,
    questions.export,
    questions.tables,
    questions.models,
    questions.status,
    dashboard.dashboard,
    services.up,
    upkeep.purge,
    upkeep.compact,
    upkeep.verify,
)

app = typer.Typer(
    name="midime",
    help="Turn folders of music into a lake of stems, beats, drum patterns and fingerprints.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in COMMANDS:
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from tasks.track import stage_versions

    print(f"midime {version('midime')}")
    for stage, stage_version in stage_versions(read_settings(None).track_params()).items():
        print(f"  {stage} {stage_version}")
    raise typer.Exit


VersionOption = typer.Option(
    "--version",
    help="Print the version, and that of each stage of the analysis.",
    callback=_print_version,
    is_eager=True,
)


@app.callback()
def midime(_: Annotated[bool, VersionOption] = False) -> None:
    """Turn folders of music into a lake of stems, beats, drum patterns and fingerprints."""


def main() -> None:
    """Run the command; a request that cannot be served is one line and exit code 2."""
    from catalog.errors import CatalogError
    from tasks.errors import UnusableModel

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="midime", standalone_mode=False))
    except typer.TyperException as error:
        refuse(_describe_usage(error))
    except typer.Abort:
        refuse("Nothing was done.")
    except (CatalogError, UnusableModel) as error:
        refuse(str(error))
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        refuse(f"{error.filename}: {error.strerror}." if error.filename else str(error))


def _describe_usage(error: typer.TyperException) -> str:
    """One line for a command that was not called as it wants to be."""
    said = error.format_message().replace("Value error, ", "").replace("Input should be", "it should be")
    context = getattr(error, "ctx", None)
    return f"{said} See: {context.command_path if context else 'midime'} --help"


if __name__ == "__main__":
    main()
