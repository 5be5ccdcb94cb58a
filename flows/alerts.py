"""Telling people what is wrong: in the log always, and to an address where one is set.

The address is one that Apprise knows, such as jsons://host/path (a webhook) or mailtos://user:password@host?to=team@host
(mail), or the name of a Prefect notification block, such as slack-webhook/team. None is set by default.
"""

import logging
from collections.abc import Sequence

from prefect.blocks.notifications import NotificationError
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from catalog.lake import Lake
from flows.settings import Settings


class AlertNotSent(RuntimeError):
    """The address for alarms does not take them."""


def send_alerts(lake: Lake, settings: Settings, run_ids: Sequence[str] | None = None) -> list[str]:
    """Tell of the alarms that are open: of these runs, or of all.

    Returns:
        The alarms, in a sentence each.
    """
    alarms = lake.query(
        "SELECT severity, message FROM alarms WHERE is_open"
        " AND ($run_ids IS NULL OR list_contains($run_ids, run_id::VARCHAR)) ORDER BY severity, raised_at",
        {"run_ids": run_ids},
    ).to_pylist()
    logger = _find_logger()
    for alarm in alarms:
        logger.log(logging.ERROR if alarm["severity"] == "alarm" else logging.WARNING, alarm["message"])
    said = [alarm["message"] for alarm in alarms if alarm["severity"] == "alarm"]
    if said and settings.alert_to:
        title = f"MiDiMe: {len(said)} {'alarm' if len(said) == 1 else 'alarms'} in {lake.folder.name}"
        try:
            _send(settings.alert_to.get_secret_value(), title, "\n".join(said))
        except (AlertNotSent, NotificationError, ValueError, OSError) as error:  # no reason to fail the run
            logger.error(f"The alarms could not be sent: {error}")
    return [alarm["message"] for alarm in alarms]


def _send(address: str, title: str, body: str) -> None:
    if "://" not in address:
        from prefect.blocks.core import Block

        Block.load(address).notify(body, title)
        return
    import apprise

    receiver = apprise.Apprise()
    if not receiver.add(address) or not receiver.notify(body=body, title=title):
        kind = address.split("://", 1)[0]  # the rest of the address may hold a password
        raise AlertNotSent(f"the {kind} address in MIDIME_ALERT_TO does not take them.")


def _find_logger() -> logging.Logger | logging.LoggerAdapter:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("midime")
