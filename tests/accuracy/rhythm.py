"""How well onsets, beats, downbeats, tempo and meter are found, on the sets `tempo_key` and `drums` and on made cases.

Tempo, meter and beats are scored by score_tempo_key.py, onsets by score_drums.py --onsets, both of the evaluation
folder; downbeats by mir_eval where the truth has bars. Beats are tracked with the separated drum stem, as the pipeline
does. The made cases are patterns of a tiny synthesiser whose tempo ramps, halves, swings or wanders, or that begin
inside a bar. Run as a script with the evaluation folder; with a second path it also draws how the error of the tempo
falls as its confidence rises.
"""

import csv
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import mir_eval
import numpy as np

from tasks.audio import read_audio
from tasks.models.pulse import hear_rhythm
from tasks.music.beats import Rhythm
from tasks.music.onsets import detect_onsets
from tasks.music.signals import SAMPLE_RATE_HZ, LogMel, Signal, compute_log_mel
from tests.accuracy.drums import hear as hear_stem

MEASURES = ("acc1", "acc2", "ts_ok", "beat_F", "beat_CMLt", "beat_AMLt")
TEMPO_TOLERANCE = 0.04


def run(eval_path: Path, figure_path: Path | None = None) -> dict:
    """Score all.

    Args:
        eval_path: The folder with tempo_key, drums and score.
        figure_path: Where to draw the calibration of the tempo; None draws nothing.

    Returns:
        `tempo` by group of files, `downbeat_F`, `meter_balanced_accuracy`, `calibration` (the share of right tempi
        among the files at least this sure), `onsets` by group, `onset_timing_ms` and `made_cases`.
    """
    eval_path = Path(eval_path)
    with TemporaryDirectory() as folder:
        rows = read_manifest(eval_path / "tempo_key")
        paths = {row["file"]: eval_path / "tempo_key" / row["file"] for row in rows}
        rhythms = {file: hear_rhythm(*hear_stem(read_audio(path))) for file, path in paths.items()}
        truth = {row["file"]: json.loads((eval_path / "tempo_key" / row["truth_file"]).read_text()) for row in rows}
        result = score_rhythms(eval_path, rhythms, Path(folder))
        result |= {"downbeat_F": score_downbeats(rhythms, truth), "calibration": calibrate(rhythms, truth)}
        result |= score_onsets(eval_path, Path(folder))
    result["made_cases"] = score_made_cases()
    if figure_path is not None:
        draw_calibration(rhythms, truth, figure_path)
    return result


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


def score_made_cases() -> dict:
    """Beat and downbeat F, tempo and meter of patterns whose tempo and bars are hard."""
    cases = make_cases()
    result = {}
    for name, (beat_s, position, meter, strokes) in cases.items():
        rhythm = hear_rhythm(compute_log_mel(Signal(play(strokes, beat_s[-1] + 1.0)[None])))
        found = rhythm.time_s[rhythm.beat_in_bar == 1]
        result[name] = {
            "beat_F": round(float(mir_eval.beat.f_measure(beat_s, rhythm.time_s)), 3),
            "downbeat_F": round(float(mir_eval.beat.f_measure(beat_s[position == 1], found)), 3),
            "tempo_bpm": rhythm.tempo_bpm and round(rhythm.tempo_bpm, 1),
            "true_bpm": round(60.0 / float(np.median(np.diff(beat_s))), 1),
            "meter": (rhythm.time_signature, meter),
            "swing_ratio": rhythm.swing_ratio and round(rhythm.swing_ratio, 2),
            "confidence": round(rhythm.tempo_confidence, 2),
        }
    return result


