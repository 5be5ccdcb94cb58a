"""How well drum hits are found, on the evaluation sets `drums` and `stems`.

Hits come as in the pipeline: from the mixture and the drum stem that the separation makes of it. They are scored by
score_drums.py of the evaluation folder at 50 ms; hits a minute on music without drums are counted on the stems of
`stems` less their drums. Run as a script with the evaluation folder, it prints the figures.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import mir_eval
import numpy as np

from tasks.audio import read_audio
from tasks.models.drums import load_transcriber
from tasks.models.spleeter import load_separator
from tasks.music.drums import Hits
from tasks.music.signals import LogMel, Signal, compute_log_mel

INSTRUMENTS = ("kick", "snare", "hihat")  # those that the scorer knows
OTHERS = ("tom", "crash", "ride")
RIDES = ("gm51", "gm53", "gm59", "RDC", "RDB")  # in the words of the truth, beside those that say ride
GROUPS = {
    "real music, full mixes": lambda name: name.startswith("mdb_") and name.endswith("_mix"),
    "real drum tracks": lambda name: name.startswith("mdb_") and name.endswith("_drums"),
    "real drummers on sampled kits": lambda name: name.startswith("gmd_"),
    "rendered full mixes": lambda name: name.startswith("omsx_") and name.endswith("_mix"),
    "rendered drum tracks": lambda name: name.startswith("omsx_") and name.endswith("_drums"),
    "songs": lambda name: name.startswith("song_"),
}
Transcribe = Callable[[LogMel, LogMel | None], Hits]


def run(eval_path: Path) -> dict:
    """Score the transcriber behind the separation, and the transcriber alone.

    Args:
        eval_path: The folder with drums, stems and score.

    Returns:
        `with_stem` and `mixture_only`: for each of `GROUPS` F of each instrument (hits of all files pooled) and their
        mean; truth softer than velocity 30 is not asked for. `toms_and_cymbals` likewise, with how many hits are true
        and how many were given; `velocity_correlation` over the matched hits of gmd_*, and `drumless_hits_a_minute`.
    """
    eval_path = Path(eval_path)
    transcribe = load_transcriber().transcribe
    files = {path.stem: hear(read_audio(path)) for path in read_manifest(eval_path / "drums")}
    hits = {name: transcribe(mixture, stem) for name, (mixture, stem) in files.items()}
    alone = {name: transcribe(mixture, None) for name, (mixture, _) in files.items()}
    return {
        "with_stem": score_groups(eval_path, hits),
        "mixture_only": score_groups(eval_path, alone),
        "toms_and_cymbals": score_toms_and_cymbals(eval_path, hits),
        "velocity_correlation": correlate_velocities(eval_path, hits),
        "drumless_hits_a_minute": count_drumless_hits(eval_path, transcribe),
    }


def hear(signal: Signal) -> tuple[LogMel, LogMel]:
    """The spectrograms of the mixture and of its drum stem."""
    stereo = np.ascontiguousarray(np.broadcast_to(signal.samples, (2, signal.samples.shape[1])))
    stream = load_separator(4).stream()
    stem = np.concatenate([stream.push(stereo)["drums"], stream.finish()["drums"]], axis=1)
    return compute_log_mel(signal), compute_log_mel(Signal(stem))


def score_groups(eval_path: Path, hits: dict[str, Hits], least_velocity: int = 30) -> dict:
    """Pool the scorer's counts of the files of each group."""
    with TemporaryDirectory() as folder:
        for name, found in hits.items():
            rows = zip(found.time_s, found.instrument, strict=True)
            lines = ["time,label", *(f"{time_s:.4f},{instrument}" for time_s, instrument in rows)]
            Path(folder, f"{name}.csv").write_text("\n".join(lines))
        out = Path(folder, "scores.json")
        scorer = eval_path / "score" / "score_drums.py"
        command = [sys.executable, scorer, eval_path / "drums", folder, "--min-velocity", str(least_velocity)]
        subprocess.run([*command, "--json", out], check=True, stdout=subprocess.DEVNULL, cwd=scorer.parent)
        files = json.loads(out.read_text())["files"]
    return {group: pool([row for row in files if belongs(Path(row["file"]).stem)]) for group, belongs in GROUPS.items()}


def pool(files: list[dict]) -> dict:
    """F of each instrument over all hits of the files, and the mean of the instruments."""
    scores = {}
    for instrument in INSTRUMENTS:
        matched, wanted, given = (sum(row[instrument][key] for row in files) for key in ("tp", "ref", "est"))
        scores[instrument] = round(2 * matched / max(1, wanted + given), 4)
    return {**scores, "mean": round(sum(scores.values()) / len(INSTRUMENTS), 4), "files": len(files)}


