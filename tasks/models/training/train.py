"""Trains the drum network and writes tasks/models/drums.onnx.

    python -m tasks.models.training.train DATA --steps 4000 --fall 1000 --out tasks/models/drums.onnx

DATA is the folder that synthesise.py filled. The thresholds come from its validation part: other kits, other
performances.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tasks.models.training.export import write_onnx
from tasks.models.training.material import CLASSES, Clip, load_material, make_batch, make_examples
from tasks.models.training.network import DrumNetwork
from tasks.music.drums import NOTES_OF_INSTRUMENT, PeakParams, pick_hits

BATCH = 16
FRAMES = 320
LOOK_AGAIN_STEPS = 50  # shards that arrived in the meantime are taken too
REPORT_STEPS = 200
VALIDATION_SHARDS = 1  # while training
NAMES = tuple(NOTES_OF_INSTRUMENT)
TOLERANCE_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2_000, help="0 only chooses thresholds and exports")
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--rise", type=int, default=100, help="steps over which the rate rises at first")
    parser.add_argument("--fall", type=int, default=1, help="steps over which it falls to nothing at last")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    shards = Shards(options.data)
    validation = load_material(sorted(options.data.glob("validation-*.npz"))[:VALIDATION_SHARDS])
    network = DrumNetwork()
    print(f"{sum(p.numel() for p in network.parameters())} parameters")
    average = copy.deepcopy(network)
    if options.start:
        checkpoint = torch.load(options.start)
        network.load_state_dict(checkpoint["network"])
        average.load_state_dict(checkpoint["average"])
    optimiser = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=1e-3)
    rise, fall = max(1, options.rise), max(1, options.fall)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / rise, max(0.0, (options.steps - step) / fall))
    )

    started, losses = time.monotonic(), []
    for step in range(1, options.steps + 1):
        if step % LOOK_AGAIN_STEPS == 1:
            shards.take_new()
        network.train()
        inputs, targets, certain = (torch.from_numpy(x) for x in make_batch(shards.clips, BATCH, FRAMES, rng))
        loss = _loss(network(inputs), targets, certain)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _follow(average, network, min(0.995, step / (step + 20)))
        losses.append(loss.item())
        if step % REPORT_STEPS == 0 or step == options.steps:
            scores = score(_predict(average, validation), (0.4,) * CLASSES)
            line = " ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, scores, strict=True))
            minutes = (time.monotonic() - started) / 60
            mean = np.mean(losses[-REPORT_STEPS:])
            print(f"step {step}, {minutes:.1f} min, {len(shards.clips)} clips, loss {mean:.4f}, F {line}", flush=True)
            checkpoint = {"network": network.state_dict(), "average": average.state_dict()}
            torch.save(checkpoint, options.out.with_suffix(".pt"))

    validation = load_material(sorted(options.data.glob("validation-*.npz")))
    predictions = _predict(average, validation)
    thresholds = best_thresholds(predictions)
    scores = score(predictions, thresholds)
    for name, threshold, value in zip(NAMES, thresholds, scores, strict=True):
        print(f"{name}: threshold {threshold:.2f}, F {value:.3f}")
    write_onnx(average, thresholds, options.out)


class Shards:
    """The training clips, which grow as synthesise.py writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[Path] = set()
        self.clips: list[Clip] = []

    def take_new(self) -> None:
        new = sorted(set(self._folder.glob("train-*.npz")) - self._seen)
        self.clips += load_material(new)
        self._seen |= set(new)


def _loss(logits: torch.Tensor, targets: torch.Tensor, certain: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the activations, heavier where anything is hit, and the error of the velocities of hits."""
    logits = logits.transpose(1, 2)
    hit = targets[..., :CLASSES]
    entropy = functional.binary_cross_entropy_with_logits(logits[..., :CLASSES], hit, reduction="none")
    weight = certain * (1 + 2 * hit.amax(dim=2, keepdim=True))
    velocity = torch.sigmoid(logits[..., CLASSES:]) - targets[..., CLASSES:]
    return (weight * entropy).mean() + 0.5 * (hit * velocity**2).sum() / (hit.sum() + 1)


@torch.no_grad()
def _follow(average: DrumNetwork, network: DrumNetwork, keep: float) -> None:
    for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.mul_(keep).add_(new, alpha=1 - keep)
        else:
            mean.copy_(new)


@torch.no_grad()
def _predict(network: DrumNetwork, clips: list[Clip]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Hits and activations (CLASSES, frames) of all examples of the clips."""
    network.eval()
    return [
        (hits, torch.sigmoid(network(torch.from_numpy(inputs[None]))[0, :CLASSES]).numpy())
        for inputs, hits in make_examples(clips, seed=1)
    ]


def best_thresholds(predictions: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, ...]:
    """The best of a grid for each class, by F averaged over neighbours so that no lucky one is taken."""
    grid = np.arange(0.08, 0.9, 0.04)
    table = np.array([score(predictions, (threshold,) * CLASSES) for threshold in grid])
    table = (table[:-2] + table[1:-1] + table[2:]) / 3
    grid = grid[1:-1]
    return tuple(float(x) for x in grid[table.argmax(axis=0)].round(2))


def score(predictions: list[tuple[np.ndarray, np.ndarray]], thresholds: tuple[float, ...]) -> np.ndarray:
    """F of each class over all predictions, hits softer than 30 not asked for."""
    counts = np.zeros((CLASSES, 3))
    for hits, activations in predictions:
        found = pick_hits(activations, instruments=NAMES, params=PeakParams(thresholds=thresholds))
        for which, name in enumerate(NAMES):
            truth = hits[hits[:, 1] == which]
            times_s = found.time_s[found.instrument == name]
            counts[which] += _count_matches(truth[:, 0], truth[:, 2] >= 30, times_s)
    matched, wanted, given = counts.T
    return 2 * matched / np.maximum(wanted + given, 1)


def _count_matches(truth_s: np.ndarray, asked: np.ndarray, found_s: np.ndarray) -> tuple[int, int, int]:
    """Matched, wanted and given, each found hit taken for the first truth within reach that is still free."""
    matched, free, index = 0, 0, 0
    for time_s in found_s:
        while index < len(truth_s) and truth_s[index] < time_s - TOLERANCE_S:
            index += 1
        if index < len(truth_s) and truth_s[index] <= time_s + TOLERANCE_S:
            matched += int(asked[index])
            free += int(not asked[index])
            index += 1
    return matched, int(asked.sum()), len(found_s) - free


if __name__ == "__main__":
    main()
