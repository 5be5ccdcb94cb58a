"""How surely copies are found and other songs left apart, on the evaluation set `duplicates`.

The set's own script makes the copies (it needs sox and ffmpeg); their fingerprints are written into a lake, grouped as
nightly does it, and scored by score_duplicates.py. Excerpts and stronger changes are then asked of that lake, as
`midime analyze` does it. Music of Debian's games is in the lake beside them, as songs that are nobody's copy, where the
packages wesnoth-1.16-music and supertux-data are installed or their folders are named. Run as a script with the
evaluation folder, and those of more music.
"""

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from catalog.duplicates import find_changed_of, find_duplicates_of, refresh_matches
from catalog.lake import Lake
from catalog.matching.evidence import Match
from catalog.songs import judge_match, refresh_song_groups
from catalog.tables import FINGERPRINTS, TRACKS, make_id
from tasks.audio import decode_blocks
from tasks.errors import TrackError
from tasks.models.pulse import PulseStream, combine_pulses
from tasks.music.beatchroma import fold_beats
from tasks.music.chromaprint import AcousticFingerprint, ChromaprintStream
from tasks.music.key import Chroma, ChromaStream
from tasks.music.onsets import FluxStream
from tasks.music.peaks import PeakStream
from tasks.music.signals import LogMel, MelStream
from tests.accuracy.broken import run_script

NEEDS = ("ffmpeg", "sox")
GAMES = (Path("/usr/share/games/wesnoth/1.16/data/core/music"), Path("/usr/share/games/supertux2/music"))
Heard = Mapping[Path, Sequence[AcousticFingerprint]]


CHANGES = {
    "speed +10 %": ("speed", "1.1", "rate", "44100"),
    "speed -10 %": ("speed", "0.9", "rate", "44100"),
    "tempo +10 %": ("tempo", "-m", "1.1"),
    "tempo -10 %": ("tempo", "-m", "0.9"),
    "pitch +2 semitones": ("pitch", "200"),
    "pitch -2 semitones": ("pitch", "-200"),
}
EXCERPT_S = 5
EXCERPT_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the length


@dataclass(frozen=True)
class Clip:
    """What is asked of the lake: a file, how it was made, and the song that it is of."""

    path: Path
    change: str
    song: str


@dataclass(frozen=True)
class Grouped:
    """What the lake makes of the files.

    Attributes:
        song: Of each file.
        versions: Pairs of files that are judged to be versions of one song, in order.
    """

    song: dict[Path, str]
    versions: set[tuple[Path, Path]]


