"""How well keys and sections are found, on the evaluation sets `tempo_key` and `sections`.

Keys are scored by score_tempo_key.py, sections by score_sections.py, both of the evaluation folder. Beats come from the
tracker that the pipeline uses, on the mixture alone. Run as a script with the evaluation folder, it prints the figures.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.audio import read_audio
from tasks.models.pulse import hear_rhythm
from tasks.music.key import compute_chroma, detect_key
from tasks.music.sections import detect_sections
from tasks.music.signals import PoolStream, compute_log_mel


def run(eval_path: Path) -> dict:
    """Score both sets.

    Args:
        eval_path: The folder with tempo_key, sections and score.

    Returns:
        `key`: exact, MIREX-weighted and how many files without a pitch got no key; `sections`: boundary F at 0.5 and
        3 s, pairwise F of the labels and V-measure; each with the number of files.
    """
    eval_path = Path(eval_path)
    with TemporaryDirectory() as folder:
        return {
            "key": score_keys(eval_path, Path(folder)),
            "sections": score_sections(eval_path, Path(folder)),
        }


def score_keys(eval_path: Path, folder: Path) -> dict:
    """Find a key for every file of `tempo_key`, and score those with a trusted truth."""
    files = read_manifest(eval_path / "tempo_key")
    keys = {path: hear_key(path) for path in files}
    drums_only = [path for path in files if path.stem.startswith(("gmd_", "h2_", "loop_"))]
    predictions = [{"file": path.name, "key": key} for path, key in keys.items()]
    scores = run_scorer(eval_path, "score_tempo_key.py", "tempo_key", predictions, folder)["all"]
    return {
        "exact": scores["key_exact"]["mean"],
        "mirex_weighted": scores["key_w"]["mean"],
        "files": scores["key_exact"]["n"],
        "drums_without_key": round(sum(keys[path] is None for path in drums_only) / len(drums_only), 4),
        "drums_files": len(drums_only),
    }


def score_sections(eval_path: Path, folder: Path) -> dict:
    """Find the sections of every song of `sections`, and score those with section truth."""
    predictions = folder / "sections"
    predictions.mkdir()
    for path in read_manifest(eval_path / "sections"):
        (predictions / f"{path.stem}.json").write_text(json.dumps({"sections": hear_sections(path)}))
    scores = run_scorer(eval_path, "score_sections.py", "sections", predictions, folder)["all"]
    return {name: scores[name] for name in ("F@0.5", "F@3.0", "pairwise_F", "V")}


def hear_key(path: Path) -> str | None:
    return detect_key(compute_chroma(read_audio(path))).detected_key


def hear_sections(path: Path) -> list[dict]:
    signal = read_audio(path)
    mixture, chroma, spectrum = compute_log_mel(signal), compute_chroma(signal), PoolStream()
    spectrum.push(mixture)
    rhythm = hear_rhythm(mixture, chroma=chroma)
    found = detect_sections(spectrum.finish(), chroma, rhythm.time_s, rhythm.beat_in_bar, signal.duration_s)
    return [
        {"start": float(start_s), "end": float(end_s), "label": str(label)}
        for start_s, end_s, label in zip(found.start_s, found.end_s, found.section_label, strict=True)
    ]


def read_manifest(set_path: Path) -> list[Path]:
    with open(set_path / "manifest.csv", newline="") as file:
        return [set_path / row["file"] for row in csv.DictReader(file)]


def run_scorer(eval_path: Path, script: str, name: str, predictions: Path | list[dict], folder: Path) -> dict:
    """The groups of a scorer's result."""
    if isinstance(predictions, list):
        rows, predictions = predictions, folder / f"{name}.json"
        predictions.write_text(json.dumps(rows))
    result = folder / f"{name}.scores.json"
    command = [sys.executable, eval_path / "score" / script, eval_path / name, predictions, "--json", result]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())["groups"]


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1])), indent=1))
