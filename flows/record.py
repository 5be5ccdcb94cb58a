"""A run's row in `runs` and what it leaves in Prefect and on the dashboard, however the run ends."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version

from catalog.lake import Lake
from catalog.lost_runs import close_lost_runs
from catalog.progress import Teller, tell_progress
from flows.alerts import send_alerts
from flows.report import publish_run
from flows.settings import Settings
from flows.stop import STOPPED, STOPS
from tasks.commit import Counts, Run, Tally


@dataclass
class RecordedRun:
    """A run under way.

    Attributes:
        run: What it was asked to do.
        progress: Where it says what has ended, committed or not.
        tally: What became of its files so far.
        tracks_planned: How many contents it set out to analyse; None before the plan is made.
        known: The known songs among its tracks; None where nobody was to look.
        lost: Runs that were found dead when this one began.
        summary: Its row with its rejects, once it has ended.
    """

    run: Run
    progress: Teller
    tally: Tally = field(default_factory=Tally)
    tracks_planned: int | None = None
    known: list[dict] | None = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    summary: dict = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def counts(self) -> Counts:
        return self.tally.counts

    def note_plan(self, lake: Lake, tracks: int) -> None:
        """Write how much there is to do, so that readers can tell how much is left."""
        self.tracks_planned = tracks
        self.write(lake, self.run)

    def write(self, lake: Lake, run: Run) -> None:
        """Bring the row up to date."""
        run.write(lake, self.counts, self.tracks_planned)


@contextmanager
def record_run(lake: Lake, flow: str, parameters: dict, settings: Settings) -> Iterator[RecordedRun]:
    """Keep the row of a run from its start to its end; publish its report, the dashboard and its alarms.

    Runs before it that died without a word are closed first.

    An error inside ends the run as failed, with the error as its message; the wish to stop ends it as stopped. Both
    are raised again.
    """
    run = Run(flow, parameters, version("midime"))
    lost = close_lost_runs(lake)
    with tell_progress(lake.folder, run.run_id) as progress:
        recorded = RecordedRun(run, progress, lost=lost)
        recorded.write(lake, recorded.run)
        try:
            yield recorded
        except BaseException as error:
            stopped = isinstance(error, STOPS)
            recorded.write(lake, recorded.run.end("stopped", STOPPED) if stopped else recorded.run.fail(error))
            with suppress(Exception):  # the error to tell of is the first one
                _publish(lake, recorded, settings)
            raise
        recorded.write(lake, recorded.run.end("completed"))
        _publish(lake, recorded, settings)


def _publish(lake: Lake, recorded: RecordedRun, settings: Settings) -> None:
    recorded.summary = publish_run(lake, recorded.run_id, settings.dashboard_url, recorded.known)
    send_alerts(lake, settings, None if recorded.run.flow == "nightly" else [recorded.run_id, *recorded.lost])
