"""What people see while tracks are analysed: on the dashboard, as a bar on the terminal, and in Prefect."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from catalog.progress import Teller
from tasks.plan import Plan
from tasks.track import TrackResult

TELL_EVERY_S = 5.0


@contextmanager
def show_progress(plan: Plan, teller: Teller, show_bar: bool) -> Iterator[Callable[[TrackResult], None]]:
    """Give a function to call with each result; it may be called from any thread."""
    with ExitStack() as stack:
        listeners = [partial(_count, teller), _report_progress(len(plan.jobs))]
        if show_bar:
            listeners.append(stack.enter_context(_draw_bar(len(plan.jobs))))

        def on_result(result: TrackResult) -> None:
            for listener in listeners:
                listener(result)

        yield on_result


def _count(teller: Teller, result: TrackResult) -> None:
    """Tell the dashboard."""
    teller.count(analysed=int(result.analysis is not None), given_up=int(result.analysis is None))


def _report_progress(tracks: int) -> Callable[[TrackResult], None]:
    """Keep a progress artifact of the flow run up to date, at most once in a few seconds and at the end."""
    artifact = create_progress_artifact(0.0, description=f"{tracks} tracks to analyse")
    lock = threading.Lock()
    state = {"done": 0, "told_at": time.monotonic()}

    def on_result(_: TrackResult) -> None:
        with lock:
            state["done"] += 1
            if state["done"] < tracks and time.monotonic() - state["told_at"] < TELL_EVERY_S:
                return
            state["told_at"] = time.monotonic()
            done = state["done"]
        update_progress_artifact(artifact, 100 * done / tracks, description=f"{done} of {tracks} tracks")

    return on_result


@contextmanager
def _draw_bar(tracks: int) -> Iterator[Callable[[TrackResult], None]]:
    """Tracks done and rejected, hours of audio and × real time, on the terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()
    heard = {"audio_s": 0.0, "rejected": 0}
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(
            "tracks · {task.fields[rejected]} rejected"
            " · {task.fields[hours]:.2f} h · {task.fields[speed]:.0f}× real time"
        ),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("Analysing", total=tracks, rejected=0, hours=0.0, speed=0.0)

        def on_result(result: TrackResult) -> None:
            heard["rejected"] += result.analysis is None
            heard["audio_s"] += result.analysis.duration_s if result.analysis else 0.0
            speed = heard["audio_s"] / (time.monotonic() - started)
            progress.update(bar, advance=1, rejected=heard["rejected"], hours=heard["audio_s"] / 3600, speed=speed)

        yield on_result
