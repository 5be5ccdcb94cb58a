"""Every shell line of the pages, run for real on a lake of its own: `make docs-check`.

Lines are taken as they stand, but for what a reader would put in their place: folders, hosts, ports, identifiers. What
a line starts and leaves running is ended with its page. `make demo` and `make test` are run by .ci/run.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
import yaml

import catalog
from catalog.errors import CatalogError
from tests.faults.test_postgres import INITDB, PASSWORD, Server
from tests.test_docs import TEXTS

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SAMPLES = ("supertuxkart/ravenbridge_mansion_part_2.opus", "groove/rock_125.ogg", "groove/rock_105.flac")
PAGES = {"README.md", "docs/scheduling.md", "docs/scaling.md", "docs/upgrading.md"}
ELSEWHERE = {"make demo", "make test"}
SERVES = re.compile(r"^(\w+=\S+ )*(dask (scheduler|worker)|prefect (server|worker) start|midime (up|dashboard))\b")
PATIENCE_S = 300


def slow(test):
    """For `make docs-check`."""
    return pytest.mark.docs(pytest.mark.end_to_end(pytest.mark.timeout(1800)(test)))


def read_blocks(page: str, kind: str = "") -> list[list[str]]:
    """The lines of each fenced block of a kind, without comments; blocks that show a session are no commands."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", TEXTS[page], re.M | re.S)
    blocks = [block for found, block in fences if found == kind]
    if kind:
        return [block.splitlines() for block in blocks]
    commands = [[re.sub(r"\s+#.*$", "", line) for line in block.splitlines()] for block in blocks]
    return [block for block in commands if not block[0].startswith("$ ")]


def test_every_page_with_commands_is_run():
    assert {page for page in TEXTS if read_blocks(page)} == PAGES
    makes = {line for page in PAGES for block in read_blocks(page) for line in block if line.startswith("make")}
    assert makes == ELSEWHERE | {"make install"}
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert all(line in ci for line in ELSEWHERE)


class Shell:
    """A reader at a prompt, in an empty home with some music.

    Attributes:
        home: The folder.
        environment: What the commands see.
        places: What the reader writes in place of what stands on the page.
    """

    def __init__(self, home: Path):
        self.home, self.places, self._servers = home, {}, []
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MIDIME_"))}
        self.environment = keep | {
            "HOME": str(home),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MIDIME_STEMS": "none",
            "MIDIME_WORKERS": "1",
            "BROWSER": "true",
        }
        for sample in SAMPLES:
            (home / "music").mkdir(exist_ok=True)
            shutil.copy(ROOT / "data/sample" / sample, home / "music")

    def run(self, line: str, folder: Path | None = None) -> str:
        """Run a line; what it printed. A server is left running, an `export` is kept."""
        for shown, own in self.places.items():
            line = line.replace(shown, str(own))
        if line.startswith("export "):
            name, value = shlex.split(line)[1].split("=", 1)
            self.environment[name] = value
            return ""
        place = {"env": self.environment, "cwd": folder or self.home}
        if SERVES.match(line):
            log = (self.home / f"server{len(self._servers)}.log").open("w+")
            started = subprocess.Popen(line, shell=True, stdout=log, stderr=log, start_new_session=True, **place)
            self._servers.append((line, started, log))
            return ""
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, **place
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def wait_for(self, port: int) -> None:
        """Until a server listens."""
        self.wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))

    def wait_until(self, true) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            for line, process, log in self._servers:
                assert process.poll() is None, f"{line}\n{Path(log.name).read_text()}"
            assert time.monotonic() < deadline, f"Nothing happened for {PATIENCE_S} s."
            time.sleep(0.5)

    def read_log(self) -> str:
        """What the server that was started last has said."""
        *_, log = self._servers[-1]
        return Path(log.name).read_text()

    def end(self) -> None:
        """End the servers, as Ctrl-C would."""
        for _, process, _ in self._servers:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for _, process, log in self._servers:
            process.wait(60)
            log.close()
        self._servers.clear()


@pytest.fixture
def shell(tmp_path):
    opened = Shell(tmp_path)
    yield opened
    opened.end()


def find_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def ask(lake: Path, query: str, address: str | None = None) -> list[tuple]:
    with catalog.connect(lake, address) as connection:
        return connection.execute(query).fetchall()


def count_completed(lake: Path) -> int:
    """The runs that have completed; none where the lake is still being made."""
    try:
        return ask(lake, "SELECT count(*) FROM runs WHERE state = 'completed'")[0][0]
    except (CatalogError, duckdb.Error):
        return 0


