"""The command `midime`: one program of the subcommands in flows/commands.

Exit code 0 means success, 1 that something failed that is not the caller's fault, 2 that the request cannot be served;
then one line says why.
"""

import os

import typer

from flows.commands import dashboard, patterns, plans, questions, runs, services, songs, upkeep
from flows.commands.console import refuse

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
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command; a request that cannot be served is one line and exit code 2."""
    from catalog.errors import CatalogError
    from tasks.errors import UnusableModel

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        app()
    except (CatalogError, UnusableModel, FileNotFoundError) as error:
        refuse(str(error))


if __name__ == "__main__":
    main()
