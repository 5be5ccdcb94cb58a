"""What a run leaves in Prefect: a table of its counts and a table of its rejects."""

import json
from datetime import datetime

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from catalog.lake import Lake


def publish_ingest(lake: Lake, run_id: str) -> dict:
    """Publish an ingest as Prefect artifacts; the run's row, with its rejects, fit for JSON."""
    row = lake.query("SELECT * FROM runs WHERE run_id = ?", [run_id]).to_pylist()[0]
    rejects = lake.query(
        "SELECT uri, stage, reason, message, attempts FROM rejects WHERE run_id = ? ORDER BY uri", [run_id]
    ).to_pylist()
    summary = {name: _plain(value) for name, value in row.items()} | {"rejects": rejects}
    summary["parameters"] = json.loads(row["parameters"])
    create_markdown_artifact(
        key="ingest-summary",
        description=f"Ingest {run_id}",
        markdown=(
            f"**{row['files_seen']} files seen** = {row['files_new']} new + {row['files_unchanged']} unchanged"
            f" + {row['files_duplicate']} duplicate + {row['files_rejected']} rejected"
            f" + {row['files_failed']} failed\n\n"
            f"{row['audio_s'] / 3600:.2f} hours of audio"
        ),
    )
    create_table_artifact(
        key="ingest-run",
        table=[{name: value for name, value in summary.items() if name not in ("rejects", "parameters")}],
    )
    if rejects:
        create_table_artifact(key="ingest-rejects", table=rejects)
    return summary


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
