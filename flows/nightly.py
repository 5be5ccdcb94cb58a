"""The flow `nightly`: from the tracks of the day to songs, indexes and a tidy lake. What it does is in catalog/."""

from prefect import flow

from catalog.index import IndexParams
from catalog.lake import Lake
from catalog.neighbours import NeighbourParams
from flows.crash import tell_crash
from flows.record import record_run
from flows.report import name_dated
from flows.settings import Settings
from tasks.nightly import build_indexes, compact_lake, find_duplicates, group_tracks


@flow(name="nightly", flow_run_name=name_dated, on_crashed=[tell_crash])
def nightly(lake: str | None = None, min_similarity: float | None = None, neighbours: int | None = None) -> dict:
    """Group duplicates, rebuild the indexes and the similarity table, tidy the lake, and publish the dashboard.

    A station that finds nothing changed writes nothing; one that fails leaves what the last night published.

    Args:
        lake: The lake's folder.
        min_similarity: Least similarity that is kept.
        neighbours: Neighbours that are kept for each pattern.

    Returns:
        What each station counted: matches, songs, same, excerpt, unique, indexes, similarities and files; and
        where the dashboard lies.
    """
    chosen = {"lake": lake, "min_similarity": min_similarity, "neighbours": neighbours}
    settings = Settings(**{name: value for name, value in chosen.items() if value is not None})
    place = {"lake": str(settings.lake), "catalog": settings.catalog}
    duplicates = settings.duplicate_params()
    similarities = IndexParams(neighbours=NeighbourParams(settings.neighbours, settings.min_similarity))
    with Lake.open(**place) as opened, opened.at_work(), record_run(opened, "nightly", chosen, settings) as run:
        matches = find_duplicates(**place, params=duplicates) if settings.find_duplicates else {}
        songs = group_tracks(**place, run_id=run.run_id, params=duplicates)
        indexes = build_indexes(**place, params=similarities)
        files = compact_lake(**place)
    return {
        "run_id": run.run_id,
        "matches": matches.get("matches"),
        **{name: songs[name] for name in ("songs", "same", "excerpt", "unique")},
        "indexes": indexes,
        "similarities": sum(index["similarities"] for index in indexes),
        "files": files["files_after"],
        "dashboard": run.summary["dashboard"],
    }
