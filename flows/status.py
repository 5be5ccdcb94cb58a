"""How things stand, for `midime status`: each line is looked up, none is assumed."""

from collections.abc import Collection
from pathlib import Path

import duckdb

from catalog.connection import connect, one_snapshot, read_arrow
from catalog.errors import CatalogError
from catalog.lost_runs import describe_loss, find_lost_runs
from catalog.progress import read_beside_progress
from flows.settings import Settings

VIEWS = {
    "totals": "FROM lake_totals",
    "indexes": "FROM index_health ORDER BY instrument_type",
    "runs": (
        "SELECT run_id, flow, array_to_string(corpora, ', ') AS corpora, state,"
        " strftime(started_at, '%Y-%m-%d %H:%M UTC') AS started_at, round(wall_s) AS seconds,"
        " files_seen, files_new, files_rejected, files_failed FROM run_history ORDER BY started_at DESC LIMIT 5"
    ),
    "alarms": "SELECT message FROM alarms WHERE is_open ORDER BY severity, raised_at DESC",
}


def read_status(settings: Settings) -> dict:
    """The health of the lake, Prefect, Dask and the models, what is wrong, and the last runs."""
    return _read_lake(settings) | {
        "prefect": _read_prefect(),
        "dask": settings.dask or f"local, {settings.workers} workers",
        "models": _read_models(settings),
    }


def _read_lake(settings: Settings) -> dict:
    try:
        connection = connect(settings.lake, settings.catalog)
    except CatalogError as error:
        return {"lake": str(error), "alarms": [], "index": "none", "runs": []}
    with connection:
        found, alive = read_beside_progress(settings.lake, lambda: _read_views(connection))
    (total,) = found["totals"]
    lost = {run["run_id"]: run for run in found["running"] if run["run_id"] not in alive}
    return {
        "lake": f"{settings.lake}: {total['tracks']} tracks, {total['audio_h']:.2f} h, "
        f"{total['patterns']} patterns, snapshot {found['snapshot']}",
        "alarms": [describe_loss(run["flow"], run["corpora"]) for run in lost.values()]
        + [alarm["message"] for alarm in found["alarms"]],
        "index": "; ".join(map(_describe_index, found["indexes"])) or "none yet: there are no patterns",
        "runs": [_name_state(run, lost) for run in found["runs"]],
    }


def _read_views(connection: duckdb.DuckDBPyConnection) -> dict:
    with one_snapshot(connection) as snapshot:
        answers = {name: read_arrow(connection, sql).to_pylist() for name, sql in VIEWS.items()}
        return answers | {"running": find_lost_runs(connection, alive=()), "snapshot": snapshot}


def _name_state(run: dict, lost: Collection[str]) -> dict:
    run_id = run.pop("run_id")
    return run | ({"state": "lost"} if run_id in lost else {})


def _describe_index(index: dict) -> str:
    if index["index_version"] is None:
        return f"{index['instrument_type']}: none yet, run midime nightly"
    state = "holds every pattern" if index["fresh"] else f"behind the lake's {index['patterns']} patterns"
    return f"{index['instrument_type']}: {index['vectors']} vectors, {index['age_h']:.1f} h old, {state}"


def _read_prefect() -> str:
    import httpx
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        return "no server configured: each run starts its own"
    try:
        return f"{url}: {'healthy' if httpx.get(f'{url}/health', timeout=5).is_success else 'not healthy'}"
    except httpx.HTTPError as error:
        return f"{url}: does not answer ({type(error).__name__})"


def _read_models(settings: Settings) -> str:
    from tasks.models.registry import list_models

    models = list_models(Path(settings.track_params().model_path))
    return ", ".join(f"{model.name} {'installed' if model.path else 'not installed'}" for model in models)
