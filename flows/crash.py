"""What Prefect does when a run's process died and could say nothing itself: the worker that started it calls this."""

from prefect import Flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import State

from catalog.dashboard.page import publish_page
from catalog.lake import Lake
from catalog.lost_runs import close_lost_runs
from flows.alerts import send_alerts
from flows.settings import Settings


def tell_crash(flow: Flow, flow_run: FlowRun, state: State) -> None:
    """Close the run as lost, publish the dashboard, and send the alarm; nothing where the run could end itself."""
    lake = flow_run.parameters.get("lake")
    settings = Settings(**({"lake": lake} if lake else {}))
    with Lake.open(settings.lake, settings.catalog) as opened:
        lost = close_lost_runs(opened)
        if lost:
            publish_page(opened.connection, opened.folder)
            send_alerts(opened, settings, lost)
