"""Everything on one machine: Prefect's server, a worker that runs the deployments, and the dashboard."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from catalog.dashboard.server import serve_page
from catalog.lake import Lake
from flows.settings import Settings

POOL = "midime"
ROOT = Path(__file__).parents[1]
DEPLOYMENTS, AUTOMATIONS = ROOT / "prefect.yaml", ROOT / "flows/automations.yaml"
HOST = "127.0.0.1"
PATIENCE_S, STEP_S = 180.0, 0.5
GRACE_S = 30.0


class ServiceFailed(RuntimeError):
    """A service did not start, or has ended."""


@dataclass(frozen=True)
class Services:
    """What runs, and where.

    Attributes:
        prefect: Address of Prefect's page.
        dashboard: Address of the dashboard.
        logs: Folder of the server's and the worker's log.
        processes: The server and the worker by name.
    """

    prefect: str
    dashboard: str
    logs: Path
    processes: dict[str, subprocess.Popen]

    def check(self) -> None:
        """Raise ServiceFailed when one of the processes has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise ServiceFailed(f"The {name} has ended with code {process.returncode}: see {self.logs / name}.log")


@contextmanager
def run_services(settings: Settings, prefect_port: int, dashboard_port: int) -> Iterator[Services]:
    """Start the services, with a new lake where there is none, and end them all at the end.

    One flow run at a time: the work pool takes no more, so that an ingest and the nightly run wait for each other.

    Raises:
        ServiceFailed: One does not start.
        OSError: The dashboard's port is taken.
    """
    Lake.open(settings.lake, settings.catalog).close()
    logs = settings.lake.resolve() / "logs"
    logs.mkdir(exist_ok=True)
    prefect = f"http://{HOST}:{prefect_port}"
    if _answers(prefect):
        raise ServiceFailed(f"A Prefect server answers at {prefect} already. Choose another port with --prefect-port.")
    with ExitStack() as stack:
        dashboard = stack.enter_context(serve_page(settings.lake, settings.catalog, dashboard_port))
        environment = os.environ | {
            "PREFECT_API_URL": f"{prefect}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "MIDIME_LAKE": str(settings.lake.resolve()),
            "MIDIME_DASHBOARD_URL": dashboard,
        }
        services = Services(prefect, dashboard, logs, {})
        server = ["server", "start", "--host", HOST, "--port", str(prefect_port)]
        services.processes["server"] = stack.enter_context(_started(server, environment, logs / "server.log"))
        _wait_for(services)
        _make_pool(environment["PREFECT_API_URL"])
        _set_automations(environment["PREFECT_API_URL"])
        _end_dead_runs(environment["PREFECT_API_URL"])
        _run(["deploy", "--all", "--prefect-file", str(DEPLOYMENTS)], environment)
        worker = ["worker", "start", "--pool", POOL]
        services.processes["worker"] = stack.enter_context(_started(worker, environment, logs / "worker.log"))
        yield services


def _make_pool(api_url: str) -> None:
    """Make the work pool; it runs one flow at a time."""
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=1)
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)


def _set_automations(api_url: str) -> None:
    """Make Prefect's automations, and replace those that were declared otherwise."""
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        for declared in yaml.safe_load(AUTOMATIONS.read_text(encoding="utf-8"))["automations"]:
            automation = AutomationCore.model_validate(declared)
            same = {"trigger": {"id"}, "id": True}
            known = client.read_automations_by_name(automation.name)
            if [one.model_dump(exclude=same) for one in known] != [automation.model_dump(exclude=same)]:
                for one in known:
                    client.delete_automation(one.id)
                client.create_automation(automation)


def _end_dead_runs(api_url: str) -> None:
    """Call the runs Crashed that a server which was ended in a hurry left running: they would occupy the work pool."""
    dead = FlowRunFilter(state={"type": {"any_": [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]}})
    pool = WorkPoolFilter(name={"any_": [POOL]})
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=dead, work_pool_filter=pool):
            client.set_flow_run_state(run.id, Crashed(message="It died with its worker."), force=True)


@contextmanager
def _started(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    with log.open("a") as file:
        process = subprocess.Popen(_command(arguments), env=environment, stdout=file, stderr=file, cwd=log.parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _run(arguments: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(_command(["--no-prompt", *arguments]), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ServiceFailed(f"prefect {arguments[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def _command(arguments: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name("prefect")), *arguments]


def _wait_for(services: Services) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _answers(services.prefect):
        services.check()
        if time.monotonic() > deadline:
            raise ServiceFailed(f"Prefect's server does not answer after {PATIENCE_S:.0f} s: see {services.logs}")
        time.sleep(STEP_S)


def _answers(prefect: str) -> bool:
    try:
        return httpx.get(f"{prefect}/api/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
