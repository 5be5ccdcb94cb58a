"""Listening and looking: one clip analysed, patterns searched, heard, written and drawn."""

import re
import sys
from math import floor
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.console import (
    JsonOption,
    LakeOption,
    StemsOption,
    check_models,
    check_output,
    notes,
    open_reader,
    print_json,
    print_rows,
    read_settings,
    refuse,
)


def analyze(
    file: Annotated[Path, typer.Argument(help="The audio file.", metavar="FILE")],
    start: Annotated[float, typer.Option(min=0, help="Start of the part, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(min=0, help="End of the part, in seconds. \\[default: the end]")] = None,
    instrument: Annotated[str, typer.Option(help="Whose pattern is wanted: drums or bass.")] = "drums",
    stems: StemsOption = None,
    lake: LakeOption = None,
) -> None:
    """Analyse one clip and print what was heard as JSON. Nothing is written."""
    from flows.analyze import analyze_clip

    _check_instrument(instrument)
    if not file.exists():
        refuse(f"There is no file {file}.")
    if end is not None and end <= start:
        refuse(f"The part ends at {end:g} s, before it starts at {start:g} s.")
    settings = read_settings(lake, stems)
    check_models(settings)
    answer = analyze_clip(file, settings, start, end, instrument)
    print_json(answer)
    if answer["status"] != "success":
        sys.exit(1)


def search(
    query: Annotated[
        str,
        typer.Argument(
            help="A pattern's identifier, an audio or MIDI file, or steps such as 'kick=x... snare=..x.', 'bass=0..7'.",
            metavar="PATTERN_OR_FILE",
        ),
    ],
    instrument: Annotated[
        str, typer.Option(help="Whose pattern of an audio file, drums or bass; steps and patterns tell by themselves.")
    ] = "drums",
    min_similarity: Annotated[
        float, typer.Option(min=-1, max=1, help="Least similarity: 1 is the same, 0 has nothing in common.")
    ] = 0.7,
    limit: Annotated[int, typer.Option(min=1, help="Most sections in the answer.")] = 20,
    tempo: Annotated[
        str | None, typer.Option(help="Range of tempi in beats a minute, such as 80:140. \\[default: any]")
    ] = None,
    genre: Annotated[str | None, typer.Option(help="Genres, separated by commas. \\[default: any]")] = None,
    key: Annotated[str | None, typer.Option(help='Key, such as "C minor". \\[default: any]')] = None,
    time_signature: Annotated[str | None, typer.Option(help="Meter, such as 3/4. \\[default: any]")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus that the tracks are of. \\[default: all]")] = None,
    privacy: Annotated[str | None, typer.Option(help="public, or private for one's own private tracks alone.")] = None,
    user: Annotated[
        str | None, typer.Option(help="Who asks: sees the private tracks of this user as well. \\[env: MIDIME_USER]")
    ] = None,
    lake: LakeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find patterns like a given one, grouped by their songs."""
    from flows.search import find_similar

    _check_instrument(instrument)
    if key is not None and not re.fullmatch(r"[A-G]#? (major|minor)", key, re.IGNORECASE):
        refuse(f'The key {key} is not of the form "C minor" or "F# major"; black keys are written as sharps.')
    settings = read_settings(lake)
    answer = find_similar(
        query,
        settings,
        instrument=instrument,
        min_similarity=min_similarity,
        limit=limit,
        tempo=_read_range(tempo),
        genres=genre.split(",") if genre else None,
        key=key,
        time_signature=time_signature,
        corpus=corpus,
        privacy=privacy,
        user_id=user or settings.user,
    )
    print_json(answer) if as_json else _print_matches(answer)


def preview(
    pattern: Annotated[str, typer.Argument(help="The pattern's identifier.", metavar="PATTERN_ID")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .wav, .flac, .ogg or .mp3 file to write.")],
    lake: LakeOption = None,
    user: Annotated[
        str | None, typer.Option(help="Who asks: private tracks are for their owner. \\[env: MIDIME_USER]")
    ] = None,
) -> None:
    """Write at most 15 seconds of the section that a pattern was folded from."""
    from flows.search import write_preview

    check_output(output, ".wav", ".flac", ".ogg", ".mp3")
    settings = read_settings(lake)
    seconds = write_preview(pattern, output, settings, user or settings.user)
    notes.print(f"{output}: {seconds:.1f} s")


def midi(
    pattern: Annotated[str, typer.Argument(help="The pattern's identifier.", metavar="PATTERN_ID")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .mid file to write.")],
    lake: LakeOption = None,
    quantise: Annotated[
        bool, typer.Option("--quantise", help="Move the notes to the sixteenths of their bars.")
    ] = False,
    user: Annotated[
        str | None, typer.Option(help="Who asks: private tracks are for their owner. \\[env: MIDIME_USER]")
    ] = None,
) -> None:
    """Write the MIDI file of a pattern: as it was played, or quantised."""
    from flows.search import write_midi

    check_output(output, ".mid", ".midi")
    settings = read_settings(lake)
    write_midi(pattern, output, settings, user or settings.user, quantise)
    notes.print(f"{output}")


def plot(
    ids: Annotated[
        list[str], typer.Argument(help="A track's identifier, or those of patterns.", metavar="TRACK_ID|PATTERN_ID…")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png, .svg or .pdf file to write.")],
    lake: LakeOption = None,
) -> None:
    """Draw a track (its sections, its hits and a few bars), or the grids of patterns side by side."""
    from catalog.plot import plot_patterns, plot_track
    from flows.search import read_id

    check_output(output, ".png", ".svg", ".pdf")
    wanted = [read_id(text) for text in ids]
    with open_reader(read_settings(lake)) as connection:
        is_track = connection.execute("SELECT count(*) FROM tracks WHERE track_id = ?", wanted[:1]).fetchone()[0]
        if is_track and len(wanted) > 1:
            refuse("One track makes a picture: draw several patterns side by side, or a single track.")
        if is_track:
            plot_track(connection, wanted[0], output)
        else:
            plot_patterns(connection, wanted, output)
    notes.print(f"{output}")


def _check_instrument(instrument: str) -> None:
    from catalog.vectors import PARTS

    if instrument not in PARTS:
        refuse(f"There are no patterns of {instrument}, only of {' and '.join(PARTS)}.")


def _read_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        refuse(f"The tempo range {text} is not of the form 80:140.")
    return low, high


def _print_matches(answer: dict) -> None:
    info = answer["query_info"]
    if not answer["results"]:
        shown = floor(100 * info["nearest"]) / 100 if info["nearest"] is not None else None
        hint = "" if shown is None else f" With --min-similarity {shown:g} it is shown."
        notes.print(info["reason"] + hint, markup=False)
    rows = [
        [
            f"{section['similarity_score']:.3f}",
            section.get("title") or "",
            section.get("artist") or "",
            section["section"],
            "" if section["tempo"] is None else f"{section['tempo']:.1f}",
            section["key"] or "",
            section["genre"] or "",
            section["pattern_id"],
        ]
        for song in answer["results"]
        for section in song["sections"]
    ]
    if rows:
        print_rows(["similarity", "title", "artist", "section", "bpm", "key", "genre", "pattern"], rows)
        matches, songs = answer["total_matches"], len(answer["results"])
        notes.print(f"{matches} match{'es' * (matches > 1)} in {songs} song{'s' * (songs > 1)}")
    if "advice" in info:
        notes.print(info["advice"], style="yellow", markup=False)
