"""What a run writes: its own row, its faults, and all tables of a shard in one transaction."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock

from catalog.lake import Lake, Transaction
from catalog.tables import BY_NAME, FILES, REJECTS, RUNS, TRACK_TABLES, make_id
from tasks.plan import PRINTS, Fault, FoundFile, Plan, TrackJob
from tasks.rows import make_rows, select_rows
from tasks.stages import NEEDS
from tasks.track import TrackResult

OUR_PACKAGES = ("catalog", "tasks", "flows")
FEWEST_FAULTS = 10
PARTLY = {"track_stages": set(NEEDS), "fingerprints": set(PRINTS)}
"""Tables of which each stage replaces its own rows alone, and the stages that replace all: what a row of `fingerprints`
is matched with need not be found again when another one changes."""


class TooManyRejects(Exception):
    """So many files of a run were rejected or failed that somebody should look; the others are in the lake."""


@dataclass(frozen=True)
class Owner:
    """Whose tracks they are."""

    user_id: str | None = None
    privacy_setting: str = "public"


@dataclass(frozen=True)
class Counts:
    """What became of the files of a run; they add up."""

    new: int = 0
    unchanged: int = 0
    duplicate: int = 0
    rejected: int = 0
    failed: int = 0
    ignored: int = 0
    audio_s: float = 0.0

    @property
    def seen(self) -> int:
        return self.new + self.unchanged + self.duplicate + self.rejected + self.failed

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def to_columns(self) -> dict[str, float]:
        """The columns of `runs`."""
        columns = {f"files_{name}": value for name, value in vars(self).items() if name != "audio_s"}
        return {"files_seen": self.seen} | columns | {"audio_s": self.audio_s}


class Tally:
    """The counts of a run as its shards commit, so that they are known however the run ends."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._lock = Lock()

    def add(self, counts: Counts) -> Counts:
        """Add what has been committed, from any thread; it is given back."""
        with self._lock:
            self.counts += counts
        return counts


@dataclass(frozen=True)
class Run:
    """One flow run, as the table `runs` has it."""

    flow: str
    parameters: dict
    code_version: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: str = "running"
    ended_at: datetime | None = None
    message: str | None = None

    @property
    def run_id(self) -> str:
        return make_id("run", self.flow, self.started_at.isoformat(), json.dumps(self.parameters, sort_keys=True))

    def end(self, state: str, message: str | None = None) -> "Run":
        return replace(self, state=state, ended_at=datetime.now(UTC), message=message)

    def fail(self, error: BaseException) -> "Run":
        """The run as an error ended it; the error's notes say in which station."""
        said = str(error).strip().splitlines()
        ours = type(error).__module__.split(".")[0] in OUR_PACKAGES  # whose messages are whole sentences
        parts = [*getattr(error, "__notes__", []), *([] if ours and said else [type(error).__name__]), *said[:1]]
        return self.end("failed", ": ".join(parts))

    def write(self, lake: Lake, counts: Counts = Counts(), tracks_planned: int | None = None) -> None:
        """Write the run's row, or bring it up to date."""
        row = {
            "run_id": self.run_id,
            "flow": self.flow,
            "parameters": json.dumps(self.parameters),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "state": self.state,
            "message": self.message,
            "tracks_planned": tracks_planned,
            "code_version": self.code_version,
        }
        with lake.transaction(f"{self.flow} {self.state}", {"run_id": self.run_id}) as change:
            change.upsert("runs", RUNS.make_rows([row | counts.to_columns()]))


def commit_plan(lake: Lake, plan: Plan, run_id: str) -> Counts:
    """Write what needs no analysis: new places of known contents, and files that cannot be read."""
    with lake.transaction("plan", {"run_id": run_id}) as change:
        _write_files(change, [(file, track_id) for file, track_id in plan.duplicates], run_id)
        change.delete("rejects", "uri", plan.mended)
        for file, fault in plan.faults:
            _write_fault(change, [file], fault, run_id)
    failed = sum(fault.failed for _, fault in plan.faults) + sum(failed for _, failed in plan.left_alone)
    return Counts(
        unchanged=plan.unchanged,
        duplicate=len(plan.duplicates),
        rejected=len(plan.faults) + len(plan.left_alone) - failed,
        failed=failed,
        ignored=plan.ignored,
    )


def split_known(lake: Lake, jobs: Sequence[TrackJob]) -> tuple[list[TrackJob], list[TrackJob]]:
    """The jobs that are still to be done, and the new contents that another ingest has brought in since the plan."""
    known = set(
        lake.query(
            "SELECT track_id FROM tracks WHERE track_id IN (SELECT unnest(?::UUID[]))", [[job.track_id for job in jobs]]
        )["track_id"].to_pylist()
    )
    late = {job.track_id for job in jobs if job.stages is None} & known
    return [job for job in jobs if job.track_id not in late], [job for job in jobs if job.track_id in late]


def commit_known(lake: Lake, jobs: Sequence[TrackJob], run_id: str) -> Counts:
    """Write the places of contents that another ingest has brought in."""
    places = [(file, job.track_id) for job in jobs for file in job.files]
    if places:
        with lake.transaction("known", {"run_id": run_id}) as change:
            _write_files(change, places, run_id)
    return Counts(duplicate=len(places))


