"""What each stage of a track takes: its seconds and the memory of the process. Ends a track that takes too long."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.errors import TrackTimeout


@dataclass(frozen=True)
class StageRun:
    """What one stage took."""

    stage: str
    stage_version: str
    backend: str
    seconds: float
    peak_rss_mb: float


@dataclass
class StageWatch:
    """Keeps the time of each stage, knows the one that is running, and ends a track that takes too long."""

    timeout_s: float = 3600
    stage: str = "decode"
    _seconds: dict[str, float] = field(default_factory=dict)
    _peak_rss_mb: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Count the time inside towards a stage.

        Raises:
            TrackTimeout: The track has had its time.
        """
        self.stage = stage
        before = time.monotonic()
        if before - self._started > self.timeout_s:
            raise TrackTimeout(f"The track took longer than {self.timeout_s:g} s.")
        yield
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.monotonic() - before
        self._peak_rss_mb[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def runs(self, versions: dict[str, str], backends: dict[str, str]) -> list[StageRun]:
        return [
            StageRun(
                stage,
                version,
                backends.get(stage, "midime"),
                round(self._seconds.get(stage, 0.0), 4),
                round(self._peak_rss_mb.get(stage, 0.0), 1),
            )
            for stage, version in versions.items()
        ]
