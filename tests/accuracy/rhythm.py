"""How well onsets, beats, downbeats, tempo and meter are found, on the sets `tempo_key` and `drums` and on made cases.

Tempo, meter and beats are scored by score_tempo_key.py, onsets by score_drums.py --onsets, both of the evaluation
folder; downbeats by mir_eval where the truth has bars. Beats are tracked with the separated drum stem, as the pipeline
does. The made and the played cases are those of rhythm_cases.py. Run as a script with the evaluation folder; with a
second path it also draws how the error of the tempo falls as its confidence rises.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import mir_eval
import numpy as np

from tasks.audio import read_audio
from tasks.models.pulse import hear_rhythm
from tasks.music.beats import Rhythm
from tasks.music.key import compute_chroma
from tasks.music.onsets import detect_onsets
from tasks.music.signals import LogMel, Signal, compute_log_mel
from tests.accuracy.drums import hear as hear_stem
from tests.accuracy.rhythm_cases import Case, make_cases, make_pulseless, play, play_grooves

MEASURES = ("acc1", "acc2", "ts_ok", "beat_F", "beat_CMLt", "beat_AMLt")
TEMPO_TOLERANCE = 0.04


def run(eval_path: Path, figure_path: Path | None = None) -> dict:
    """Score all.

    Args:
        eval_path: The folder with tempo_key, drums and score.
        figure_path: Where to draw the calibration of the tempo; None draws nothing.

    Returns:
        `tempo` by group of files, `downbeat_F`, `meter_balanced_accuracy`, `calibration` (the share of right tempi
        among the files at least this sure), `onsets` by group, `onset_timing_ms`, `made_cases`, `played_cases` and
        `pulseless_with_a_tempo`.
    """
    eval_path = Path(eval_path)
    with TemporaryDirectory() as folder:
        rows = read_manifest(eval_path / "tempo_key")
        paths = {row["file"]: eval_path / "tempo_key" / row["file"] for row in rows}
        rhythms = {file: hear_file(path) for file, path in paths.items()}
        truth = {row["file"]: json.loads((eval_path / "tempo_key" / row["truth_file"]).read_text()) for row in rows}
        result = score_rhythms(eval_path, rhythms, Path(folder))
        result |= {"downbeat_F": score_downbeats(rhythms, truth), "calibration": calibrate(rhythms, truth)}
        result |= score_onsets(eval_path, Path(folder))
    result["made_cases"] = score_cases(make_cases())
    played = score_cases(play_grooves(eval_path.parent / "train" / "groove"))
    result |= {"played_cases": played, "played_cases_mean": mean_of_cases(played)}
    result["pulseless_with_a_tempo"] = find_false_tempi(make_pulseless())
    if figure_path is not None:
        draw_calibration(rhythms, truth, figure_path)
    return result


def hear_file(path: Path) -> Rhythm:
    signal = read_audio(path)
    return hear_rhythm(*hear_stem(signal), compute_chroma(signal))


def score_rhythms(eval_path: Path, rhythms: dict[str, Rhythm], folder: Path) -> dict:
    predictions = [
        {
            "file": file,
            "bpm": rhythm.tempo_bpm,
            "time_signature": rhythm.time_signature,
            "beats": rhythm.time_s.tolist(),
        }
        for file, rhythm in rhythms.items()
    ]
    path = folder / "rhythm.json"
    path.write_text(json.dumps(predictions))
    scores = run_scorer(eval_path, "score_tempo_key.py", eval_path / "tempo_key", path)
    by_meter: dict[str, list[bool]] = {}
    for file in scores["files"]:
        if "ts_ok" in file:
            by_meter.setdefault(file["ts_ref"], []).append(file["ts_ok"])
    return {
        "tempo": {
            group: {name: (values[name]["mean"], values[name]["n"]) for name in MEASURES if values[name]}
            for group, values in scores["groups"].items()
        },
        "meter_balanced_accuracy": round(float(np.mean([np.mean(right) for right in by_meter.values()])), 4),
        "meter_by_truth": {meter: (round(float(np.mean(right)), 4), len(right)) for meter, right in by_meter.items()},
    }


def score_downbeats(rhythms: dict[str, Rhythm], truth: dict[str, dict]) -> dict:
    """F at 70 ms of the downbeats, a file; abstaining counts as 0."""
    scores = {}
    for file, rhythm in rhythms.items():
        if truth[file].get("beat_positions"):
            reference = np.array(truth[file]["beats"])[np.array(truth[file]["beat_positions"]) == 1]
            found = rhythm.time_s[rhythm.beat_in_bar == 1]
            scores[Path(file).stem] = round(float(mir_eval.beat.f_measure(reference, found)), 4)
    return {"mean": round(float(np.mean(list(scores.values()))), 4), "files": scores}


def calibrate(rhythms: dict[str, Rhythm], truth: dict[str, dict]) -> dict:
    """For some confidences, how many files are at least as sure, and how many of these have the right tempo."""
    confidence, right = judge_tempi(rhythms, truth)
    return {
        str(least): {
            "files": int((confidence >= least).sum()),
            "acc1": round(float(right[confidence >= least].mean()), 4),
        }
        for least in (0.0, 0.3, 0.5, 0.7, 0.8, 0.9)
        if (confidence >= least).any()
    }


def judge_tempi(rhythms: dict[str, Rhythm], truth: dict[str, dict]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and correctness of each tempo that is given and whose truth is trusted."""
    judged = [
        (rhythm.tempo_confidence, abs(rhythm.tempo_bpm / truth[file]["bpm"] - 1) < TEMPO_TOLERANCE)
        for file, rhythm in rhythms.items()
        if rhythm.tempo_bpm is not None and truth[file].get("bpm_trust") in ("high", "medium")
    ]
    confidence, right = zip(*judged, strict=True)
    return np.array(confidence), np.array(right)


