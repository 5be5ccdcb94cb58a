"""How things stand, for `midime status`: each line is looked up, none is assumed."""

from collections.abc import Collection
from pathlib import Path

from catalog.errors import CatalogError
from catalog.lake import connect, newest_snapshot, read_arrow
from catalog.lost_runs import describe_loss, find_lost_runs
from catalog.progress import read_progress
from flows.settings import Settings


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
    before = read_progress(settings.lake)
    with connection:
        (total,) = read_arrow(connection, "FROM lake_totals").to_pylist()
        indexes = read_arrow(connection, "FROM index_health ORDER BY instrument_type").to_pylist()
        runs = read_arrow(
            connection,
            "SELECT run_id, flow, array_to_string(corpora, ', ') AS corpora, state,"
            " strftime(started_at, '%Y-%m-%d %H:%M UTC') AS started_at, round(wall_s) AS seconds,"
            " files_seen, files_new, files_rejected, files_failed FROM run_history ORDER BY started_at DESC LIMIT 5",
        )
        alarms = read_arrow(connection, "SELECT message FROM alarms WHERE is_open ORDER BY severity, raised_at DESC")
        lost = {run["run_id"]: run for run in find_lost_runs(connection, before | read_progress(settings.lake))}
        return {
            "lake": f"{settings.lake}: {total['tracks']} tracks, {total['audio_h']:.2f} h, "
            f"{total['patterns']} patterns, snapshot {newest_snapshot(connection)}",
            "alarms": [describe_loss(run["flow"], run["corpora"]) for run in lost.values()]
            + alarms["message"].to_pylist(),
            "index": "; ".join(map(_describe_index, indexes)) or "none yet: there are no patterns",
            "runs": [_name_state(run, lost) for run in runs.to_pylist()],
        }


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
