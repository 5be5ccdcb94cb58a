"""How well stems are separated, on the evaluation set `stems`, beside librosa's HPSS of the same mixtures.

Scored by score_stems.py of the evaluation folder: SDR is the global signal-to-distortion ratio in dB, mean over songs.
Run as a script with the evaluation folder, it prints the figures.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tasks.audio import read_audio, write_audio
from tasks.models.spleeter import load_separator
from tasks.music.signals import SAMPLE_RATE_HZ, Signal

BASELINE_BASS_BELOW_HZ = 250.0
Stems = dict[str, np.ndarray]


def run(eval_path: Path) -> dict:
    """Score the default four stems, the two of the network, and the baseline.

    Args:
        eval_path: The folder with stems and score.

    Returns:
        `four_stems`, `two_stems` and `librosa_hpss`: for all songs and for each kind of song the mean SDR of each stem
        in dB and the number of songs that have it. The baseline's drums are the percussive part, its bass the harmonic
        part below 250 Hz: the whole harmonic part would score several dB less.
    """
    ways: dict[str, Callable[[np.ndarray], Stems]] = {
        "four_stems": lambda mixture: separate(mixture, 4),
        "two_stems": lambda mixture: separate(mixture, 2),
        "librosa_hpss": split_by_librosa,
    }
    return {name: score(Path(eval_path), way) for name, way in ways.items()}


def score(eval_path: Path, way: Callable[[np.ndarray], Stems]) -> dict:
    """Write the stems of every mixture of the set and give them to the scorer."""
    with TemporaryDirectory() as folder:
        with (eval_path / "stems/manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            mixture = read_audio(eval_path / "stems" / row["file"]).samples
            stereo = np.ascontiguousarray(np.broadcast_to(mixture, (2, mixture.shape[1])))
            song = Path(folder) / row["song_id"]
            song.mkdir()
            for stem, samples in way(stereo).items():
                write_audio(song / f"{stem}.wav", Signal(samples))
        result = Path(folder) / "result.json"
        command = [sys.executable, "score_stems.py", eval_path / "stems", folder, "--json", result]
        subprocess.run(command, cwd=eval_path / "score", check=True, stdout=subprocess.DEVNULL)
        groups = json.loads(result.read_text())["groups"]
    return {
        group: {stem: {"sdr_db": figures["SDR"], "songs": figures["n"]} for stem, figures in stems.items()}
        for group, stems in groups.items()
    }


def separate(mixture: np.ndarray, stems: int) -> Stems:
    """The stems of a whole track."""
    separator = load_separator(stems)
    stream = separator.stream()
    parts = stream.push(mixture), stream.finish()
    return {stem: np.concatenate([part[stem] for part in parts], axis=1) for stem in separator.stems}


def split_by_librosa(mixture: np.ndarray) -> Stems:
    """Drums and bass by librosa's median filters, with its defaults."""
    from librosa.effects import hpss
    from scipy.signal import butter, sosfiltfilt

    harmonic, percussive = hpss(mixture)
    low = butter(4, BASELINE_BASS_BELOW_HZ, fs=SAMPLE_RATE_HZ, output="sos")
    return {"drums": percussive, "bass": sosfiltfilt(low, harmonic, axis=1).astype(np.float32)}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1])), indent=1))