def commit_shard(lake: Lake, name: str, results: Sequence[TrackResult], run_id: str, owner: Owner) -> Counts:
    """Write the tables of a shard's tracks, and its faults, in one transaction.

    Of a track that the lake holds only the rows of the stages that ran are replaced; it keeps its date and its owner.
    """
    now = datetime.now(UTC)
    done = sorted((result for result in results if result.analysis), key=lambda result: result.job.file.path)
    with lake.transaction(f"shard {name}", {"run_id": run_id, "shard": name}) as change:
        known = _read_tracks(change, [result.job.track_id for result in done])
        rows: dict[str, list[dict]] = {table.name: [] for table in TRACK_TABLES}
        replaced: dict[str, list[str]] = {table.name: [] for table in TRACK_TABLES}
        for result in done:
            job, analysis = result.job, result.analysis
            stages = job.stages or {stage.stage for stage in analysis.stages}
            made = make_rows(analysis, job, run_id, now, owner.user_id, owner.privacy_setting)
            for table, found in select_rows(made, stages, known.get(job.track_id)).items():
                rows[table].extend(found)
                if job.track_id in known and (table not in PARTLY or PARTLY[table] <= set(stages)):
                    replaced[table].append(job.track_id)
        for table, found in rows.items():
            change.delete(table, "track_id", replaced[table])
            write = change.upsert if table in PARTLY else change.insert
            write(table, BY_NAME[table].make_rows(found))
        _write_files(change, [(file, result.job.track_id) for result in done for file in result.job.files], run_id)
        for result in results:
            if result.fault:
                _write_fault(change, result.job.files, result.fault, run_id, result.job)
    return count_results(results)


def check_rejects(lake: Lake, run_id: str, counts: Counts, most: float) -> None:
    """Refuse to call a run completed whose new files are for a large part not in the lake.

    Args:
        lake: The lake, with the run's rejects.
        run_id: The run.
        counts: What became of its files.
        most: The largest share of its new files that may be rejected or fail; asked of ten faults and more.

    Raises:
        TooManyRejects: The share is larger.
    """
    reasons = lake.query(
        "SELECT reason, count(*) AS files FROM rejects WHERE run_id = ? GROUP BY reason ORDER BY files DESC, reason",
        [run_id],
    ).to_pylist()
    faults = sum(row["files"] for row in reasons)
    looked_at = counts.new + counts.duplicate + faults
    if faults >= FEWEST_FAULTS and faults > most * looked_at:
        raise TooManyRejects(
            f"{faults} of {looked_at} new files were rejected or failed ({faults / looked_at:.0%}, the limit is"
            f" {most:.0%}), most of them as {reasons[0]['reason']} ({reasons[0]['files']})."
        )


def count_results(results: Iterable[TrackResult]) -> Counts:
    """What became of the files of these jobs."""
    counts = Counts()
    for result in results:
        files = len(result.job.files)
        if result.analysis:
            counts += Counts(new=1, duplicate=files - 1, audio_s=result.analysis.duration_s)
        elif result.fault.failed:
            counts += Counts(failed=files)
        else:
            counts += Counts(rejected=files)
    return counts


def _read_tracks(change: Transaction, track_ids: Sequence[str]) -> dict[str, dict]:
    """The rows of the tracks that the lake holds."""
    rows = change.connection.execute(
        "SELECT * REPLACE (track_id::VARCHAR AS track_id) FROM tracks WHERE track_id IN (SELECT unnest(?::UUID[]))",
        [list(track_ids)],
    )
    return {row["track_id"]: row for row in rows.to_arrow_table().to_pylist()}


def _write_files(change: Transaction, files: Sequence[tuple[FoundFile, str]], run_id: str) -> None:
    rows = [
        {
            "corpus": file.corpus,
            "uri": file.uri,
            "track_id": track_id,
            "size_bytes": file.size_bytes,
            "modified_at": file.modified_at,
            "run_id": run_id,
        }
        for file, track_id in files
    ]
    change.upsert("files", FILES.make_rows(rows))
    change.delete("rejects", "uri", [file.uri for file, _ in files])


def _write_fault(
    change: Transaction, files: Sequence[FoundFile], fault: Fault, run_id: str, job: TrackJob | None = None
) -> None:
    """Write why files are not taken; without a job their content is not known."""
    uris = [file.uri for file in files]
    tried = {
        uri: (size_bytes, modified_at, attempts)
        for uri, size_bytes, modified_at, attempts in change.connection.execute(
            "SELECT uri, size_bytes, modified_at, attempts FROM rejects WHERE uri IN (SELECT unnest(?::VARCHAR[]))",
            [uris],
        ).fetchall()
    }
    rows = []
    for file in files:
        *before, attempts = tried.get(file.uri, (None, None, 0))
        is_same = before == [file.size_bytes, file.modified_at]
        rows.append(
            {
                "corpus": file.corpus,
                "uri": file.uri,
                "file_hash": job and job.file_hash,
                "size_bytes": file.size_bytes,
                "modified_at": file.modified_at,
                "run_id": run_id,
                "attempts": attempts + 1 if is_same else 1,
                "rejected_at": datetime.now(UTC),
            }
            | vars(fault)
        )
    change.upsert("rejects", REJECTS.make_rows(rows))
    if job or not fault.failed:  # the places may hold another content than the lake knows from there
        others = change.values(
            "SELECT uri FROM files WHERE uri IN (SELECT unnest(?::VARCHAR[])) AND track_id IS DISTINCT FROM ?::UUID",
            [uris, job and job.track_id],
        )
        change.delete("files", "uri", others)
