"""The flow `retry`: the rejects once more, although nothing about them has changed."""

from prefect import flow

from flows.crash import tell_crash
from flows.ingest import ingest
from flows.settings import StemChoice


@flow(name="retry", flow_run_name="retry {reason}", on_crashed=[tell_crash])
def retry(
    reason: str = "all",
    sources: list[str] | None = None,
    lake: str | None = None,
    stems: StemChoice | None = None,
    workers: int | None = None,
    dask: str | None = None,
    show_bar: bool = False,
) -> dict:
    """Try rejected and failed files again; those that fail again stay in `rejects`, with one attempt more.

    Args:
        reason: Only those with this reason, such as timeout; "all" for every one.
        sources: Only those in these folders; everywhere by default.
        lake, stems, workers, dask, show_bar: As for `ingest`.

    Returns:
        The run's row of the table `runs`, with the rejects of the run.
    """
    return ingest(sources or [], lake=lake, stems=stems, workers=workers, dask=dask, retry=reason, show_bar=show_bar)
