"""What a run shows in Prefect: its name, its tags, a summary, its rejects, and a link to the dashboard."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from catalog.dashboard.page import publish_page
from catalog.lake import Lake

MOST_REJECTS = 1000  # in the artifact; the table `rejects` has them all
MOST_KNOWN = 1000


def name_ingest() -> str:
    """The name of a run, such as `ingest rock, jazz`."""
    parameters = flow_run.get_parameters()
    names = parameters.get("corpus") or ", ".join(Path(source).name for source in parameters["sources"]) or "rejects"
    return f"ingest {names}"


def name_dated() -> str:
    """The name of a run, such as `nightly 2026-11-24`."""
    return f"{flow_run.get_flow_name()} {(flow_run.get_scheduled_start_time() or datetime.now(UTC)):%Y-%m-%d}"


def tag_run(corpora: Iterable[str]) -> None:
    """Tag the flow run with its corpora, so that Prefect can filter by them."""
    context = FlowRunContext.get()
    if context and context.flow_run:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, tags=sorted({*context.flow_run.tags, *corpora}))


def publish_run(lake: Lake, run_id: str, dashboard_url: str | None, known: list[dict] | None = None) -> dict:
    """Publish a run that has ended as Prefect artifacts, and the dashboard; its row with its rejects, fit for JSON.

    Args:
        lake: The lake.
        run_id: The run.
        dashboard_url: Where the dashboard is served; by default the link leads to its file.
        known: The known songs among the run's tracks; None where nobody looked.
    """
    (row,) = lake.query(
        "SELECT * FROM run_history JOIN (SELECT run_id, parameters, audio_s FROM runs) USING (run_id) WHERE run_id = ?",
        [run_id],
    ).to_pylist()
    rejects = lake.query(
        "SELECT uri, stage, reason, message, attempts FROM rejects WHERE run_id = ? ORDER BY uri", [run_id]
    ).to_pylist()
    alarms = lake.query("SELECT message FROM alarms WHERE run_id = ? ORDER BY severity", [run_id])
    page = publish_page(lake.connection, lake.folder)
    link = dashboard_url or page.resolve().as_uri()
    summary = {name: _plain(value) for name, value in row.items()} | {"rejects": rejects, "dashboard": str(page)}
    summary["parameters"] = json.loads(row["parameters"])
    if row["flow"] == "ingest":
        summary |= count_known(known)
    flow = row["flow"]
    create_markdown_artifact(
        key=f"{flow}-summary",
        description=f"{flow} {run_id}",
        markdown=_write_summary(summary, alarms["message"].to_pylist(), link),
    )
    if rejects:
        create_table_artifact(key=f"{flow}-rejects", table=rejects[:MOST_REJECTS])
    if known:
        create_table_artifact(
            key=f"{flow}-known-songs", table=[write_known_track(track) for track in known[:MOST_KNOWN]]
        )
    create_link_artifact(key="dashboard", link=link, link_text="Dashboard")
    return summary


def count_known(known: list[dict] | None) -> dict:
    """The known songs as the summary of a run has them; None where nobody looked."""
    if known is None:
        return {"known_tracks": None, "known_sections": None, "known_songs": []}
    sections = sum(track["known_sections"] for track in known)
    return {"known_tracks": len(known), "known_sections": sections, "known_songs": known}


def write_known(tracks: int | None, sections: int | None) -> list[str]:
    """A sentence on the known songs, where there are any."""
    return [f"{tracks} of the tracks are known songs, with {sections} sections"] if tracks else []


def write_known_track(track: dict) -> dict:
    """A known song as a row of a table: the track, what it is to which, and its sections."""
    speed = f", at {100 * (track['speed_ratio'] - 1):+.1f} % speed" if abs(track["speed_ratio"] - 1) > 0.001 else ""
    sections = [f"{part['section']} {part['start_s']:.0f}–{part['end_s']:.0f} s" for part in track["sections"]]
    more = track["known_sections"] - len(sections)
    return {
        "track": track["title"] or track["uri"] or track["track_id"],
        "relation": f"{track['relation']}{speed}",
        "of": track["known_title"] or track["known_track_id"],
        "song": track["source_song_id"],
        "sections": ", ".join(sections) + (f" and {more} more" if more else ""),
    }


def _write_summary(row: dict, alarms: list[str], link: str) -> str:
    lines = [f"**{row['flow']} {row['state']}**" + (f": {row['message']}" if row["message"] else "")]
    if row["flow"] == "ingest":
        lines += [
            f"**{row['files_seen']} files seen** = {row['files_new']} new + {row['files_unchanged']} unchanged"
            f" + {row['files_duplicate']} duplicate + {row['files_rejected']} rejected"
            f" + {row['files_failed']} failed",
            *write_known(row["known_tracks"], row["known_sections"]),
            f"{row['audio_h']:.2f} hours of audio in {row['wall_s']:.0f} s",
        ]
    lines += [f"- {alarm}" for alarm in alarms]
    return "\n\n".join([*lines, f"[Dashboard]({link})"])


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
