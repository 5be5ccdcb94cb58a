"""Which runs are at work, and how far they are: a small locked file for each, beside the tables of the lake.

A commit for every track would cost more than many a track, so what a run has done since its last commit stands here.
The lock tells whether its process lives: the system frees it when the process dies, however it dies.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

FOLDER = ".progress"
STEP_S = 1.0  # between two writes of one run
WIDTH = 200  # bytes of a file: always the same, so that a shorter text leaves nothing of a longer one

Found = TypeVar("Found")


@dataclass(frozen=True)
class Progress:
    """What a run has done so far.

    Attributes:
        analysed: Contents that were analysed, committed or not.
        given_up: Contents that were rejected or failed.
        told_at: When it last said so, in seconds since 1970.
    """

    analysed: int = 0
    given_up: int = 0
    told_at: float = 0.0


class Teller:
    """Keeps the file of one run up to date; `count` may be called from any thread."""

    def __init__(self, file: int):
        self._file, self._lock = file, threading.Lock()
        self._done = Progress()
        self._write()

    def count(self, analysed: int = 0, given_up: int = 0) -> None:
        """Add contents that have ended; written at most once in a second, so the last ones may be missing."""
        with self._lock:
            before = self._done
            self._done = Progress(before.analysed + analysed, before.given_up + given_up, before.told_at)
            if time.time() - before.told_at >= STEP_S:
                self._write()

    def _write(self) -> None:
        self._done = Progress(self._done.analysed, self._done.given_up, time.time())
        os.pwrite(self._file, json.dumps(asdict(self._done)).ljust(WIDTH).encode(), 0)


@contextmanager
def tell_progress(lake: Path, run_id: str) -> Iterator[Teller]:
    """Say that a run is at work, for the length of the block."""
    path = lake / FOLDER / f"{run_id}.json"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield Teller(file.fileno())
        finally:
            path.unlink(missing_ok=True)


def read_progress(lake: Path) -> dict[str, Progress]:
    """The runs whose process lives, by their run_id."""
    return {path.stem: _read(path) for path in _list_files(lake) if is_alive(path)}


def read_beside_progress(lake: Path, read: Callable[[], Found]) -> tuple[Found, dict[str, Progress]]:
    """What `read` finds in the lake, and the runs whose process lived before it or lives after it.

    A run that begins or ends meanwhile is among them: so one that `read` finds running, and that is not, is dead.
    """
    before = read_progress(lake)
    found = read()
    return found, before | read_progress(lake)


def read_last_word(lake: Path, run_id: str) -> float | None:
    """When a run last said how far it was, in seconds since 1970; None where it never did."""
    path = lake / FOLDER / f"{run_id}.json"
    return path.stat().st_mtime if path.is_file() else None


def clear_progress(lake: Path) -> None:
    """Remove what dead runs have left."""
    for path in _list_files(lake):
        if not is_alive(path):
            path.unlink(missing_ok=True)


def is_alive(path: Path) -> bool:
    """Whether the process that wrote the file lives."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _list_files(lake: Path) -> list[Path]:
    return sorted((lake / FOLDER).glob("*.json"))


def _read(path: Path) -> Progress:
    try:
        return Progress(**json.loads(path.read_bytes()))
    except (OSError, ValueError):  # it has ended meanwhile, or is just being made
        return Progress()