def score_toms_and_cymbals(eval_path: Path, hits: dict[str, Hits], least_velocity: int = 30) -> dict:
    """F at 50 ms of toms, crashes and rides over all hits of the files of each group; None where there are none."""
    counts = {group: {name: np.zeros(3, int) for name in OTHERS} for group in GROUPS}
    with open(eval_path / "drums" / "manifest.csv", newline="") as file:
        truths = {Path(row["file"]).stem: row["truth_file"] for row in csv.DictReader(file)}
    for name, found in hits.items():
        with open(eval_path / "drums" / truths[name], newline="") as file:
            truth = [(float(row["time"]), name_other(row), float(row["velocity"])) for row in csv.DictReader(file)]
        for instrument in OTHERS:
            wanted = np.array(
                sorted(t for t, label, loud in truth if label == instrument and not 0 <= loud < least_velocity)
            )
            given = found.time_s[found.instrument == instrument]
            matched = len(mir_eval.util.match_events(wanted, given, 0.05)) if len(wanted) and len(given) else 0
            for group, belongs in GROUPS.items():
                counts[group][instrument] += np.array([matched, len(wanted), len(given)]) * belongs(name)
    return {
        group: {
            name: {"F": round(2 * matched / (wanted + given), 4) if wanted else None, "true": wanted, "given": given}
            for name, (matched, wanted, given) in ((name, count.tolist()) for name, count in of_group.items())
        }
        for group, of_group in counts.items()
    }


def name_other(row: dict[str, str]) -> str | None:
    """tom, crash or ride, where a row of the truth is one of them."""
    if row["label"] == "cymbal":
        return "ride" if row["detail"] in RIDES or "ride" in row["detail"].lower() else "crash"
    return row["label"] if row["label"] == "tom" else None


def correlate_velocities(eval_path: Path, hits: dict[str, Hits]) -> dict:
    """Pearson's correlation of found and true velocity, of hits within 50 ms on gmd_*: each instrument, and all."""
    pairs: dict[str, list[tuple[float, float]]] = {instrument: [] for instrument in INSTRUMENTS}
    for name in filter(GROUPS["real drummers on sampled kits"], hits):
        found = hits[name]
        with open(eval_path / "drums" / "truth" / f"{name}.csv", newline="") as file:
            truth = list(csv.DictReader(file))
        for instrument in INSTRUMENTS:
            mine = found.instrument == instrument
            for row in truth:
                distance_s = np.abs(found.time_s[mine] - float(row["time"]))
                if row["label"] == instrument and mine.any() and distance_s.min() <= 0.05:
                    pairs[instrument].append((float(row["velocity"]), found.velocity[mine][distance_s.argmin()]))
    pairs["all"] = [pair for values in pairs.values() for pair in values]
    return {name: round(float(np.corrcoef(np.array(values).T)[0, 1]), 4) for name, values in pairs.items()}


def count_drumless_hits(eval_path: Path, transcribe: Transcribe) -> float:
    """Hits a minute on the songs of `stems` with their drums left out."""
    hits, minutes = 0, 0.0
    for stems in list_drumless(eval_path):
        rest = add_up(stems)
        hits += len(transcribe(*hear(rest)))
        minutes += rest.duration_s / 60
    return round(hits / minutes, 2)


def list_drumless(eval_path: Path) -> list[tuple[Path, ...]]:
    """The stems of each song of `stems` but its drums."""
    audio, names = eval_path / "stems" / "audio", ("vocals", "bass", "other", "lead")
    songs = [path.stem.rsplit("_", 1)[0] for path in read_manifest(eval_path / "stems")]
    parts = [[audio / f"{song}_{name}.flac" for name in names] for song in songs]
    return [tuple(path for path in paths if path.is_file()) for paths in parts]


def add_up(stems: tuple[Path, ...]) -> Signal:
    """The sum of stems, as long as the shortest."""
    signals = [read_audio(stem) for stem in stems]
    length = min(signal.samples.shape[1] for signal in signals)
    return Signal(np.sum([signal.samples[:, :length] for signal in signals], axis=0))


def read_manifest(folder: Path) -> list[Path]:
    """The audio files of a set."""
    with open(folder / "manifest.csv", newline="") as file:
        return [(folder / row["file"]).resolve() for row in csv.DictReader(file)]


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1])), indent=2))