@slow
def test_the_readme(shell):
    _, use, query, night, up = read_blocks("README.md")
    lake = shell.home / "data/lake"
    shutil.copy(ROOT / "data/sample/supertuxkart/kart_grand_prix.mp3", shell.home / "clip.mp3")
    shutil.copy(ROOT / "data/sample/groove/rock_125.ogg", shell.home / "some_loop.wav")
    for line in use[:3]:
        shell.run(line)
    ((pattern, track, other),) = ask(
        lake,
        "SELECT pattern_id::VARCHAR, patterns.track_id::VARCHAR, (SELECT min(track_id)::VARCHAR FROM tracks)"
        " FROM patterns WHERE instrument_type = 'drums' ORDER BY patterns.track_id DESC LIMIT 1",
    )
    shell.places |= {"PATTERN_ID": pattern, "TRACK_ID": track, "TRACK TRACK": f"{track} {other}", "> 160": "> 0"}
    said = {line: shell.run(line) for line in [*use[3:], *query]}
    assert f"{len(SAMPLES)} tracks" in said["midime status"]
    (code,) = read_blocks("README.md", "python")
    (shell.home / "read.py").write_text("\n".join(code).replace("PATTERN_ID", pattern))
    shell.run("python read.py")
    assert {path.name for path in shell.home.iterdir()} >= {"groove.mid", "track.png", "grooves.parquet", "fast"}
    page, prefect = find_port(), find_port()
    shell.places |= {"--open": f"--open --port {page}", "midime up": f"midime up --prefect-port {prefect} --port 0"}
    shell.places |= {"4200": prefect, '"/music"': f'"{shell.home}/music"'}
    for line in night:
        shell.run(line)
    shell.wait_for(page)
    run_on_services(shell, up, prefect, lake)


def run_on_services(shell: Shell, lines: list[str], prefect: int, lake: Path) -> None:
    """Start the services by the first line, then run the others; an ingest that they ask for comes to its end."""
    before = count_completed(lake)
    shell.run(lines[0])
    shell.wait_for(prefect)
    shell.wait_until(lambda: "Ctrl-C" in shell.read_log())
    for line in lines[1:]:
        shell.run(line)
    shell.wait_until(lambda: count_completed(lake) > before)


@slow
def test_the_page_on_scheduling(shell):
    up, ingest, own = read_blocks("docs/scheduling.md")
    lake, prefect, page = shell.home / "data/lake", find_port(), find_port()
    shell.places |= {"midime up": f"midime up --prefect-port {prefect} --port {page}", "4200": prefect}
    shell.places |= {"/music/rock": shell.home / "music", "prefect.example.org": "127.0.0.1"}
    run_on_services(shell, [*up, *ingest], prefect, lake)
    shell.end()
    other = find_port()
    shell.environment["PREFECT_HOME"] = str(shell.home / "own")
    shell.places |= {"4200": other, "MIDIME_LAKE=/lake": f"MIDIME_LAKE={shell.home}/lake"}
    shell.run(f"prefect server start --port {other}")
    shell.wait_for(other)
    for line in own:
        shell.run(line, folder=None if SERVES.match(line) else ROOT)
    for line in ingest:
        shell.run(line)
    shell.wait_until(lambda: count_completed(shell.home / "lake") == 1)
    (schedule,) = read_blocks("docs/scheduling.md", "yaml")
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    deployments["deployments"][0] |= yaml.safe_load("\n".join(schedule))
    (shell.home / "prefect.yaml").write_text(yaml.safe_dump(deployments))
    shell.run("prefect --no-prompt deploy --all --prefect-file prefect.yaml")
    assert "0 22 * * *" in shell.run("prefect deployment schedule ls ingest/ingest")
    for line in re.findall(r"`(prefect [^`]+)`", TEXTS["docs/troubleshooting.md"]):
        shell.run(line)


@slow
def test_the_page_on_scaling_out_with_dask(shell):
    (scheduler, worker, ingest), _ = read_blocks("docs/scaling.md")
    port = find_port()
    shell.places |= {"8786": port, "scheduler:": "127.0.0.1:", "/music/rock": shell.home / "music"}
    shell.run(f"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 {scheduler}")
    shell.wait_for(port)
    for line in (worker, ingest):
        shell.run(line)
    assert ask(shell.home / "data/lake", "SELECT count(*) FROM tracks") == [(len(SAMPLES),)]


@slow
@pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_the_page_on_scaling_out_with_postgresql(shell, tmp_path_factory):
    _, lines = read_blocks("docs/scaling.md")
    folder = tmp_path_factory.mktemp("postgres")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    server = Server(folder, find_port())
    server.make()
    server.start()
    try:
        own = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "midime", "PGPASSWORD": PASSWORD}
        shell.environment |= own
        shell.places |= {
            "host=db.example.org": f"host=127.0.0.1 port={server.port}",
            "PGPASSWORD=…": f"PGPASSWORD={PASSWORD}",
        }
        shell.places |= {"/music/rock": shell.home / "music", "/shared/lake": shell.home / "lake"}
        shell.environment["PATH"] = f"{shell.environment['PATH']}:{Path(INITDB).parent}"
        for line in lines:
            shell.run(line)
        assert "3" in shell.run("midime sql --lake lake --format csv 'SELECT count(*) FROM tracks'")
        assert not (shell.home / "lake/catalog.sqlite").exists()
    finally:
        server.stop()


@slow
def test_the_page_on_upgrading(shell):
    """In a clone whose environment is up to date, of a repository whose branch is what is tested here."""
    (lines,) = read_blocks("docs/upgrading.md")
    clone = shell.home / "midime"
    shell.run(f"git clone --quiet --bare {ROOT} upstream.git && git -C upstream.git update-ref refs/heads/tested HEAD")
    shell.run("git -C upstream.git symbolic-ref HEAD refs/heads/tested && git clone --quiet upstream.git midime")
    (clone / ".venv").mkdir()
    (clone / ".venv/bin").symlink_to(BIN)
    (clone / ".venv/.installed").touch()
    shell.places |= {"/music/rock": shell.home / "music"}
    for line in lines:
        shell.run(line, clone)
    assert ask(clone / "data/lake", "SELECT flow FROM runs ORDER BY started_at") == [("ingest",), ("nightly",)]
