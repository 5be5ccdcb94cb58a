"""The flow `verify`: every committed file against its recorded hash, and every reference between tables."""

from prefect import flow

from catalog.lake import Lake
from flows.crash import tell_crash
from flows.record import record_run
from flows.report import name_dated
from flows.settings import Settings


class DamagedLake(Exception):
    """Files or references of the lake are not as they were committed."""


@flow(name="verify", flow_run_name=name_dated, on_crashed=[tell_crash])
def verify(lake: str | None = None, repair: bool = False) -> dict:
    """Check the lake as `midime verify` does.

    Args:
        lake: The lake's folder.
        repair: First remove what killed runs left behind; refused while an ingest is running.

    Returns:
        The run's row of the view `run_history`.

    Raises:
        DamagedLake: There are problems; the message has the first.
    """
    settings = Settings(**({"lake": lake} if lake else {}))
    with (
        Lake.open(settings.lake, settings.catalog) as opened,
        record_run(opened, "verify", {"repair": repair}, settings) as run,
    ):
        if repair:
            opened.repair()
        problems = opened.verify()
        if problems:
            raise DamagedLake(f"{len(problems)} problems, the first: {problems[0]}")
    return run.summary