def draw_calibration(rhythms: dict[str, Rhythm], truth: dict[str, dict], path: Path) -> None:
    from matplotlib.figure import Figure

    confidence, right = judge_tempi(rhythms, truth)
    order = np.argsort(-confidence)
    error = 1 - np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.step(confidence[order], error, where="post")
    axes.set(xlabel="least tempo_confidence", ylabel="share of wrong tempi", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path, dpi=120)


def score_onsets(eval_path: Path, folder: Path) -> dict:
    """Onsets of the drum-only files, without classes."""
    predictions = folder / "onsets"
    predictions.mkdir()
    for row in read_manifest(eval_path / "drums"):
        if "_mix" not in row["file"]:
            onsets = detect_onsets(hear(eval_path / "drums" / row["file"]))
            lines = ["time,label", *(f"{time_s:.4f},onset" for time_s in onsets.time_s)]
            (predictions / f"{Path(row['file']).stem}.csv").write_text("\n".join(lines))
    scores = run_scorer(eval_path, "score_drums.py", eval_path / "drums", predictions, "--onsets")
    return {
        "onsets": {group: values["onset"] for group, values in scores["groups"].items()},
        "onset_timing_ms": score_onset_timing(eval_path, predictions),
    }


def score_onset_timing(eval_path: Path, predictions: Path) -> dict:
    """Median absolute error against MIDI truth, in milliseconds."""
    error_s = []
    for row in read_manifest(eval_path / "drums"):
        path = predictions / f"{Path(row['file']).stem}.csv"
        if path.exists() and row["song_id"].startswith(("gmd_", "omsx_", "h2_")):
            reference, found = read_times(eval_path / "drums" / row["truth_file"]), read_times(path)
            pairs = mir_eval.util.match_events(reference, found, 0.05)
            error_s += [found[j] - reference[i] for i, j in pairs]
    return {
        "median": round(1000 * float(np.median(error_s)), 2),
        "median_absolute": round(1000 * float(np.median(np.abs(error_s))), 2),
        "onsets": len(error_s),
    }


def score_cases(cases: dict[str, Case]) -> dict:
    """Beat and downbeat F, tempo and meter of each case."""
    result = {}
    for name, case in cases.items():
        beat_s, first = case.beat_s, case.beat_in_bar == 1
        rhythm = hear_rhythm(compute_log_mel(Signal(play(case.strokes, beat_s[-1] + 1.0)[None])))
        found = rhythm.time_s[rhythm.beat_in_bar == 1]
        result[name] = {
            "beat_F": round(float(mir_eval.beat.f_measure(beat_s, rhythm.time_s)), 3),
            "downbeat_F": round(float(mir_eval.beat.f_measure(beat_s[first], found)), 3),
            "tempo_bpm": rhythm.tempo_bpm and round(rhythm.tempo_bpm, 1),
            "true_bpm": round(60.0 / float(np.median(np.diff(beat_s))), 1),
            "meter": (rhythm.time_signature, case.meter),
            "swing_ratio": rhythm.swing_ratio and round(rhythm.swing_ratio, 2),
            "confidence": round(rhythm.tempo_confidence, 2),
        }
    return result


def mean_of_cases(scores: dict) -> dict:
    """Means over all cases: beat F, downbeat F, right tempi and right meters."""
    rows = scores.values()
    near = [row["tempo_bpm"] is not None and abs(row["tempo_bpm"] / row["true_bpm"] - 1) < 0.08 for row in rows]
    return {
        "cases": len(scores),
        "beat_F": round(float(np.mean([row["beat_F"] for row in rows])), 3),
        "downbeat_F": round(float(np.mean([row["downbeat_F"] for row in rows])), 3),
        "tempo_within_8_percent": round(float(np.mean(near)), 3),
        "meter": round(float(np.mean([row["meter"][0] == row["meter"][1] for row in rows])), 3),
    }


def find_false_tempi(sounds: dict[str, np.ndarray]) -> dict[str, float]:
    """The tempi that are given to sounds without a pulse; there should be none."""
    rhythms = {name: hear_rhythm(compute_log_mel(Signal(samples[None]))) for name, samples in sounds.items()}
    return {name: round(rhythm.tempo_bpm, 1) for name, rhythm in rhythms.items() if rhythm.tempo_bpm is not None}


def hear(path: Path) -> LogMel:
    return compute_log_mel(read_audio(path))


def read_times(path: Path) -> np.ndarray:
    """Times of a table with a column `time`; those within 30 ms of the one before are left out, as the scorer does."""
    with open(path, newline="") as file:
        times = sorted(float(row["time"]) for row in csv.DictReader(file))
    kept: list[float] = []
    for time_s in times:
        if not kept or time_s - kept[-1] > 0.03:
            kept.append(time_s)
    return np.array(kept)


def read_manifest(set_path: Path) -> list[dict[str, str]]:
    with open(set_path / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def run_scorer(eval_path: Path, script: str, set_path: Path, predictions: Path, *options: str) -> dict:
    result = predictions.with_suffix(".scores.json")
    command = [sys.executable, eval_path / "score" / script, set_path, predictions, *options, "--json", result]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None), indent=1))
