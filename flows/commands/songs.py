"""Which tracks are one song: why the lake thinks so, and how a person decides otherwise."""

from typing import Annotated

import typer

from flows.commands.console import (
    JsonOption,
    LakeOption,
    open_reader,
    open_writer,
    out,
    print_json,
    print_rows,
    read_settings,
)

First = Annotated[str, typer.Argument(help="A track's identifier.", metavar="TRACK")]
Second = Annotated[str, typer.Argument(help="Another track's identifier.", metavar="TRACK")]
Note = Annotated[str | None, typer.Option(help="Why, for those who ask later.")]


def why(first: First, second: Second, lake: LakeOption = None, as_json: JsonOption = False) -> None:
    """Explain why two tracks are one song or two: the evidence, with figures, and a person's word."""
    from catalog.verdicts import explain_pair
    from flows.search import read_id

    settings = read_settings(lake)
    with open_reader(settings) as connection:
        explained = explain_pair(connection, read_id(first), read_id(second), settings.duplicate_params())
    _print_explanation(explained, as_json)


def merge(
    first: First, second: Second, note: Note = None, lake: LakeOption = None, as_json: JsonOption = False
) -> None:
    """Say that two tracks are one song, for good: no run overrules it."""
    _decide(first, second, "merge", note, lake, as_json)


def split(
    first: First,
    second: Second,
    note: Note = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was said of the two.")] = False,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that two tracks are not one song, for good: no run overrules it."""
    _decide(first, second, None if undo else "split", note, lake, as_json)


def _decide(first: str, second: str, decision: str | None, note: str | None, lake, as_json: bool) -> None:
    from catalog.verdicts import decide_pair, withdraw_word
    from flows.search import read_id

    settings = read_settings(lake)
    open_reader(settings).close()
    with open_writer(settings) as opened:
        pair, params = (read_id(first), read_id(second)), settings.duplicate_params()
        explained = (
            decide_pair(opened, *pair, decision, note, params) if decision else withdraw_word(opened, *pair, params)
        )
    _print_explanation(explained, as_json)


def _print_explanation(explained, as_json: bool) -> None:
    if as_json:
        print_json(explained.to_dict())
        return
    print_rows(
        ["track", "title", "artist", "seconds", "relation", "song"],
        [
            [
                track.track_id,
                track.title,
                track.artist,
                None if track.duration_s is None else f"{track.duration_s:.1f}",
                track.relation,
                track.source_song_id,
            ]
            for track in explained.tracks
        ],
    )
    out.print(explained.verdict, markup=False, soft_wrap=True)
    for reason in explained.reasons:
        out.print(f"- {reason}", markup=False, soft_wrap=True)
