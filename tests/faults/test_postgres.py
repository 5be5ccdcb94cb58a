"""A catalogue in PostgreSQL: killed, doubled and restarted. Part of `make soak`, where PostgreSQL is installed.

The server is one of our own on 127.0.0.1, with a password, for the length of the tests.
"""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import pytest

import catalog
from catalog.lake import Lake
from tests.faults.conftest import SOAK
from tests.faults.rules import find_broken_rules
from tests.faults.steps import read_rows, write_clip

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
INITDB = str(PROGRAMS[-1]) if PROGRAMS else shutil.which("initdb")
PASSWORD = "correct-horse-battery"
FILES = 20
pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not SOAK, reason="takes minutes: make soak runs it"),
    pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed: apt-get install postgresql"),
]


@dataclass
class Server:
    """A PostgreSQL server; as root it runs as the user postgres, since it refuses root."""

    folder: Path
    port: int
    owner: dict = field(default_factory=lambda: {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {})

    def run(self, program: str, *arguments: object) -> None:
        command = [str(Path(INITDB).with_name(program)), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.owner)

    def make(self) -> None:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        if self.owner:
            shutil.chown(self.folder, **self.owner)
            shutil.chown(secret, **self.owner)
        rights = ["-U", "midime", "--auth", "scram-sha-256", "--pwfile", secret]
        self.run("initdb", "-D", self.folder / "data", *rights)

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        self.run("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.folder / "data")

    def make_catalogue(self, name: str) -> str:
        """A fresh database, as a catalogue's address."""
        self.run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "midime", name)
        return f"postgres:dbname={name} host=127.0.0.1 port={self.port} user=midime"


@pytest.fixture(scope="module")
def server():
    folder = Path(mkdtemp(prefix="midime-postgres-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["PGPASSWORD"] = PASSWORD
    running = Server(folder, port)
    try:
        running.make()
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)
        del os.environ["PGPASSWORD"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("postgres") / "corpus"
    for content in range(FILES):
        write_clip(folder / f"{content:02d}.wav", content)
    return folder


@pytest.fixture
def address(server, request) -> str:
    return server.make_catalogue(request.node.originalname[:60])


def ingest(corpus: Path, lake: Path) -> list:
    return ["ingest", corpus, "--lake", lake, "--corpus", "c", "--stems", "none", "--workers", 1]


def count_tracks(lake: Path, address: str) -> int:
    try:
        with catalog.connect(lake, address) as connection:
            return connection.execute("SELECT count(*) FROM tracks").fetchone()[0]
    except Exception:  # the lake is being made, or the server is away
        return 0


def check(lake: Path, address: str) -> dict:
    """The rows of a lake that has to be sound."""
    with Lake.open(lake, address) as opened:
        opened.repair()
        assert (opened.verify(), find_broken_rules(opened.connection)) == ([], [])
    return read_rows(lake, address)


@pytest.fixture(scope="module")
def expected(corpus, server, tmp_path_factory) -> dict:
    """The rows that an undisturbed run writes with the folder's own catalogue."""
    from tests.faults.conftest import Command

    home = tmp_path_factory.mktemp("expected")
    assert Command(*ingest(corpus, home / "lake"), home=home).wait() == 0
    return read_rows(home / "lake")


def test_a_killed_flow_is_carried_on(corpus, expected, address, command, tmp_path, survived):
    lake = tmp_path / "lake"
    for _ in range(2):
        before = count_tracks(lake, address)
        run = command(*ingest(corpus, lake), MIDIME_CATALOG=address, MIDIME_SHARD_FILES="4")
        run.wait_until(lambda before=before: count_tracks(lake, address) > before)
        run.process.kill()
        run.wait()
        run.wait_for_no_family()
        survived["kills of flows on PostgreSQL"] += 1
    run = command(*ingest(corpus, lake), MIDIME_CATALOG=address)
    assert run.wait() == 0
    assert PASSWORD not in run.said
    assert check(lake, address) == expected


def test_two_ingests_hold_each_content_once(corpus, expected, address, command, tmp_path, survived):
    lake = tmp_path / "lake"
    runs = [command(*ingest(corpus, lake), MIDIME_CATALOG=address, MIDIME_SHARD_FILES="5") for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0], [run.said for run in runs]
    assert check(lake, address) == expected
    survived["pairs of ingests on PostgreSQL"] += 1


def test_a_server_that_is_restarted_costs_a_run_and_no_row(
    corpus, expected, address, server, command, tmp_path, survived
):
    lake = tmp_path / "lake"
    run = command(*ingest(corpus, lake), MIDIME_CATALOG=address, MIDIME_SHARD_FILES="3")
    run.wait_until(lambda: count_tracks(lake, address) > 0)
    server.stop()
    server.start()
    assert run.wait() in (0, 1, 2)
    run.wait_for_no_family()
    assert PASSWORD not in run.said
    survived["restarts of PostgreSQL"] += 1
    assert command(*ingest(corpus, lake), MIDIME_CATALOG=address).wait() == 0
    assert check(lake, address) == expected


def test_a_server_that_is_away_is_named_in_one_line(corpus, address, server, command, tmp_path):
    server.stop()
    try:
        for arguments in (ingest(corpus, tmp_path / "lake"), ["status", "--lake", tmp_path / "lake"]):
            run = command(*arguments, MIDIME_CATALOG=address)
            run.wait()
            assert "Traceback" not in run.said
            assert "cannot be opened" in run.said
            assert PASSWORD not in run.said
    finally:
        server.start()
