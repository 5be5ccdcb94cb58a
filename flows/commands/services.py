"""All services on one machine, for people who have none."""

import signal
import sys
import time
from typing import Annotated

import typer

from flows.commands.console import LakeOption, notes, print_rows, read_settings, refuse
from flows.commands.dashboard import PORT

PREFECT_PORT = 4200


def up(
    lake: LakeOption = None,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Where Prefect's page is.")] = PREFECT_PORT,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the dashboard is; 0 for any free port.")] = PORT,
) -> None:
    """Start Prefect's server, a worker with the deployments, and the dashboard on this machine, until Ctrl-C."""
    from flows.services import ServiceFailed, run_services

    settings = read_settings(lake)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with run_services(settings, prefect_port, port) as services:
            places = [("Prefect", services.prefect), ("dashboard", services.dashboard)]
            places += [("lake", settings.lake.resolve()), ("logs", services.logs)]
            print_rows(["what", "where"], [list(map(str, place)) for place in places])
            notes.print(
                f"Start an ingest: PREFECT_API_URL={services.prefect}/api prefect deployment run ingest/ingest"
                " --param 'sources=[\"/music\"]'\nNightly runs at 03:00 UTC. Ctrl-C ends all of it."
            )
            sys.stdout.flush()
            while True:
                services.check()
                time.sleep(1)
    except ServiceFailed as error:
        notes.print(str(error), style="red", markup=False)
        sys.exit(1)
    except OSError as error:
        refuse(f"The dashboard cannot be served at port {port}: {error.strerror}. Choose another with --port.")
    except KeyboardInterrupt:
        return
