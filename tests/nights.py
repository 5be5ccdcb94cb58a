"""A made-up month of a data team: the rows that nightly ingests of three corpora would have left in the real tables.

Nothing is decoded: tempi, keys, seconds and faults are drawn from distributions that each corpus keeps, so that a night
with a known fault can be told from the others. The same seed gives the same month.

    python -m tests.nights FOLDER    writes thirty calm nights and a morning after a bad one into a new lake
"""

import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from catalog.index import refresh_indexes
from catalog.lake import Lake
from catalog.tables import BY_NAME, make_id
from catalog.vectors import DIMENSIONS
from tasks.commit import Counts, Run

SECONDS_AN_AUDIO_HOUR = {
    "decode": 9,
    "separate": 100,
    "onsets": 14,
    "beats": 11,
    "key": 6,
    "drums": 5,
    "sections": 2,
    "patterns": 1,
    "midi": 1,
    "chromaprint": 6,
    "quality": 8,
}
KEYS = ("C major", "G major", "D major", "A minor", "E minor", "C minor", None)
GENRES = {"library": ("rock", "pop", "jazz", None), "live": ("rock", "metal"), "loops": ("hip hop", "house", "funk")}
TEMPI_BPM = {"library": (112, 24), "live": (128, 18), "loops": (96, 10)}
FAULTS = (
    ("corrupt", "decode", False, "The file begins like audio and its header cannot be decoded."),
    ("too_short", "decode", False, "The audio lasts 0.31 s; at least 1 s is needed."),
    ("timeout", "separate", True, "The track took longer than 3600 s."),
)


@dataclass(frozen=True)
class Night:
    """One ingest of one corpus.

    Attributes:
        faulty: Share of the files that cannot be taken.
        slower: How many times longer than usual a stage takes.
        tempo_ratio: By how much all tempi are wrong.
        message: Why the run failed; None for a run that completed.
    """

    corpus: str
    started_at: datetime
    files: int = 30
    faulty: float = 0.03
    slower: dict[str, float] = field(default_factory=dict)
    tempo_ratio: float = 1.0
    message: str | None = None


def calm_month(until: datetime, nights: int = 30) -> list[Night]:
    """Nights like any other, the last one before `until`."""
    return [
        Night(corpus, until - timedelta(days=nights - day, minutes=30 * place), files=24 + (7 * day + 5 * place) % 16)
        for day in range(nights)
        for place, corpus in enumerate(TEMPI_BPM)
    ]


