"""What the views cannot know: how far the runs at work are since their last commit, and which of them are dead."""

import copy
from collections.abc import Mapping
from pathlib import Path

import duckdb

from catalog.dashboard.panels import read_panels
from catalog.lost_runs import MESSAGE, describe_loss
from catalog.progress import Progress, read_beside_progress


def read_live(connection: duckdb.DuckDBPyConnection, lake: Path) -> dict:
    """The panels of a lake as it is now."""
    return add_progress(*read_beside_progress(lake, lambda: read_panels(connection)))


def add_progress(panels: dict, alive: Mapping[str, Progress]) -> dict:
    """The panels with what has been done up to now; runs that stand as running and are not alive are lost.

    Args:
        panels: The answers of `read_panels`; they stay as they are.
        alive: The runs at work, read beside the panels.
    """
    live = copy.copy(panels)
    live["panels"] = dict(panels["panels"])
    runs, running, alarms = (_take(live["panels"], name) for name in ("runs", "running", "alarms"))
    lost = {}
    for place, run in enumerate(runs):
        if run["state"] == "running" and run["run_id"] not in alive:
            run |= {"state": "lost", "message": MESSAGE}
            lost[place] = run
    for row in running:
        progress = alive.get(runs[row["run_id"]]["run_id"]) if row["run_id"] is not None else None
        if progress:
            _follow(row, progress)
    for place, run in lost.items():
        told = {"kind": "lost run", "severity": "alarm", "run_id": place, "corpus": None, "is_open": True}
        told |= {"raised_at": run["started_at"], "message": describe_loss(run["flow"], run["corpora"])}
        alarms.insert(0, told)
    _put(live["panels"], "runs", runs)
    _put(live["panels"], "running", [row for row in running if row["run_id"] not in lost])
    _put(live["panels"], "alarms", [row for row in alarms if row["kind"] != "silent run" or row["run_id"] not in lost])
    return live


def _follow(row: dict, progress: Progress) -> None:
    """Bring a row of the panel `running` up to date."""
    row["tracks_analysed"] = max(row["tracks_analysed"], progress.analysed)
    row["tracks_given_up"] = max(row["tracks_given_up"], progress.given_up)
    done = row["tracks_analysed"] + row["tracks_given_up"]
    if row["tracks_planned"] is None or not done:
        return
    row["tracks_left"] = max(0, row["tracks_planned"] - done)
    told_ms = round(progress.told_at * 1000)
    row["left_s"] = (told_ms - row["started_at"]) / 1000 / done * row["tracks_left"]
    row["expected_end_at"] = told_ms + round(1000 * row["left_s"])


def _take(panels: dict, name: str) -> list[dict]:
    columns, rows = panels[name]["columns"], panels[name]["rows"]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _put(panels: dict, name: str, rows: list[dict]) -> None:
    columns = panels[name]["columns"]
    panels[name] = {"columns": columns, "rows": [[row[column] for column in columns] for row in rows]}
