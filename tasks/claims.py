"""Who analyses a content when several ingests meet on one lake: the first to claim it, and nobody beside it."""

import fcntl
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from tasks.plan import TrackJob

OFFSETS = 2**62


class Claims:
    """The claims of one process. The system gives them back when the process dies, however it dies.

    Each content is a byte of one file that is locked, so that a hundred thousand cost one open file. A process keeps
    one object for a lake: the locks are the process's, and closing the file gives all of them back.
    """

    def __init__(self, lake: str | Path) -> None:
        self._file = (Path(lake) / ".claims.lock").open("ab")

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, jobs: Sequence[TrackJob]) -> tuple[list[TrackJob], list[TrackJob]]:
        """The jobs whose contents are claimed now, and those that another process has claimed."""
        mine, others = [], []
        for job in jobs:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(job))
                mine.append(job)
            except (BlockingIOError, PermissionError):
                others.append(job)
        return mine, others

    def free(self, jobs: Sequence[TrackJob]) -> None:
        """Give claims back."""
        for job in jobs:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(job))


def _offset(job: TrackJob) -> int:
    return UUID(job.track_id).int % OFFSETS
