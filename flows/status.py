"""How things stand, for `midime status`: each line is looked up, none is assumed."""

from pathlib import Path

from catalog.errors import CatalogError
from catalog.lake import connect, newest_snapshot
from flows.settings import Settings


def read_status(settings: Settings) -> dict:
    """The health of the lake, Prefect, Dask and the models, and the last runs."""
    return _read_lake(settings) | {
        "prefect": _read_prefect(),
        "dask": settings.dask or f"local, {settings.workers} workers",
        "models": _read_models(settings),
    }


def _read_lake(settings: Settings) -> dict:
    try:
        connection = connect(settings.lake, settings.catalog)
    except CatalogError as error:
        return {"lake": str(error), "index": None, "runs": []}
    with connection:
        tracks, hours, patterns = connection.execute(
            "SELECT (SELECT count(*) FROM tracks), (SELECT coalesce(sum(duration_s), 0) / 3600 FROM tracks),"
            " (SELECT count(*) FROM patterns)"
        ).fetchone()
        index = connection.execute(
            "SELECT index_version, vectors, built_at, round(epoch(now() - built_at) / 3600, 1)"
            " FROM index_versions ORDER BY built_at DESC LIMIT 1"
        ).fetchone()
        runs = connection.execute(
            "SELECT flow, state, started_at, ended_at, files_seen, files_new, files_rejected, files_failed"
            " FROM runs ORDER BY started_at DESC LIMIT 5"
        )
        names = [column[0] for column in runs.description]
        return {
            "lake": f"{settings.lake}: {tracks} tracks, {hours:.2f} h, {patterns} patterns, "
            f"snapshot {newest_snapshot(connection)}",
            "index": f"{index[0]}: {index[1]} vectors, {index[3]} h old" if index else "none yet: midime nightly",
            "runs": [dict(zip(names, row, strict=True)) for row in runs.fetchall()],
        }


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
