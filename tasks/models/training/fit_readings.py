"""Fits how readings are weighed (`reading_weights`, `pulse_weights` of `BeatParams`) to the material of the network.

    python -m tasks.models.training.fit_readings CLIPS ...

CLIPS are folders of clips by pulse_songs.py that the network was not trained on; each is mixed anew, and heard as in
the pipeline, as a mixture and as the drums that a separation gives. Every fourth clip counts once more as heard by a
network that tells neither meter nor tempo, so that the weights do not lean on these alone. Prints the weights and how
many readings, tempo and meter, are right with them. Nothing of the evaluation sets is read.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from tasks.models.pulse import hear_pulse
from tasks.models.training.pulse_mix import load_clip, mix_and_separate
from tasks.models.training.pulse_songs import SPREAD_OF_BPM
from tasks.music.beats import BeatParams
from tasks.music.onsets import compute_flux
from tasks.music.pulse import Pulse, blend_pulses
from tasks.music.readings import Reading, propose_readings

TEMPO_TOLERANCE = 0.04
DULLED_EVERY = 4
RIDGE = 0.02
SPREAD_OF_MUSIC = 0.22  # of the logarithm of the tempo, of the drummers of the Groove MIDI Dataset


@dataclass(frozen=True)
class Clip:
    """What was heard in one clip, and the truth: tempo_bpm is None and meter "" where there is no pulse."""

    pulse: Pulse
    flux: np.ndarray
    readings: list[Reading]
    tempo_bpm: float | None
    meter: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+")
    paths = [path for folder in parser.parse_args().clips for path in sorted(folder.glob("*.npz"))]
    report([_hear(path) for path in paths])


def report(clips: list[Clip]) -> None:
    rows, right = _choices(clips)
    dulled_rows, dulled_right = _choices([_dull(clip) for clip in clips[::DULLED_EVERY]])
    weights = fit_choice(rows + dulled_rows, right + dulled_right)
    # The tempi of the clips are spread wider than those of music, so that the network learns all of them.
    weights[0] += 0.1 * (0.5 / SPREAD_OF_MUSIC**2 - 0.5 / SPREAD_OF_BPM**2)
    print("reading_weights", np.round(weights, 2).tolist())
    for name, (of_rows, of_right) in {"heard": (rows, right), "dulled": (dulled_rows, dulled_right)}.items():
        hits = [bool(ok[np.argmax(row @ weights)]) for row, ok in zip(of_rows, of_right, strict=True)]
        print(name, "right", round(float(np.mean(hits)), 3), "of", len(hits))

    heard = [(clip, clip.readings[int(np.argmax(_features(clip) @ weights))]) for clip in clips if clip.readings]
    strength = np.array([(*reading.features[1:3], _none(clip.pulse, reading)) for clip, reading in heard])
    has_pulse = np.array([clip.tempo_bpm is not None for clip, _ in heard])
    pulse_weights = fit_logistic(strength, has_pulse)
    wrong = ((pulse_weights[0] + strength @ pulse_weights[1:] > 0) != has_pulse).mean()
    print("pulse_weights", np.round(pulse_weights, 2).tolist(), "wrong", round(float(wrong), 3), "of", len(heard))


def fit_choice(rows: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    """Weights of a softmax over the readings of each clip under which a right one is likeliest."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros_like(weights)
        for row, ok in zip(rows, right, strict=True):
            if not ok.any():
                continue
            chance = np.exp(row @ weights - (row @ weights).max())
            chance /= chance.sum()
            of_right = chance[ok].sum() + 1e-9
            total -= np.log(of_right)
            slope -= row.T @ (chance * ok / of_right - chance)
        return total / len(rows) + RIDGE * weights @ weights, slope / len(rows) + 2 * RIDGE * weights

    return minimize(loss, np.zeros(rows[0].shape[1]), jac=True).x


def fit_logistic(features: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Constant and weights of a logistic regression in which both classes count the same."""
    inputs = np.column_stack([np.ones(len(features)), features])
    share = np.where(label, 0.5 / label.mean(), 0.5 / (1 - label.mean()))

    def loss(weights: np.ndarray) -> float:
        margin = np.where(label, 1, -1) * (inputs @ weights)
        return float((share * np.logaddexp(0, -margin)).mean() + 0.003 * weights[1:] @ weights[1:])

    return minimize(loss, np.zeros(inputs.shape[1])).x


def _hear(path: Path) -> Clip:
    clip = load_clip(path)
    mixture, stem = mix_and_separate(clip, np.random.default_rng([3, int(path.stem)]))
    pulse = blend_pulses(hear_pulse(mixture), hear_pulse(stem), BeatParams().drums_weight)
    tempo_bpm = 60.0 / float(np.median(np.diff(clip["beats"]))) if len(clip["beats"]) > 3 else None
    flux = compute_flux(stem)
    return Clip(pulse, flux, propose_readings(pulse, flux), tempo_bpm, str(clip["meter"]))


def _dull(clip: Clip) -> Clip:
    """As heard by a network that tells neither meter nor tempo."""
    pulse = replace(clip.pulse, meter=_even(clip.pulse.meter), tempo=_even(clip.pulse.tempo))
    return replace(clip, pulse=pulse, readings=propose_readings(pulse, clip.flux))


def _even(chances: np.ndarray) -> np.ndarray:
    return np.full_like(chances, 1.0 / len(chances))


def _choices(clips: list[Clip]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Of each clip with a pulse the features of its readings (readings, FEATURES), and which of them are right."""
    judged = [clip for clip in clips if clip.tempo_bpm and clip.readings]
    return [_features(clip) for clip in judged], [_is_right(clip) for clip in judged]


def _features(clip: Clip) -> np.ndarray:
    return np.array([reading.features for reading in clip.readings])


def _is_right(clip: Clip) -> np.ndarray:
    """Whether both the tempo and the meter of each reading are right."""
    return np.array(
        [
            abs(reading.tempo_bpm / clip.tempo_bpm - 1.0) < TEMPO_TOLERANCE
            and reading.bars.time_signature == clip.meter
            for reading in clip.readings
        ]
    )


def _none(pulse: Pulse, reading: Reading) -> float:
    return float(pulse.meter[0, reading.frames[0] : reading.frames[-1] + 1].mean())


if __name__ == "__main__":
    main()
