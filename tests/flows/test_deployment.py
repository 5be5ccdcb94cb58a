"""`midime up` on a real server, with no network: deployments that complete, fail and are started by the clock."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import catalog

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
    """Prefect's server as `midime up` runs it, asked over its API."""

    def __init__(self, port: int):
        self.api = f"http://127.0.0.1:{port}/api"

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


@pytest.fixture
def server(tmp_path):
    port = find_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "MIDIME_STEMS": "none",
    }
    command = [MIDIME, "up", "--lake", tmp_path / "lake", "--prefect-port", str(port), "--port", "0"]
    with open(tmp_path / "up.log", "w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        try:
            wait_until(lambda: "Ctrl-C" in (tmp_path / "up.log").read_text() or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "up.log").read_text()
            yield Server(port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
    with pytest.raises(OSError):  # nothing is left behind
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)


def wait_until(true) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"Nothing happened for {PATIENCE_S} s."
        time.sleep(0.5)


def test_a_night_on_one_machine(server, write_track, tmp_path):
    write_track(tmp_path / "good" / "beat.wav")
    (tmp_path / "poisoned").mkdir()
    for number in range(12):
        (tmp_path / "poisoned" / f"{number}.mp3").write_bytes(b"no music at all %d" % number)
    server.start("ingest", sources=[str(tmp_path / "good")])
    server.start("ingest", sources=[str(tmp_path / "poisoned")])
    server.schedule("nightly", "* * * * * */15")  # the sixth field is seconds

    def names() -> dict[str, str]:
        return {run["name"].split(" 20")[0]: run["state_type"] for run in server.ended()}

    wait_until(lambda: names().keys() >= {"ingest good", "ingest poisoned", "nightly"})
    assert names() == {"ingest good": "COMPLETED", "ingest poisoned": "FAILED", "nightly": "COMPLETED"}
    runs = sorted(server.ended(), key=lambda run: run["start_time"])
    assert all(before["end_time"] <= after["start_time"] for before, after in itertools.pairwise(runs))
    assert {"midime", "good"} <= set(next(run for run in runs if run["name"] == "ingest good")["tags"])
    with catalog.connect(tmp_path / "lake") as lake:
        found = dict(lake.execute("SELECT corpora[1], message FROM run_history WHERE flow = 'ingest'").fetchall())
    assert found["good"] is None
    assert "12 of 12 new files were rejected or failed" in found["poisoned"]
    assert "poisoned failed" in (tmp_path / "lake" / "dashboard.html").read_text(encoding="utf-8")
