"""The deployments of prefect.yaml, on a real local server with a process worker."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import catalog

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
PATIENCE_S = 240

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]


@pytest.fixture
def server(tmp_path):
    """The environment of a Prefect server of this test's own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MIDIME_LAKE": str(tmp_path / "lake"),
    }
    command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with open(tmp_path / "server.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_for(f"{environment['PREFECT_API_URL']}/health")
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    pytest.fail(f"{url} did not answer within {PATIENCE_S} s.")


def run_prefect(environment: dict, *arguments: str) -> str:
    done = subprocess.run(
        [PREFECT, "--no-prompt", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_deployed_ingest_completes(server, write_track, tmp_path):
    write_track(tmp_path / "corpus" / "beat.wav")
    run_prefect(server, "work-pool", "create", "midime", "--type", "process")
    run_prefect(server, "deploy", "--all")
    with open(tmp_path / "worker.log", "w") as log:
        worker = subprocess.Popen(
            [PREFECT, "worker", "start", "--pool", "midime"], env=server, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        sources = f"sources={json.dumps([str(tmp_path / 'corpus')])}"
        said = run_prefect(
            server, "deployment", "run", "ingest/ingest", "--param", sources, "--param", 'stems="none"', "--watch"
        )
    finally:
        worker.terminate()
        worker.wait(timeout=60)
    assert "Completed" in said
    with catalog.connect(tmp_path / "lake") as lake:
        assert lake.execute("SELECT state, files_new FROM runs").fetchall() == [("completed", 1)]
