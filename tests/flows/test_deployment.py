"""`midime up` on a real server, with no network: deployments that complete, fail and are started by the clock."""

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import HTTPServer
from pathlib import Path

import psutil
import pytest

import catalog
from catalog.lost_runs import MESSAGE
from catalog.progress import read_progress
from tests.flows.receivers import WebhookReceiver

MIDIME = Path(sys.executable).with_name("midime")
PATIENCE_S = 240
BUSY_TRIES = 20
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]


def find_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """Prefect's server as `midime up` runs it, asked over its API.

    Attributes:
        lake: The lake's folder.
        process: The command.
        told: What its alarms have told the webhook.
    """

    def __init__(self, port: int, lake: Path, process: psutil.Popen, told: list[str]):
        self.api = f"http://127.0.0.1:{port}/api"
        self.lake, self.process, self.told = lake, process, told

    def ask(self, path: str, body: dict | None = None) -> dict | list:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/{path}", data, {"Content-Type": "application/json"})
        for _ in range(BUSY_TRIES):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # what the server says while its database is written
                    raise
                time.sleep(0.5)
        pytest.fail(f"{path} was busy {BUSY_TRIES} times.")

    def start(self, deployment: str, **parameters) -> None:
        found = self.ask(f"deployments/name/{deployment}/{deployment}")["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}, "idempotency_key": json.dumps(parameters)}
        self.ask(f"deployments/{found}/create_flow_run", body)

    def schedule(self, deployment: str, cron: str) -> None:
        found = self.ask(f"deployments/name/{deployment}/{deployment}")["id"]
        self.ask(f"deployments/{found}/schedules", [{"schedule": {"cron": cron}, "active": True}])

    def ended(self) -> list[dict]:
        """The flow runs that have ended."""
        return [run for run in self.ask("flow_runs/filter", {"limit": 200}) if run["state_type"] in FINAL]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("up")
    port, hook = find_port(), find_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "MIDIME_STEMS": "none",
        "MIDIME_WORKERS": "1",
        "MIDIME_SHARD_FILES": "4",
        "MIDIME_ALERT_TO": f"json://127.0.0.1:{hook}/",
    }
    command = [MIDIME, "up", "--lake", tmp_path / "lake", "--prefect-port", str(port), "--port", "0"]
    with open(tmp_path / "up.log", "w+") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        try:
            wait_until(lambda: "Ctrl-C" in (tmp_path / "up.log").read_text() or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "up.log").read_text()
            with HTTPServer(("127.0.0.1", hook), WebhookReceiver) as webhook:
                webhook.heard = []
                threading.Thread(target=webhook.serve_forever, daemon=True).start()
                yield Server(port, tmp_path / "lake", process, webhook.heard)
                webhook.shutdown()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    with pytest.raises(OSError):  # nothing is left behind
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)


def ask(lake: Path, query: str) -> tuple:
    """The one row of the answer."""
    with catalog.connect(lake) as connection:
        (row,) = connection.execute(query).fetchall()
        return row


def wait_until(true) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"Nothing happened for {PATIENCE_S} s."
        time.sleep(0.5)


def test_a_run_that_is_killed_is_crashed_lost_and_told(server, write_track, tmp_path):
    for number in range(30):
        write_track(tmp_path / "killed" / f"{number}.wav", 0.1 + 0.02 * number)
    server.start("ingest", sources=[str(tmp_path / "killed")])
    wait_until(lambda: ask(server.lake, "SELECT count(*) > 0 FROM tracks")[0] and read_progress(server.lake))
    (run,) = [child for child in server.process.children(recursive=True) if "prefect.engine" in child.cmdline()[-1]]
    run.kill()
    wait_until(lambda: {"ingest killed"} <= {run["name"] for run in server.ended()} and server.told)
    assert [run["state_type"] for run in server.ended()] == ["CRASHED"]
    state, files, tracks = ask(server.lake, "SELECT state, files_new, (SELECT count(*) FROM tracks) FROM run_history")
    assert (state, files) == ("lost", tracks)
    assert 4 <= tracks < 30
    said = f"The ingest run of killed was lost: {MESSAGE}"
    assert json.loads(server.told[0])["message"] == said
    assert said in (server.lake / "dashboard.html").read_text(encoding="utf-8")


def test_lost_runs_are_watched_for_once(server):
    (automation,) = server.ask("automations/filter", {})
    assert (automation["name"], automation["enabled"]) == ("midime lost runs", True)


def test_a_night_on_one_machine(server, write_track, tmp_path):
    write_track(tmp_path / "good" / "beat.wav")
    (tmp_path / "poisoned").mkdir()
    for number in range(12):
        (tmp_path / "poisoned" / f"{number}.mp3").write_bytes(b"no music at all %d" % number)
    server.start("ingest", sources=[str(tmp_path / "good")])
    server.start("ingest", sources=[str(tmp_path / "poisoned")])
    server.schedule("nightly", "* * * * * */15")  # the sixth field is seconds

    def names() -> dict[str, str]:
        ended = {run["name"].split(" 20")[0]: run["state_type"] for run in server.ended()}
        return {name: state for name, state in ended.items() if name != "ingest killed"}

    wait_until(lambda: names().keys() >= {"ingest good", "ingest poisoned", "nightly"})
    assert names() == {"ingest good": "COMPLETED", "ingest poisoned": "FAILED", "nightly": "COMPLETED"}
    runs = sorted(server.ended(), key=lambda run: run["start_time"])
    assert all(before["end_time"] <= after["start_time"] for before, after in itertools.pairwise(runs))
    assert {"midime", "good"} <= set(next(run for run in runs if run["name"] == "ingest good")["tags"])
    with catalog.connect(server.lake) as lake:
        found = dict(lake.execute("SELECT corpora[1], message FROM run_history WHERE flow = 'ingest'").fetchall())
    assert found["good"] is None
    assert "12 of 12 new files were rejected or failed" in found["poisoned"]
    assert "poisoned failed" in (server.lake / "dashboard.html").read_text(encoding="utf-8")
