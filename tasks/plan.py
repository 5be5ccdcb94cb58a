"""What an ingest has to do: which files there are, which are known, and which contents are to be analysed.

A file is known by its place, size and time; only a file that is not is hashed. A content is known by its hash.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

import duckdb

from catalog.errors import ShrunkenSource
from catalog.file_record import hash_file
from catalog.tables import make_id
from tasks.audio import is_candidate
from tasks.errors import LIMITS, EmptyFile, FailedTrack, LongSignal, OutsideLink, TrackError, UnreadableFile
from tasks.music import beatchroma, chromaprint, peaks
from tasks.stages import follow

STAGE = "plan"
VERSION = "plan-1"
HASH_THREADS = 4
MOST_BYTES_PER_S = 192_000 * 8 * 4  # eight channels of floats at 192 kHz
LONGEST_CORPUS = 200  # bytes of its name, percent-encoded: it names folders in the lake
MESSAGE_LIMIT = 500  # characters
OUTSIDE = "The link leads out of the folder: ingest the folder that it leads to."


@dataclass(frozen=True)
class RetryParams:
    """Which rejects are tried again.

    Attributes:
        max_attempts: How often a file that failed is tried, over all runs.
        only: Take these rejects and no other file: those with this reason, or "all". None for a run as usual.
    """

    max_attempts: int = 3
    only: str | None = None


@dataclass(frozen=True)
class FoundFile:
    """A file as the walk sees it; a fault where it cannot even be looked at."""

    path: str
    corpus: str
    size_bytes: int | None = None
    modified_at: datetime | None = None
    fault: TrackError | None = None

    @property
    def uri(self) -> str:
        return Path(self.path).as_uri()


@dataclass(frozen=True)
class StoredStem:
    """A stem in the lake's folder, as the table `stems` has it."""

    stem: str
    uri: str
    sha256: str
    backend: str


@dataclass(frozen=True)
class TrackJob:
    """One content to analyse.

    Attributes:
        file: The file to read it from.
        copies: The other new files that hold the same content.
        stages: The stages to run, where the lake has the others; None for all of them.
        stems: What the lake holds of its stems.
    """

    file: FoundFile
    file_hash: str
    track_id: str
    corpus: str
    copies: list[FoundFile] = field(default_factory=list)
    stages: frozenset[str] | None = None
    stems: tuple[StoredStem, ...] = ()

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
    limit_value: float | None = None

    @classmethod
    def of(
        cls, error: TrackError, stage: str, stage_version: str, limits: Mapping[str, float | None] | None = None
    ) -> "Fault":
        """The fault that an error is; its message may quote names and contents of files, so it is made harmless."""
        message = "".join(char if char.isprintable() else " " for char in str(error))[:MESSAGE_LIMIT]
        limit = (limits or {}).get(error.limit)
        return cls(stage, stage_version, error.reason, message, isinstance(error, FailedTrack), limit)