def run(eval_path: Path, others: Iterable[Path] = GAMES) -> dict:
    """Make the copies, group them among other music, and score the groups.

    Returns:
        Recall for each change, by tier, and of copies among each other; files of different songs that were merged;
        true versions found (their songs are linked as versions) and merged, and pairs of different songs called
        versions; how many files of each. Of the
        clips, how many are recognised for each change, and answers that name another song.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "copies"
        run_script(eval_path / "duplicates/make_copies.py", eval_path / "duplicates", folder)
        copies = sorted(path for path in folder.iterdir() if path.is_file())
        heard = hear_all([*copies, *(path for music in others for path in sorted(music.glob("**/*.ogg")))])
        clips = make_clips(eval_path, Path(scratch) / "clips")
        asked = hear_all([clip.path for clip in clips])
        return score(heard, clips, asked, Path(f"{folder}.truth"), eval_path)


def hear_all(files: Sequence[Path]) -> dict[Path, list[AcousticFingerprint]]:
    """The fingerprints of all files that can be decoded."""
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        return {file: heard for file, heard in zip(files, workers.map(hear, files), strict=True) if heard}


def hear(file: Path) -> list[AcousticFingerprint]:
    """The three fingerprints of a file, whose stems are not separated; none of one that cannot be decoded."""
    prints, chroma, beats = (ChromaprintStream(), PeakStream()), ChromaStream(), BeatStream()
    try:
        for block in decode_blocks(file):
            for stream in (*prints, chroma, beats):
                stream.push(block)
    except TrackError:
        return []
    heard = chroma.finish()
    return [*(stream.finish() for stream in prints), fold_beats(heard, beats.finish(heard))]


class BeatStream:
    """Hears the beats of a mixture."""

    def __init__(self) -> None:
        self.mel, self.pulse, self.flux = MelStream(), PulseStream(), FluxStream()

    def push(self, block: np.ndarray) -> None:
        self.mel.push(block)
        self._hear(self.mel.drain())

    def finish(self, chroma: Chroma) -> np.ndarray:
        """When the beats fall, in seconds."""
        self._hear(self.mel.finish())
        return combine_pulses(self.pulse.finish(), None, self.flux.finish(), chroma).time_s

    def _hear(self, frames: LogMel) -> None:
        self.pulse.push(frames)
        self.flux.push(frames)


def make_clips(eval_path: Path, folder: Path) -> list[Clip]:
    """Excerpts of the originals, and copies that are changed more strongly than those of the set."""
    folder.mkdir(parents=True)
    clips = []
    for row in read_table(eval_path / "duplicates/originals.csv"):
        if row["copies"] != "yes":
            continue
        whole = folder / f"{row['id']}.wav"
        decode = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", eval_path / "duplicates" / row["file"]]
        subprocess.run([*decode, "-ar", "44100", whole], check=True)
        length_s = float(subprocess.run(["soxi", "-D", whole], check=True, capture_output=True, text=True).stdout)
        starts = [f"{share * (length_s - EXCERPT_S):.2f}" for share in EXCERPT_PLACES]
        effects = [*CHANGES.items()]
        effects += [(f"excerpt of {EXCERPT_S} s", ("trim", start, str(EXCERPT_S))) for start in starts]
        for place, (change, effect) in enumerate(effects):
            path = folder / f"{row['id']}.{place}.wav"
            subprocess.run(["sox", "-V1", whole, path, *effect], check=True)
            clips.append(Clip(path, change, row["group"]))
        whole.unlink()
    return clips


def score(heard: Heard, clips: Sequence[Clip], asked: Heard, truth: Path, eval_path: Path) -> dict:
    """Group the files in a lake, ask it for the clips, and compare with the truth."""
    copies = {row["file"]: row for row in read_table(truth / "files.csv")}
    with fill_lake(heard) as (lake, path_of):
        grouped = group(lake, path_of)
        answers = {clip: ask(lake, asked[clip.path]) for clip in clips}
    found = defaultdict(list)
    wrong = []
    for clip, tracks in answers.items():
        titles = {name_song(path_of[track], copies) for track in tracks}
        found[clip.change].append(clip.song in titles)
        wrong += [(clip, title) for title in titles if are_other_songs(clip.song, title)]
    title = {path: name_song(path, copies) for path in heard}
    members = defaultdict(list)
    for path, song in grouped.song.items():
        members[song].append(path)
    merged = {pair for paths in members.values() for pair in combinations(sorted(paths), 2)}
    false = [pair for pair in merged if are_other_songs(title[pair[0]], title[pair[1]])]
    false_versions = [pair for pair in grouped.versions if are_other_songs(title[pair[0]], title[pair[1]])]
    song = {path.name: song for path, song in grouped.song.items()}
    linked = {frozenset(grouped.song[path] for path in pair) for pair in grouped.versions}
    true_versions = [
        frozenset((song[row["file_a"]], song[row["file_b"]]))
        for row in read_table(truth / "pairs.csv")
        if row["relation"] == "version"
    ]
    groups = [{"file": path.name, "group": song} for path, song in grouped.song.items() if path.name in copies]
    return {
        "copies": len(groups),
        "others": len(heard) - len(groups),
        **compare(groups, truth, eval_path),
        "false_merges": len(false),
        "false_merges_are": [[str(path) for path in pair] for pair in sorted(false)[:20]],
        "versions": len(true_versions),
        "versions_found": sum(len(pair) == 2 and pair in linked for pair in true_versions),
        "versions_merged": sum(len(pair) == 1 for pair in true_versions),
        "false_versions": len(false_versions),
        "false_versions_are": [[str(path) for path in pair] for pair in sorted(false_versions)[:20]],
        "recall_of_clips": {change: [sum(hits) / len(hits), len(hits)] for change, hits in found.items()},
        "wrong_answers": len(wrong),
        "wrong_answers_are": [[clip.path.name, clip.change, title] for clip, title in wrong[:20]],
    }


@contextmanager
def fill_lake(heard: Heard) -> Iterator[tuple[Lake, dict[str, Path]]]:
    """A lake with these fingerprints, matched and grouped as nightly does it, and the file of each track."""
    track = {path: make_id("track", str(path)) for path in heard}
    path_of = {id_: path for path, id_ in track.items()}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tracks = [
        {"corpus": "c", "track_id": track[path], "upload_date": start + timedelta(seconds=place)}
        for place, path in enumerate(heard)
    ]
    rows = [
        {"corpus": "c", "track_id": track[path]}
        | {"algorithm": found.algorithm, "items": found.items, "hop_s": found.hop_s}
        for path, fingerprints in heard.items()
        for found in fingerprints
    ]
    with TemporaryDirectory() as scratch, Lake.open(Path(scratch) / "lake") as lake:
        with lake.transaction("test") as change:
            change.insert("tracks", TRACKS.make_rows(tracks))
            change.insert("fingerprints", FINGERPRINTS.make_rows(rows))
        refresh_matches(lake)
        refresh_song_groups(lake, None)
        yield lake, path_of


def group(lake: Lake, path_of: Mapping[str, Path]) -> Grouped:
    """What the lake makes of its files."""
    songs = lake.query("SELECT track_id, source_song_id FROM song_groups").to_pylist()
    matches = [Match(**row) for row in lake.query("FROM matches").to_pylist()]
    versions = [match for match in matches if judge_match(match) == "version"]
    return Grouped(
        {path_of[row["track_id"]]: row["source_song_id"] for row in songs},
        {tuple(sorted((path_of[match.track_id_1], path_of[match.track_id_2]))) for match in versions},
    )


def ask(lake: Lake, heard: Sequence[AcousticFingerprint]) -> list[str]:
    """The tracks that are the same song as a clip."""
    chromaprint, peaks, _ = heard
    found = find_duplicates_of(lake.connection, chromaprint.items, chromaprint.hop_s, lake.folder)
    found = found or find_changed_of(lake.connection, peaks.items, lake.folder)
    return [song.track_id for song in found]


def name_song(path: Path, copies: Mapping[str, Mapping[str, str]]) -> str:
    """The song of a file; a game's own file has the song of the copies that were made from it."""
    if path.name in copies:
        return copies[path.name]["group"]
    return next((row["group"] for row in copies.values() if row["origin"].endswith(f"_{path.stem}")), str(path))


def are_other_songs(first: str, second: str) -> bool:
    """Whether two files have no song in common; a medley has two, which its name does not tell."""
    return first != second and "medley" not in (first, second)


def compare(groups: Sequence[Mapping], truth: Path, eval_path: Path) -> dict:
    """What the set's own scorer says: precision and recall."""
    with TemporaryDirectory() as scratch:
        predictions, result = Path(scratch) / "groups.json", Path(scratch) / "scores.json"
        predictions.write_text(json.dumps(groups))
        run_script(eval_path / "score/score_duplicates.py", truth, predictions, "--json", result)
        scores = json.loads(result.read_text())
    tables = ("recall_to_original", "recall_by_tier", "recall_copy_to_copy")
    recall = {table: {name: [row["recall"], row["n"]] for name, row in scores[table].items()} for table in tables}
    return {"precision": scores["precision"], **recall}


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), [*map(Path, sys.argv[2:])] or GAMES), indent=1))
