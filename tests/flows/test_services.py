"""What `midime up` does to Prefect's server before the worker starts; the whole of it is in test_deployment.py."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL
from prefect.states import Running
from prefect.testing.utilities import prefect_test_harness

from flows.services import POOL, _end_dead_runs, _make_pool, _set_automations


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@flow
def work():
    pass


def test_runs_that_died_with_the_worker_are_crashed_and_others_left_alone():
    _make_pool(PREFECT_API_URL.value())
    with get_client(sync_client=True) as client:
        dead = client.create_flow_run(work, state=Running(), work_pool_name=POOL)
        other = client.create_flow_run(work, state=Running())
        _end_dead_runs(PREFECT_API_URL.value())
        assert client.read_flow_run(dead.id).state.is_crashed()
        assert client.read_flow_run(other.id).state.is_running()


def test_an_automation_is_kept_as_long_as_its_declaration():
    with get_client(sync_client=True) as client:
        _set_automations(PREFECT_API_URL.value())
        (first,) = client.read_automations_by_name("midime lost runs")
        _set_automations(PREFECT_API_URL.value())
        (second,) = client.read_automations_by_name("midime lost runs")
        assert (first.id, first.enabled) == (second.id, True)
        client.delete_automation(first.id)
        older = first.model_dump(exclude={"id"}) | {"description": "older"}
        client.create_automation(AutomationCore.model_validate(older))
        _set_automations(PREFECT_API_URL.value())
        (third,) = client.read_automations_by_name("midime lost runs")
        assert third.description == first.description
