"""What people see of a run at work: each track that ends, in Prefect and for the dashboard, with what workers said."""

import logging

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.testing.utilities import prefect_test_harness

from catalog.progress import read_progress, tell_progress
from flows.progress import show_progress
from tasks.errors import CorruptAudio
from tasks.plan import Fault, Plan, make_plan
from tasks.track import TrackResult
from tasks.worklog import LogLine
from tests.faults.steps import write_clip

SAID = LogLine(logging.WARNING, "a frame without a header")


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def plan(tmp_path) -> Plan:
    for content in range(4):
        write_clip(tmp_path / "corpus" / f"{content}.wav", content)
    return make_plan([tmp_path / "corpus"], None, None, {})


def reject(job) -> TrackResult:
    return TrackResult(job, fault=Fault.of(CorruptAudio("It is broken."), "decode", "1"), log=[SAID])


def read_artifact(state) -> object:
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
        return artifact


def test_each_track_moves_the_dashboard_and_the_artifact(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.progress.STEP_S", 0.0)
    monkeypatch.setattr("flows.progress.TELL_EVERY_S", 0.0)
    seen = []

    @flow
    def work():
        with tell_progress(tmp_path, "run") as teller, show_progress(plan, teller, show_bar=False) as on_result:
            for job in plan.jobs[:3]:
                on_result(reject(job))
                seen.append(read_progress(tmp_path)["run"].given_up)

    artifact = read_artifact(work(return_state=True))
    assert seen == [1, 2, 3]
    assert (artifact.type, artifact.data, artifact.description) == ("progress", 75, "3 of 4 tracks")


def test_the_last_track_is_told_at_once(plan, tmp_path):
    @flow
    def work():
        with tell_progress(tmp_path, "run") as teller, show_progress(plan, teller, show_bar=False) as on_result:
            for job in plan.jobs:
                on_result(reject(job))

    assert read_artifact(work(return_state=True)).data == 100


def test_the_bar_counts_tracks_and_rejects(plan, tmp_path, capfd):
    @flow
    def work():
        with tell_progress(tmp_path, "run") as teller, show_progress(plan, teller, show_bar=True) as on_result:
            for job in plan.jobs:
                on_result(reject(job))

    work()
    assert "4/4 tracks · 4 rejected" in " ".join(capfd.readouterr().err.split())
