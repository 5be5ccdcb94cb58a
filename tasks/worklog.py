"""What libraries and stages say while a worker analyses a track, kept so that it can be told together with the track.

Workers need no Prefect: the lines travel home with the result, and the task that asked for the track logs them.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST_LINES = 20


@dataclass(frozen=True)
class LogLine:
    """One record: its level as `logging` counts them, and what it says."""

    level: int
    message: str


@contextmanager
def collect_log(level: int = logging.WARNING) -> Iterator[list[LogLine]]:
    """Collect what this thread logs or warns of from this level on; the first twenty lines."""
    lines: list[LogLine] = []
    handler = _Collector(level, lines)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield lines
    finally:
        root.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, level: int, lines: list[LogLine]):
        super().__init__(level)
        self.lines, self.thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self.thread and len(self.lines) < MOST_LINES:
            self.lines.append(LogLine(record.levelno, self.format(record).strip()))
