"""Who is told what is wrong: the log always; a webhook, a mail box or a Prefect block where one is set."""

import html
import logging
import socketserver
import threading
from datetime import UTC, datetime
from http.server import HTTPServer

import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.testing.utilities import prefect_test_harness

from catalog.lost_runs import close_lost_runs
from flows.alerts import send_alerts
from flows.settings import Settings
from tasks.commit import Run
from tests.flows.receivers import MailReceiver, WebhookReceiver, read_letter, read_webhook

SAID = {
    "failure": "The nightly run failed: build indexes: OSError: [Errno 28] No space left on device",
    "rejects over the threshold": "The ingest run of library failed: 29 of 36 new files were rejected or failed.",
    "slow stage": "Stage separate took",
    "drift": "The distribution of tempo_bpm in loops has drifted",
    "stale index": "The index of drums patterns is stale",
}


@pytest.fixture(scope="module", autouse=True)
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(params=["webhook", "mail"])
def receiver(request):
    """Its address, and a function that reads the titles and texts that it was sent."""
    kind, handler, read = {
        "webhook": (HTTPServer, WebhookReceiver, read_webhook),
        "mail": (socketserver.TCPServer, MailReceiver, read_letter),
    }[request.param]
    with kind(("127.0.0.1", 0), handler) as server:
        server.heard = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        mail = f"mailto://127.0.0.1:{port}?from=midime@example.org&to=team@example.org"
        address = mail if request.param == "mail" else f"json://127.0.0.1:{port}/"
        yield address, lambda: [read(heard) for heard in server.heard]
        server.shutdown()


@pytest.fixture
def failed(lake):
    """A lake with a run that has failed."""
    Run("ingest", {"sources": ["/music/library"]}, "0").fail(OSError("disk full")).write(lake)
    return lake


def test_every_kind_of_alarm_reaches_the_log_and_the_address(month_lake, receiver, caplog):
    address, read = receiver
    send_alerts(month_lake, Settings(alert_to=address))
    ((title, text),) = read()
    assert title == f"MiDiMe: {len(SAID)} alarms in lake"
    for kind, words in SAID.items():
        assert html.unescape(text).count(words) == 1, kind
        assert caplog.text.count(words) == 1, kind


def test_a_lost_run_is_told_as_a_failed_one_is(lake, receiver):
    address, read = receiver
    Run("ingest", {"sources": ["/music/library"]}, "0", datetime(2026, 11, 25, tzinfo=UTC)).write(lake)
    send_alerts(lake, Settings(alert_to=address), close_lost_runs(lake))
    ((_, text),) = read()
    assert "The ingest run of library was lost: It was killed" in html.unescape(text)


def test_a_run_tells_of_its_own_alarms_alone(failed, receiver):
    address, read = receiver
    assert send_alerts(failed, Settings(alert_to=address), ["00000000-0000-0000-0000-000000000000"]) == []
    assert read() == []


def test_nothing_is_sent_by_default(failed, receiver, caplog):
    _, read = receiver
    assert send_alerts(failed, Settings()) == ["The ingest run of library failed: OSError: disk full"]
    assert read() == []
    assert "disk full" in caplog.text


def test_alarms_reach_a_prefect_block(failed, monkeypatch):
    told = []
    monkeypatch.setattr(SlackWebhook, "notify", lambda self, body, subject: told.append((subject, body)))
    SlackWebhook(url="https://hooks.example.org/x").save("team")
    send_alerts(failed, Settings(alert_to="slack-webhook/team"))
    assert told[0][1] == "The ingest run of library failed: OSError: disk full"


def test_an_address_that_does_not_answer_is_logged_without_its_password(failed, caplog):
    with caplog.at_level(logging.ERROR):
        send_alerts(failed, Settings(alert_to="json://user:secret@127.0.0.1:9/"))
    assert "the json address in MIDIME_ALERT_TO does not take them" in caplog.text
    assert "secret" not in caplog.text
