"""What the tests of faults share: real processes of the command, and the count of what they survived."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb
import psutil
import pytest

import catalog
from catalog.errors import LakeNotFound
from tests.faults.rules import find_broken_rules

SURVIVED = Counter()
SOAK = "MIDIME_SOAK_SEEDS" in os.environ
PATIENCE_S = 600  # CI runs beside other work


def pytest_terminal_summary(terminalreporter) -> None:
    if SURVIVED:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(SURVIVED.items()))
        terminalreporter.write_line(f"Survived: {counts}.")


@pytest.fixture
def survived() -> Counter:
    """Where a test counts its kills and its operations."""
    return SURVIVED


def _hear_interrupts() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Command:
    """`midime` in a session of its own, so that all that it starts can be found."""

    def __init__(self, *arguments: object, home: Path, **environment: str):
        self.log = home / f"{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *map(str, arguments)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
                cwd=Path(__file__).parents[2],
                env={
                    **os.environ,
                    "PREFECT_HOME": str(home / "prefect"),
                    "MIDIME_MAX_REJECT_SHARE": "1",  # a seventh of the clips is broken
                    **environment,
                },
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def wait_until(self, condition) -> None:
        """Wait for something while the command runs."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def family(self) -> list[psutil.Process]:
        """Every living process of the session but the command itself."""
        found = []
        for process in psutil.process_iter():
            try:
                of_session = os.getsid(process.pid) == self.process.pid and process.pid != self.process.pid
                if of_session and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """The processes that analyse tracks."""
        return [process for process in self.family() if "spawn_main" in " ".join(process.cmdline())]

    def wait_for_no_family(self) -> None:
        """Wait until nothing that the command started is left.

        Prefect's own server, which a killed command cannot stop, is no worker and is not waited for.
        """
        deadline = time.monotonic() + PATIENCE_S
        while left := self.workers():
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


class Reader(threading.Thread):
    """An analyst who asks all tables again and again while others write.

    Attributes:
        complaints: Rules that were broken and errors that were met; must stay empty.
        looks: How often it asked.
    """

    def __init__(self, lake: Path):
        super().__init__(daemon=True)
        self.lake, self.complaints, self.looks = lake, [], 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            if not has_tables(self.lake):
                continue
            try:
                with catalog.connect(self.lake) as connection:
                    self.complaints += find_broken_rules(connection)
                self.looks += 1
            except Exception as error:  # whatever it is, an analyst would have met it
                self.complaints.append(f"{type(error).__name__}: {error}")


def has_tables(lake: Path) -> bool:
    """Whether the lake has been made yet; before that there is nothing to read."""
    if not (lake / "catalog.sqlite").exists():
        return False
    try:
        with catalog.connect(lake) as connection:
            return connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'runs'").fetchone() == (
                1,
            )
    except (duckdb.Error, LakeNotFound):
        return False


@pytest.fixture
def watch(survived):
    """Let a reader watch a lake; at the end of the test it must have nothing to complain of."""
    readers = []

    def start(lake: Path) -> None:
        readers.append(Reader(lake))
        readers[-1].start()

    yield start
    for reader in readers:
        reader.ended.set()
        reader.join()
        survived["looks at all tables"] += reader.looks
        assert reader.looks > 0
        assert reader.complaints == []


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of so many megabytes; gives its folder, and can be called again to resize it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()

    def resize(megabytes: int) -> Path:
        options = f"{'remount,' if disk.is_mount() else ''}size={megabytes}m"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "midime", str(disk)], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"this machine does not let root mount: {mounted.stderr.strip()}")
        return disk

    yield resize
    if disk.is_mount():
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def command(tmp_path):
    """Start `midime` with arguments; what still runs at the end is killed."""
    started = []

    def start(*arguments: object, **environment: str) -> Command:
        started.append(Command(*arguments, home=tmp_path, **environment))
        return started[-1]

    yield start
    for one in started:
        for process in one.family():
            process.kill()
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGKILL)
            one.process.wait()