@dataclass
class Plan:
    """Every file of the sources in exactly one of the lists.

    Attributes:
        jobs: Contents to analyse, each with all its new files.
        duplicates: Files whose content the lake has from another place: (file, track_id).
        unchanged: How many files are in the lake as they are.
        faults: Files that cannot be read.
        left_alone: Files that were given up before and have not changed since, as (uri, failed).
        mended: Folders that could not be listed before and can be now, as uris.
        ignored: How many files are no audio by their name.
        missing: Places in the lake, below the sources, where the file is gone.
    """

    jobs: list[TrackJob] = field(default_factory=list)
    duplicates: list[tuple[FoundFile, str]] = field(default_factory=list)
    unchanged: int = 0
    faults: list[tuple[FoundFile, Fault]] = field(default_factory=list)
    left_alone: list[tuple[str, bool]] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
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
    accept_missing: bool = True,
    limits: Mapping[str, float | None] | None = None,
) -> Plan:
    """Compare the sources with the lake.

    Args:
        sources: Folders to walk and files to take, as paths or file URIs; with `retry.only`, where its rejects lie,
            everywhere by default.
        corpus: The corpus that new files belong to; by default the name of the source's folder.
        lake: The lake, or None when there is none yet.
        stages: The stage versions that a track must have.
        force: A stage to run again for every track, or "all".
        retry: When a failed file is tried again.
        accept_missing: Go on when a source holds under half of the files that the lake knows from it.
        limits: What a track may take, as `TrackParams` names it: a file that a lower limit kept out is tried again.

    Raises:
        FileNotFoundError: A source that does not exist.
        ShrunkenSource: A source holds under half of its files, and that is not accepted.
    """
    limits = limits or {}
    sources = [_to_path(source) for source in sources]
    known = _Known.read(lake, stages, force, retry, limits)
    plan = Plan()
    if retry.only is None:
        found, plan.ignored = walk_sources(sources, corpus)
        uris = {file.uri for file in found}
        plan.missing = known.missing(sources, uris)
        plan.mended = known.mended(sources, uris)
        if not accept_missing:
            known.refuse_shrunken(sources, uris)
    else:
        found = known.find_rejects(sources)
    fresh = []
    for file in found:
        if file.fault is not None:
            plan.faults.append((file, Fault.of(file.fault, STAGE, VERSION)))
        elif known.has_file(file):
            plan.unchanged += 1
        elif (failed := known.gave_up(file)) is not None:
            plan.left_alone.append((file.uri, failed))
        elif file.size_bytes > MOST_BYTES_PER_S * (longest_s := limits.get("max_duration_s") or float("inf")):
            error = LongSignal(f"The file is larger than {longest_s / 3600:g} hours of audio, the limit, can be.")
            plan.faults.append((file, Fault.of(error, STAGE, VERSION)))
        else:
            fresh.append(file)
    jobs: dict[str, TrackJob] = {}
    for file, file_hash in zip(fresh, _hash_files(fresh), strict=True):
        if isinstance(file_hash, TrackError):
            plan.faults.append((file, Fault.of(file_hash, STAGE, VERSION)))
            continue
        track_id = make_id("track", file_hash)
        if known.is_current(track_id):
            plan.duplicates.append((file, track_id))
        elif track_id in jobs:
            jobs[track_id].copies.append(file)
        else:
            jobs[track_id] = known.make_job(file, file_hash, track_id)
    plan.jobs = list(jobs.values())
    return plan


def walk_sources(sources: Iterable[str | Path], corpus: str | None = None) -> tuple[list[FoundFile], int]:
    """Find the audio files below the sources, in the order of their paths, and count what is no audio by its name.

    Folders behind links are not followed, so a walk always ends; a link to a file is taken where that lies below the
    source. What cannot be entered is in the list with its fault. A file is taken once.

    Raises:
        FileNotFoundError: A source that does not exist.
    """
    found: dict[str, FoundFile] = {}
    ignored = 0
    for source in sources:
        top = os.path.abspath(source)
        if not os.path.exists(top):
            raise FileNotFoundError(f"There is no file or folder {source}.")
        name = name_corpus(corpus or os.path.basename(top if os.path.isdir(top) else os.path.dirname(top)))
        for path, fault in _walk(top):
            if fault:
                found.setdefault(path, FoundFile(path, name, fault=fault))
            elif path == top or is_candidate(Path(path)):
                found.setdefault(path, _look_at(path, name, None if path == top else top))
            else:
                ignored += 1
    return [found[path] for path in sorted(found)], ignored


