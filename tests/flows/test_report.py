"""What a run leaves in Prefect, in `runs` and at the address for alarms, when it ends well and when it does not."""

import json
import logging
import socketserver
import threading
from datetime import UTC, datetime
from http.server import HTTPServer

import pytest
from prefect import flow
from prefect.blocks.notifications import SlackWebhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.testing.utilities import prefect_test_harness

from flows.alerts import send_alerts
from flows.record import record_run
from flows.report import name_ingest, tag_run
from flows.settings import Settings
from tasks.commit import Counts, Run, TooManyRejects, check_rejects
from tests.flows.receivers import WebhookReceiver
from tests.nights import Night, write_nights

POISONED = Night("library", datetime.now(UTC), files=40, faulty=0.9)


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@flow(name="ingest", flow_run_name=name_ingest)
def example(sources: list[str], lake, corpus: str | None = None, error: Exception | None = None):
    """A run as flows/ingest.py records it, with the rows of the tests instead of an analysis."""
    with record_run(lake, "ingest", {"sources": sources}, Settings()) as run:
        tag_run(["library", "live"])
        run.note_plan(lake, 5)
        run.tally.add(Counts(new=4, rejected=1, audio_s=7200))
        write_reject(lake, run.run_id)
        if error:
            raise error
    return run.summary


def write_reject(lake, run_id):
    write_nights(lake, [Night("library", datetime.now(UTC), files=1, faulty=1.0)])
    with lake.transaction("test") as change:
        change.connection.execute("UPDATE rejects SET run_id = ?", [run_id])
        change.connection.execute("DELETE FROM runs WHERE run_id <> ?", [run_id])


def read_back(state):
    """The flow run and its artifacts by key."""
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        return run, {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=wanted)}


def test_a_run_leaves_a_summary_its_rejects_and_a_link(lake):
    state = example(["/music/library", "/music/live"], lake, return_state=True)
    run, artifacts = read_back(state)
    assert (run.name, set(run.tags)) == ("ingest library, live", {"library", "live"})
    assert "**5 files seen** = 4 new" in artifacts["ingest-summary"].data
    assert "2.00 hours of audio" in artifacts["ingest-summary"].data
    (reject,) = json.loads(artifacts["ingest-rejects"].data)
    assert reject["uri"].startswith("file:///music/library/")
    assert (lake.folder / "dashboard.html").as_uri() in artifacts["dashboard"].data
    assert lake.query("SELECT state, tracks_planned FROM runs").to_pylist() == [
        {"state": "completed", "tracks_planned": 5}
    ]


def test_a_run_that_fails_is_failed_everywhere_and_says_why(lake):
    state = example(["/music/library"], lake, error=OSError("disk full\nand more"), return_state=True)
    run, artifacts = read_back(state)
    assert run.state.is_failed()
    assert "**ingest failed**: OSError: disk full" in artifacts["ingest-summary"].data
    assert lake.query("SELECT state, message FROM runs").to_pylist() == [
        {"state": "failed", "message": "OSError: disk full"}
    ]


def test_too_many_rejects_fail_a_run(lake):
    (run_id,) = write_nights(lake, [POISONED])
    row = lake.query("SELECT files_new, files_rejected, files_failed FROM runs").to_pylist()[0]
    counts = Counts(new=row["files_new"], rejected=row["files_rejected"], failed=row["files_failed"])
    with pytest.raises(TooManyRejects, match=r"of 40 new files were rejected or failed \(\d+%, the limit is 20%\)"):
        check_rejects(lake, run_id, counts, 0.2)
    check_rejects(lake, run_id, counts, 1.0)


def test_a_few_rejects_do_not(lake):
    (run_id,) = write_nights(lake, [Night("library", datetime.now(UTC), files=9, faulty=1.0)])
    check_rejects(lake, run_id, Counts(failed=9), 0.2)


class MailReceiver(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as it takes to be given one letter."""

    def handle(self):
        self.wfile.write(b"220 here\r\n")
        letter = None
        for line in self.rfile:
            if letter is not None and line == b".\r\n":
                self.server.heard.append(b"".join(letter).decode())
                letter = None
                self.wfile.write(b"250 taken\r\n")
            elif letter is not None:
                letter.append(line)
            elif line.upper().startswith(b"DATA"):
                letter = []
                self.wfile.write(b"354 go on\r\n")
            else:
                self.wfile.write(b"250 ok\r\n")


@pytest.fixture(params=[WebhookReceiver, MailReceiver], ids=["webhook", "mail"])
def receiver(request):
    kind = HTTPServer if request.param is WebhookReceiver else socketserver.TCPServer
    with kind(("127.0.0.1", 0), request.param) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        mail = f"mailto://127.0.0.1:{port}?from=midime@example.org&to=team@example.org"
        yield server.heard, f"json://127.0.0.1:{port}/" if request.param is WebhookReceiver else mail
        server.shutdown()


@pytest.fixture
def failed(lake):
    """A lake with a run that has failed, and the run."""
    run = Run("ingest", {"sources": ["/music/library"]}, "0")
    run.fail(OSError("disk full")).write(lake)
    return lake, run


def test_alarms_reach_the_address_that_is_set(failed, receiver):
    heard, address = receiver
    send_alerts(*failed, Settings(alert_to=address))
    assert len(heard) == 1
    assert "MiDiMe: 1 alarm" in heard[0]
    assert "disk full" in heard[0]


def test_nothing_is_sent_by_default(failed, receiver, caplog):
    heard, _ = receiver
    assert send_alerts(*failed, Settings()) == ["The ingest run of library failed: OSError: disk full"]
    assert heard == []
    assert "disk full" in caplog.text


def test_alarms_reach_a_prefect_block(failed, monkeypatch):
    told = []
    monkeypatch.setattr(SlackWebhook, "notify", lambda self, body, subject: told.append((subject, body)))
    SlackWebhook(url="https://hooks.example.org/x").save("team")
    send_alerts(*failed, Settings(alert_to="slack-webhook/team"))
    assert told[0][1] == "The ingest run of library failed: OSError: disk full"


def test_an_address_that_does_not_answer_is_logged_without_its_password(failed, caplog):
    with caplog.at_level(logging.ERROR):
        send_alerts(*failed, Settings(alert_to="json://user:secret@127.0.0.1:9/"))
    assert "the json address in MIDIME_ALERT_TO does not take them" in caplog.text
    assert "secret" not in caplog.text