def make_cases() -> dict[str, tuple]:
    """Beats, places in the bar, meter and strokes (time, drum, level) of each case."""
    rng = np.random.default_rng(4)
    steady = np.full(64, 0.5)
    wander = 0.55 * np.exp(np.cumsum(rng.normal(0, 0.02, 220)) - 0.1 * np.sin(np.arange(220) / 9))
    intervals = {
        "steady": (steady, 4, "4/4", 0, {}),
        "ramp from 90 to 140 bpm": (60 / np.linspace(90, 140, 80), 4, "4/4", 0, {}),
        "ramp from 140 to 100 bpm": (60 / np.linspace(140, 100, 80), 4, "4/4", 0, {}),
        "half time": (np.full(72, 60 / 140), 4, "4/4", 0, {"snares": (2,)}),
        "pick-up of one beat": (steady, 4, "4/4", 3, {}),
        "pick-up of two beats": (steady, 4, "4/4", 2, {}),
        "swing": (np.full(64, 60 / 132), 4, "4/4", 0, {"swing": 2 / 3}),
        "waltz": (np.full(72, 60 / 150), 3, "3/4", 0, {"snares": (1, 2)}),
        "five": (np.full(70, 60 / 140), 5, "5/4", 0, {"snares": (1, 3)}),
        "six-eight": (np.full(48, 60 / 72), 2, "6/8", 0, {"snares": (1,), "parts": 3}),
        "seven-eight": (np.full(112, 60 / 220), 7, "7/8", 0, {"snares": (2, 4), "parts": 1}),
        "rubato, two minutes": (wander, 4, "4/4", 0, {}),
    }
    cases = {}
    for name, (interval_s, beats_per_bar, meter, first, pattern) in intervals.items():
        beat_s = 0.4 + np.concatenate([[0.0], np.cumsum(interval_s)])
        position = (np.arange(len(beat_s)) + first) % beats_per_bar + 1
        cases[name] = (beat_s, position, meter, list_strokes(beat_s, position, rng, **pattern))
    return cases


def list_strokes(
    beat_s: np.ndarray,
    position: np.ndarray,
    rng: np.random.Generator,
    snares: tuple[int, ...] = (1, 3),
    parts: int = 2,
    swing: float = 0.5,
) -> list[tuple[float, str, float]]:
    """Kick on the downbeat and now and then elsewhere, snares on these beats (from 0), hi-hats on all parts."""
    strokes = []
    for (now, following), place in zip(pairwise(beat_s), position[:-1] - 1, strict=True):
        for part in range(parts):
            share = swing if parts == 2 and part == 1 else part / parts
            time_s = now + share * (following - now) + rng.normal(0, 0.004)
            strokes.append((time_s, "hihat", 0.8 if part == 0 else 0.5))
            if part > 0 and place == 0 and rng.random() < 0.5:
                strokes.append((time_s, "kick", 0.7))
        if place in snares:
            strokes.append((now + rng.normal(0, 0.004), "snare", 0.9))
        elif place == 0 or rng.random() < 0.2:
            strokes.append((now + rng.normal(0, 0.004), "kick", 1.0))
    return strokes


def play(strokes: list[tuple[float, str, float]], duration_s: float) -> np.ndarray:
    """Falling sines and bursts of noise, float32 (n,)."""
    t = np.arange(round(0.3 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(1).standard_normal(len(t))
    sounds = {
        "kick": np.sin(2 * np.pi * (48 * t + 4 * (1 - np.exp(-t / 0.02)))) * np.exp(-t / 0.09),
        "snare": 0.3 * noise * np.exp(-t / 0.06) + 0.3 * np.sin(2 * np.pi * 185 * t) * np.exp(-t / 0.07),
        "hihat": 0.12 * np.diff(noise, prepend=0.0) * np.exp(-t / 0.025),
    }
    samples = np.zeros(round((duration_s + 0.5) * SAMPLE_RATE_HZ), np.float32)
    for time_s, drum, level in strokes:
        start = max(0, round(time_s * SAMPLE_RATE_HZ))
        samples[start : start + len(t)] += (0.4 * level * sounds[drum])[: len(samples) - start]
    return samples


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