def name_corpus(name: str) -> str:
    """The name as text that can name a folder in the lake: bytes that are none are spelt out, a long end is a hash."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if len(quote(text, safe="")) <= LONGEST_CORPUS:
        return text
    ending = f"~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    while len(quote(text + ending, safe="")) > LONGEST_CORPUS:
        text = text[:-1]
    return text + ending


def _walk(top: str) -> Iterator[tuple[str, TrackError | None]]:
    """Every file below a folder; and every folder that is not entered although it may hold files, with the reason."""
    if not os.path.isdir(top):
        yield top, None
        return
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except FileNotFoundError:  # it has gone since its parent was listed
            continue
        except OSError as error:
            yield folder, UnreadableFile(f"The folder cannot be listed: {error.strerror}.")
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                yield entry.path, None
            elif _leads_out(entry.path, top):
                yield entry.path, OutsideLink(OUTSIDE)


def _leads_out(path: str, top: str) -> bool:
    return not Path(path).resolve().is_relative_to(Path(top).resolve())


def _look_at(path: str, corpus: str, top: str | None = None) -> FoundFile:
    """The file; a link must not lead out of `top`."""
    try:
        status = os.stat(path)
    except OSError as error:
        return FoundFile(path, corpus, fault=UnreadableFile(f"The file cannot be opened: {error.strerror}."))
    modified_at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=status.st_mtime_ns // 1000)
    fault = None
    if not stat.S_ISREG(status.st_mode):
        fault = UnreadableFile("The file is not a regular file.")
    elif status.st_size == 0:
        fault = EmptyFile("The file is empty.")
    elif top and os.path.islink(path) and _leads_out(path, top):
        fault = OutsideLink(OUTSIDE)
    return FoundFile(path, corpus, status.st_size, modified_at, fault)


def _hash_files(files: Sequence[FoundFile]) -> Iterator[str | TrackError]:
    def read(file: FoundFile) -> str | TrackError:
        try:
            return hash_file(Path(file.path))
        except OSError as error:
            return UnreadableFile(f"The file cannot be read: {error.strerror}.")

    with ThreadPoolExecutor(HASH_THREADS) as pool:
        yield from pool.map(read, files)


PRINTS = {
    "chromaprint": (chromaprint.ALGORITHM, chromaprint.ITEM_HOP_S),
    "peaks": (peaks.ALGORITHM, peaks.HOP_S),
    "beatchroma": (beatchroma.ALGORITHM, beatchroma.HOP_S),
}
"""The stages that make fingerprints: the algorithm, and the hop in seconds."""


@dataclass
class _Known:
    """What the lake knows, as far as planning asks.

    Attributes:
        files: By place: corpus, size, time and track.
        rejects: By place: corpus, size, time, stage, its version, reason, whether it had failed, attempts, and the
            limit that kept it out.
        corpora: By track.
        due: By track, the stages that have to run again.
        stems: By track that is due.
        stages: The versions that a track must have.
        limits: What a track may take.
    """

    files: dict[str, tuple[str, int, datetime, str]] = field(default_factory=dict)
    rejects: dict[str, tuple] = field(default_factory=dict)
    corpora: dict[str, str] = field(default_factory=dict)
    due: dict[str, frozenset[str]] = field(default_factory=dict)
    stems: dict[str, tuple[StoredStem, ...]] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    force: bool = False
    retry: RetryParams = RetryParams()
    limits: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        lake: duckdb.DuckDBPyConnection | None,
        stages: dict[str, str],
        force: str | None,
        retry: RetryParams,
        limits: Mapping[str, float | None],
    ) -> "_Known":
        if lake is None:
            return cls(stages=stages, force=bool(force), retry=retry, limits=limits)
        corpora = dict(lake.execute("SELECT track_id::VARCHAR, corpus FROM tracks").fetchall())
        forced = set(stages) if force == "all" else {force} if force else set()
        changed = {track: forced for track in corpora} if forced else {}
        for track, stage in lake.execute(
            """
            SELECT track_id::VARCHAR, wanted.stage
            FROM tracks CROSS JOIN (SELECT unnest(?::VARCHAR[]) AS stage, unnest(?::VARCHAR[]) AS stage_version) wanted
            LEFT JOIN track_stages USING (track_id, stage)
            WHERE track_stages.stage_version IS DISTINCT FROM wanted.stage_version
            """,
            [list(stages), list(stages.values())],
        ).fetchall():
            changed[track] = changed.get(track, set()) | {stage}
        for track in _find_foreign_prints(lake):
            changed[track] = changed.get(track, set()) | PRINTS.keys()
        stems: dict[str, tuple[StoredStem, ...]] = {}
        if changed:
            for track, *stem in lake.execute(
                "SELECT track_id::VARCHAR, stem, uri, sha256, backend FROM stems"
                " WHERE uri IS NOT NULL AND sha256 IS NOT NULL ORDER BY track_id, stem"
            ).fetchall():
                stems[track] = (*stems.get(track, ()), StoredStem(*stem))
        return cls(
            files=_by_uri(lake, "files", "corpus, size_bytes, modified_at, track_id::VARCHAR"),
            rejects=_by_uri(
                lake,
                "rejects",
                "corpus, size_bytes, modified_at, stage, stage_version, reason, failed, attempts, limit_value",
            ),
            corpora=corpora,
            due={track: follow(changes) & set(stages) for track, changes in changed.items()},
            stems=stems,
            stages=stages,
            force=bool(force),
            retry=retry,
            limits=limits,
        )

    def is_current(self, track_id: str) -> bool:
        """Whether the lake has the track as the present code would make it."""
        return track_id in self.corpora and track_id not in self.due

    def has_file(self, file: FoundFile) -> bool:
        """Whether the file is as it was and its track is up to date."""
        _, size, modified_at, track = self.files.get(file.uri, (None, None, None, None))
        return (size, modified_at) == (file.size_bytes, file.modified_at) and self.is_current(track)

    def gave_up(self, file: FoundFile) -> bool | None:
        """None where it is to be tried; else whether the analysis had failed, rather than the file being at fault."""
        if self.force or self.retry.only or file.uri not in self.rejects:
            return None
        _, size, modified_at, stage, version, reason, failed, attempts, limit = self.rejects[file.uri]
        if (size, modified_at) != (file.size_bytes, file.modified_at) or self.stages.get(stage, version) != version:
            return None
        if limit is not None and (self.limits.get(LIMITS[reason]) or 0) > limit:
            return None
        if failed and (attempts < self.retry.max_attempts or reason == UnreadableFile.reason):
            return None
        return bool(failed)

    def make_job(self, file: FoundFile, file_hash: str, track_id: str) -> TrackJob:
        """The job of a content that is new, or that has stages to run again."""
        return TrackJob(
            file,
            file_hash,
            track_id,
            self.corpora.get(track_id, file.corpus),
            stages=self.due.get(track_id),
            stems=self.stems.get(track_id, ()),
        )

    def find_rejects(self, sources: Sequence[str | Path]) -> list[FoundFile]:
        """The rejects that are asked for, below the sources, as they are now."""
        is_below = _below(sources)
        return [
            _look_at(_path_of(uri), corpus)
            for uri, (corpus, _, _, _, _, reason, *_) in sorted(self.rejects.items())
            if self.retry.only in ("all", reason) and (not sources or is_below(uri))
        ]

    def missing(self, sources: Sequence[str | Path], found: set[str]) -> list[str]:
        """The places below the sources where the file is gone."""
        return sorted(filter(_below(sources), self.files.keys() - found))

    def mended(self, sources: Sequence[str | Path], found: set[str]) -> list[str]:
        """The folders below the sources that once could not be listed, and now were."""
        is_below = _below(sources)
        return sorted(
            uri for uri in self.rejects if uri not in found and is_below(uri) and os.path.isdir(_path_of(uri))
        )

    def refuse_shrunken(self, sources: Sequence[str | Path], found: set[str]) -> None:
        for source in sources:
            is_below = _below([source])
            before = sum(map(is_below, self.files.keys() | self.rejects.keys()))
            now = sum(map(is_below, found))
            if 2 * now < before:
                raise ShrunkenSource(
                    f"{source} holds {now} audio files and the lake knows {before} from there: is a disk missing? "
                    "If they are gone on purpose, say so with --yes; the lake keeps what it has."
                )


def _find_foreign_prints(lake: duckdb.DuckDBPyConnection) -> list[str]:
    """The tracks with a fingerprint that today's cannot be compared with, or that is cut off."""
    rows = lake.execute(
        """
        SELECT DISTINCT track_id::VARCHAR
        FROM fingerprints
        LEFT JOIN (SELECT unnest(?::VARCHAR[]) AS algorithm, unnest(?::DOUBLE[]) AS own_hop_s) USING (algorithm)
        WHERE items IS NULL OR NOT coalesce(abs(hop_s - own_hop_s) < 1e-6, false)
            OR (algorithm = ? AND len(items) > 0 AND len(items) % 2 = 0)
        """,
        [*map(list, zip(*PRINTS.values(), strict=True)), beatchroma.ALGORITHM],
    ).fetchall()
    return [track for (track,) in rows]


def _by_uri(lake: duckdb.DuckDBPyConnection, table: str, columns: str) -> dict[str, tuple]:
    return {uri: tuple(row) for uri, *row in lake.execute(f"SELECT uri, {columns} FROM {table}").fetchall()}


def _below(sources: Sequence[str | Path]) -> Callable[[str], bool]:
    tops = tuple(f"{Path(os.path.abspath(source)).as_uri().rstrip('/')}/" for source in sources)
    return lambda uri: f"{uri}/".startswith(tops)


def _to_path(source: str | Path) -> str | Path:
    """A source may be given as a URI: a path whose bytes are no text cannot be written otherwise."""
    return _path_of(source) if str(source).startswith("file://") else source


def _path_of(uri: str) -> str:
    return os.fsdecode(unquote_to_bytes(urlsplit(uri).path))
