"""What an ingest has to do: which files there are, which are known, and which contents are to be analysed.

A file is known by its place, size and time; only a file that is not is hashed. A content is known by its hash.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from catalog.lake import hash_file
from catalog.tables import make_id
from tasks.audio import is_candidate
from tasks.errors import EmptyFile, FailedTrack, RejectedInput, TrackError, UnreadableFile

STAGE = "plan"
VERSION = "plan-1"
HASH_THREADS = 4


@dataclass(frozen=True)
class RetryParams:
    """How often a file that failed is tried again, over all runs."""

    max_attempts: int = 3


@dataclass(frozen=True)
class FoundFile:
    """A file as the walk sees it; a fault where it cannot even be looked at."""

    path: str
    corpus: str
    size_bytes: int | None = None
    modified_at: datetime | None = None
    fault: RejectedInput | None = None

    @property
    def uri(self) -> str:
        return Path(self.path).as_uri()


@dataclass(frozen=True)
class TrackJob:
    """One content to analyse, the file to read it from, and the other new files that hold the same content."""

    file: FoundFile
    file_hash: str
    track_id: str
    corpus: str
    copies: list[FoundFile] = field(default_factory=list)

    @property
    def files(self) -> list[FoundFile]:
        return [self.file, *self.copies]


@dataclass(frozen=True)
class Fault:
    """Why a content cannot be taken, as `rejects` will say it."""

    stage: str
    stage_version: str
    reason: str
    message: str
    failed: bool

    @classmethod
    def of(cls, error: TrackError, stage: str, stage_version: str) -> "Fault":
        return cls(stage, stage_version, error.reason, str(error), isinstance(error, FailedTrack))


@dataclass
class Plan:
    """Every file of the sources in exactly one of the lists.

    Attributes:
        jobs: Contents to analyse, each with all its new files.
        duplicates: Files whose content the lake has from another place: (file, track_id).
        unchanged: How many files are in the lake as they are.
        faults: Files that cannot be read.
        left_alone: Files that were given up before and have not changed since, as (uri, failed).
        ignored: How many files are no audio by their name.
        missing: Places in the lake, below the sources, where the file is gone.
    """

    jobs: list[TrackJob] = field(default_factory=list)
    duplicates: list[tuple[FoundFile, str]] = field(default_factory=list)
    unchanged: int = 0
    faults: list[tuple[FoundFile, Fault]] = field(default_factory=list)
    left_alone: list[tuple[str, bool]] = field(default_factory=list)
    ignored: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        in_jobs = sum(len(job.files) for job in self.jobs)
        return in_jobs + len(self.duplicates) + self.unchanged + len(self.faults) + len(self.left_alone)


def make_plan(
    sources: Sequence[str | Path],
    corpus: str | None,
    lake: duckdb.DuckDBPyConnection | None,
    stages: dict[str, str],
    force: str | None = None,
    retry: RetryParams = RetryParams(),
) -> Plan:
    """Compare the sources with the lake.

    Args:
        sources: Folders to walk and files to take.
        corpus: The corpus that new files belong to; by default the name of the source's folder.
        lake: The lake, or None when there is none yet.
        stages: The stage versions that a track must have.
        force: A stage to run again for every track, or "all".
        retry: When a failed file is tried again.

    Raises:
        FileNotFoundError: A source that does not exist.
    """
    known = _Known.read(lake, stages, force, retry)
    plan = Plan()
    found, plan.ignored = walk_sources(sources, corpus)
    fresh = []
    for file in found:
        if file.fault is not None:
            plan.faults.append((file, Fault.of(file.fault, STAGE, VERSION)))
        elif known.has_file(file):
            plan.unchanged += 1
        elif (failed := known.gave_up(file)) is not None:
            plan.left_alone.append((file.uri, failed))
        else:
            fresh.append(file)
    jobs: dict[str, TrackJob] = {}
    for file, file_hash in zip(fresh, _hash_files(fresh), strict=True):
        if isinstance(file_hash, RejectedInput):
            plan.faults.append((file, Fault.of(file_hash, STAGE, VERSION)))
            continue
        track_id = make_id("track", file_hash)
        if track_id in known.tracks:
            plan.duplicates.append((file, track_id))
        elif track_id in jobs:
            jobs[track_id].copies.append(file)
        else:
            jobs[track_id] = TrackJob(file, file_hash, track_id, known.corpora.get(track_id, file.corpus))
    plan.jobs = list(jobs.values())
    plan.missing = known.missing(sources, {file.uri for file in found})
    return plan


def walk_sources(sources: Iterable[str | Path], corpus: str | None = None) -> tuple[list[FoundFile], int]:
    """Find the audio files below the sources, in the order of their paths, and count what is no audio by its name.

    Folders behind links are not followed, so a walk always ends; a file is taken once.

    Raises:
        FileNotFoundError: A source that does not exist.
    """
    found: dict[str, FoundFile] = {}
    ignored = 0
    for source in sources:
        top = os.path.abspath(source)
        if not os.path.exists(top):
            raise FileNotFoundError(f"There is no file or folder {source}.")
        name = corpus or os.path.basename(top if os.path.isdir(top) else os.path.dirname(top))
        for path in _walk(top):
            if path == top or is_candidate(Path(path)):
                found.setdefault(path, _look_at(path, name))
            else:
                ignored += 1
    return [found[path] for path in sorted(found)], ignored


def _walk(top: str) -> Iterator[str]:
    if not os.path.isdir(top):
        yield top
        return
    for folder, _, names in os.walk(top, followlinks=False):
        for name in names:
            yield os.path.join(folder, name)


def _look_at(path: str, corpus: str) -> FoundFile:
    try:
        status = os.stat(path)
    except OSError as error:
        return FoundFile(path, corpus, fault=UnreadableFile(f"The file cannot be opened: {error.strerror}."))
    modified_at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=status.st_mtime_ns // 1000)
    fault = None
    if not os.path.isfile(path):
        fault = UnreadableFile("The file is not a regular file.")
    elif status.st_size == 0:
        fault = EmptyFile("The file is empty.")
    return FoundFile(path, corpus, status.st_size, modified_at, fault)


def _hash_files(files: Sequence[FoundFile]) -> Iterator[str | RejectedInput]:
    def read(file: FoundFile) -> str | RejectedInput:
        try:
            return hash_file(Path(file.path))
        except OSError as error:
            return UnreadableFile(f"The file cannot be read: {error.strerror}.")

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        yield from pool.map(read, files)


@dataclass
class _Known:
    """What the lake knows, as far as planning asks."""

    files: dict[str, tuple[int, datetime, str]]
    tracks: set[str]
    corpora: dict[str, str]
    rejects: dict[str, tuple]
    stages: dict[str, str]
    force: bool
    retry: RetryParams

    @classmethod
    def read(
        cls, lake: duckdb.DuckDBPyConnection | None, stages: dict[str, str], force: str | None, retry: RetryParams
    ) -> "_Known":
        if lake is None:
            return cls({}, set(), {}, {}, stages, bool(force), retry)
        done: dict[str, dict[str, str]] = {}
        for track, stage, version in lake.execute(
            "SELECT track_id::VARCHAR, stage, stage_version FROM track_stages"
        ).fetchall():
            done.setdefault(track, {})[stage] = version
        corpora = dict(lake.execute("SELECT track_id::VARCHAR, corpus FROM tracks").fetchall())
        current = {
            track
            for track in corpora
            if all(done.get(track, {}).get(stage) == version for stage, version in stages.items())
        }
        files = {
            uri: (size, modified_at, track)
            for uri, size, modified_at, track in lake.execute(
                "SELECT uri, size_bytes, modified_at, track_id::VARCHAR FROM files"
            ).fetchall()
        }
        rejects = {
            row[0]: row[1:]
            for row in lake.execute(
                "SELECT uri, size_bytes, modified_at, stage, stage_version, failed, attempts FROM rejects"
            ).fetchall()
        }
        return cls(files, set() if force else current, corpora, rejects, stages, bool(force), retry)

    def has_file(self, file: FoundFile) -> bool:
        """Whether the file is as it was and its track is up to date."""
        size, modified_at, track = self.files.get(file.uri, (None, None, None))
        return (size, modified_at) == (file.size_bytes, file.modified_at) and track in self.tracks

    def gave_up(self, file: FoundFile) -> bool | None:
        """None where it is to be tried; else whether the analysis had failed, rather than the file being at fault."""
        if self.force or file.uri not in self.rejects:
            return None
        size, modified_at, stage, version, failed, attempts = self.rejects[file.uri]
        if (size, modified_at) != (file.size_bytes, file.modified_at) or self.stages.get(stage, version) != version:
            return None
        if failed and attempts < self.retry.max_attempts:
            return None
        return bool(failed)

    def missing(self, sources: Sequence[str | Path], found: set[str]) -> list[str]:
        tops = [Path(os.path.abspath(source)).as_uri() for source in sources]
        return sorted(
            uri
            for uri in self.files
            if uri not in found and any(uri == top or uri.startswith(top.rstrip("/") + "/") for top in tops)
        )
