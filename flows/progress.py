"""What a person sees while tracks are analysed: tracks done, rejected, hours of audio and × real time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.plan import Plan
from tasks.track import TrackResult


@contextmanager
def show_progress(plan: Plan, show_bar: bool) -> Iterator[Callable[[TrackResult], None]]:
    """Give a function to call with each result; it may be called from any thread."""
    if not show_bar:
        yield lambda result: None
        return
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
        bar = progress.add_task("Analysing", total=len(plan.jobs), rejected=0, hours=0.0, speed=0.0)

        def on_result(result: TrackResult) -> None:
            heard["rejected"] += result.analysis is None
            heard["audio_s"] += result.analysis.duration_s if result.analysis else 0.0
            speed = heard["audio_s"] / (time.monotonic() - started)
            progress.update(bar, advance=1, rejected=heard["rejected"], hours=heard["audio_s"] / 3600, speed=speed)

        yield on_result
