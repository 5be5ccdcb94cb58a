"""Upkeep: removing traces, compacting and verifying the lake."""

import sys
from typing import Annotated

import typer

from flows.commands.console import (
    JsonOption,
    LakeOption,
    notes,
    open_reader,
    open_writer,
    print_json,
    print_rows,
    read_settings,
    refuse,
)


def purge(
    track: Annotated[list[str] | None, typer.Option(help="A track's identifier; may be given several times.")] = None,
    user: Annotated[str | None, typer.Option(help="Every track of this owner.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    lake: LakeOption = None,
) -> None:
    """Remove every trace of tracks: rows, stems, MIDI, index entries and old snapshots. Cannot be undone."""
    if bool(track) == bool(user):
        refuse("Say whose traces: --track ID or --user ID.")
    from catalog.purge import purge_tracks

    settings = read_settings(lake)
    with open_reader(settings) as connection:
        ids = track or [
            row[0]
            for row in connection.execute(
                "SELECT track_id::VARCHAR FROM tracks WHERE user_id = ? ORDER BY ALL", [user]
            ).fetchall()
        ]
    if not ids:
        refuse(f"The lake holds no track of user {user}.")
    if not yes:
        typer.confirm(f"Remove {len(ids)} tracks for good?", abort=True, err=True)
    with open_writer(settings) as opened:
        removed = purge_tracks(opened, ids)
    searched = removed.pop("places_searched")
    print_rows(["removed from", "count"], [[name, count] for name, count in removed.items() if count])
    notes.print(f"{searched} files of the lake were searched: no trace is left.")


def compact(lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Merge small files, drop deleted rows, and forget snapshots older than a week."""
    settings = read_settings(lake)
    open_reader(settings).close()
    with open_writer(settings) as opened:
        done = opened.compact()
    print_json(done) if as_json else print_rows(
        ["what", "count"], [[name.replace("_", " "), n] for name, n in done.items()]
    )


def verify(
    repair: Annotated[bool, typer.Option("--repair", help="First remove what killed runs left behind.")] = False,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every committed file against its recorded hash and row count, and every reference between tables."""
    from catalog.lost_runs import close_lost_runs

    settings = read_settings(lake)
    open_reader(settings).close()
    with open_writer(settings) as opened:
        closed = len(close_lost_runs(opened)) if repair else 0
        removed = opened.repair() if repair else {}
        problems = opened.verify()
    if as_json:
        print_json({"removed": removed, "runs_closed": closed, "problems": problems})
    else:
        for kind, count in removed.items():
            notes.print(f"{count} {kind} removed that no snapshot refers to.")
        if closed:
            notes.print(f"{closed} {'run' if closed == 1 else 'runs'} closed as lost: the process was gone.")
        for problem in problems:
            notes.print(problem, style="red", markup=False)
        notes.print(f"{len(problems)} problems." if problems else "All files and references are sound.")
    if problems:
        sys.exit(1)