def write_nights(lake: Lake, nights: list[Night], seed: int = 0) -> list[str]:
    """Write the rows of these ingests in one transaction; the identifiers of the runs."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[dict]] = {name: [] for name in BY_NAME}
    runs = [_write_ingest(night, random, rows) for night in nights]
    with lake.transaction("simulated nights") as change:
        for name, found in rows.items():
            change.insert(name, BY_NAME[name].make_rows(found))
    return runs


def write_nightly(lake: Lake, started_at: datetime, message: str | None = None) -> str:
    """Write a run of the flow nightly; one that completed has built the indexes."""
    run = Run("nightly", {}, "0.1.0", started_at)
    if message is None:
        refresh_indexes(lake)
    with lake.transaction("simulated nightly") as change:
        row = _run_row(run, started_at + timedelta(minutes=4), message, Counts())
        change.upsert("runs", BY_NAME["runs"].make_rows([row]))
        change.connection.execute("UPDATE index_versions SET built_at = least(built_at, ?)", [row["ended_at"]])
    return run.run_id


def _write_ingest(night: Night, random: np.random.Generator, rows: dict[str, list[dict]]) -> str:
    run = Run("ingest", {"sources": [f"/music/{night.corpus}"], "corpus": None}, "0.1.0", night.started_at)
    faults = int(random.binomial(night.files, night.faulty))
    tracks = [_write_track(night, run, place, random, rows) for place in range(night.files - faults)]
    failed = [_write_reject(night, run, place, random, rows) for place in range(faults)]
    busy_s = sum(seconds for _, seconds in tracks) / 2
    counts = Counts(
        new=len(tracks),
        unchanged=int(random.integers(300, 400)),
        duplicate=1,
        rejected=failed.count(False),
        failed=failed.count(True),
        audio_s=sum(duration_s for duration_s, _ in tracks),
    )
    rows["runs"].append(_run_row(run, night.started_at + timedelta(seconds=busy_s + 20), night.message, counts))
    return run.run_id


def _run_row(run: Run, ended_at: datetime, message: str | None, counts: Counts) -> dict:
    return {
        "run_id": run.run_id,
        "flow": run.flow,
        "parameters": json.dumps(run.parameters),
        "started_at": run.started_at,
        "ended_at": ended_at,
        "state": "failed" if message else "completed",
        "message": message,
        "tracks_planned": counts.new + counts.rejected + counts.failed,
        "code_version": run.code_version,
    } | counts.to_columns()


def _write_track(
    night: Night, run: Run, place: int, random: np.random.Generator, rows: dict[str, list[dict]]
) -> tuple[float, float]:
    """The track's length and the time spent on it, in seconds."""
    track_id = make_id("track", run.run_id, place)
    base = {"corpus": night.corpus, "track_id": track_id}
    committed_at = night.started_at + timedelta(seconds=1 + place)
    duration_s = float(random.lognormal(5.3, 0.3))
    mean_bpm, spread_bpm = TEMPI_BPM[night.corpus]
    beat = random.random() > 0.08
    key = KEYS[random.integers(len(KEYS))]
    genre = GENRES[night.corpus][random.integers(len(GENRES[night.corpus]))]
    rows["tracks"].append(
        base
        | {
            "file_hash": f"{random.bytes(32).hex()}",
            "duration_s": duration_s,
            "codec": "mp3",
            "title": f"Take {place + 1}",
            "artist": f"Artist {random.integers(40)}",
            "tempo_bpm": float(random.normal(mean_bpm, spread_bpm)) * night.tempo_ratio if beat else None,
            "tempo_confidence": float(random.beta(6, 2)) if beat else None,
            "time_signature": "4/4" if beat else None,
            "detected_key": key,
            "key_confidence": float(random.beta(5, 3)) if key else None,
            "detected_genre": genre,
            "quality_score": float(random.beta(9, 2)),
            "privacy_setting": "public",
            "upload_date": committed_at,
        }
    )
    rows["files"].append(
        base
        | {
            "uri": f"file:///music/{night.corpus}/{night.started_at:%Y-%m-%d}/{place:03d}.mp3",
            "size_bytes": int(duration_s * 24_000),
            "modified_at": night.started_at,
            "run_id": run.run_id,
        }
    )
    if beat:
        rows["patterns"].append(
            base
            | {
                "pattern_id": make_id("pattern", track_id),
                "section_id": make_id("section", track_id),
                "instrument_type": "drums",
                "fingerprint": (random.random(DIMENSIONS) + 0.01).astype(np.float32).tolist(),
                "created_at": committed_at,
            }
        )
    spent_s = 0.0
    for stage, seconds in SECONDS_AN_AUDIO_HOUR.items():
        stage_s = seconds * duration_s / 3600 * night.slower.get(stage, 1.0) * float(random.lognormal(0, 0.15))
        spent_s += stage_s
        rows["track_stages"].append(
            base
            | {
                "stage": stage,
                "stage_version": f"{stage}-1",
                "backend": "midime",
                "seconds": stage_s,
                "peak_rss_mb": float(random.normal(900, 40)),
                "run_id": run.run_id,
            }
        )
    return duration_s, spent_s


def _write_reject(night: Night, run: Run, place: int, random: np.random.Generator, rows: dict[str, list[dict]]) -> bool:
    """Whether it was the analysis that failed."""
    reason, stage, failed, message = FAULTS[min(2, int(random.exponential(0.7)))]
    rows["rejects"].append(
        {
            "corpus": night.corpus,
            "uri": f"file:///music/{night.corpus}/{night.started_at:%Y-%m-%d}/bad%20{place:03d}.mp3",
            "file_hash": random.bytes(32).hex(),
            "size_bytes": 4096,
            "stage": stage,
            "stage_version": f"{stage}-1",
            "reason": reason,
            "message": message,
            "failed": failed,
            "attempts": 2 if failed else 1,
            "run_id": run.run_id,
            "rejected_at": night.started_at + timedelta(seconds=60 + place),
        }
    )
    return failed


def bad_night(started_at: datetime) -> list[Night]:
    """One night in which everything goes wrong: a poisoned corpus, a slow stage, and tempi twice as fast."""
    return [
        Night("library", started_at, 36, faulty=0.8, message="29 of 36 new files were rejected or failed."),
        Night("live", started_at + timedelta(minutes=30), 36, slower={"separate": 4.0}),
        Night("loops", started_at + timedelta(minutes=60), 36, tempo_ratio=2.0),
    ]


def write_month(lake: Lake, morning: datetime) -> None:
    """Thirty calm nights, and before this morning a bad one, whose nightly run failed."""
    write_nights(lake, calm_month(morning - timedelta(hours=30)))
    write_nightly(lake, morning - timedelta(hours=28))
    write_nights(lake, bad_night(morning - timedelta(hours=6)), seed=1)
    write_nightly(lake, morning - timedelta(hours=2), "build indexes: OSError: [Errno 28] No space left on device")


if __name__ == "__main__":
    with Lake.open(sys.argv[1]) as opened:
        write_month(opened, datetime.now(UTC))
