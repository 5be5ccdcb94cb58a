"""Trains the drum network and writes tasks/models/drums.onnx.

    python -m tasks.models.training.train DATA --steps 6000 --out tasks/models/drums.onnx

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
from tasks.models.training.material import CLASSES, Material, load_material, make_batch
from tasks.models.training.network import DrumNetwork
from tasks.models.training.synthesise import CLIPS_A_SHARD
from tasks.music.drums import NOTES_OF_INSTRUMENT, PeakParams, pick_hits

BATCH = 24
FRAMES = 256
LOOK_AGAIN_STEPS = 100  # shards that arrived in the meantime are taken too
NAMES = tuple(NOTES_OF_INSTRUMENT)
TOLERANCE_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2_000, help="0 only chooses thresholds and exports")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)

    material = load_material(options.data, "train")
    validation = load_material(options.data, "validation")
    print(f"{len(material.drums)} clips, {len(material.stem)} separated; {len(validation.drums)} for validation")
    network = DrumNetwork()
    print(f"{sum(p.numel() for p in network.parameters())} parameters")
    if options.start:
        network.load_state_dict(torch.load(options.start))
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, max(2, options.steps), pct_start=0.1)

    started, losses = time.monotonic(), []
    for step in range(1, options.steps + 1):
        if step % LOOK_AGAIN_STEPS == 0 and len(list(options.data.glob("train-*.npz"))) * CLIPS_A_SHARD > len(
            material.drums
        ):
            material = load_material(options.data, "train")
            print(f"step {step}: {len(material.drums)} clips, {len(material.stem)} separated", flush=True)
        network.train()
        inputs, targets, certain = (torch.from_numpy(x) for x in make_batch(material, BATCH, FRAMES, rng))
        loss = _loss(network(inputs), targets, certain)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _follow(average, network, min(0.998, step / (step + 20)))
        losses.append(loss.item())
        if step % 150 == 0 or step == options.steps:
            scores = _scores(_predict(average, validation), validation.hits, (0.35,) * CLASSES)
            line = " ".join(f"{name} {score:.3f}" for name, score in zip(NAMES, scores, strict=True))
            minutes = (time.monotonic() - started) / 60
            print(f"step {step}, {minutes:.1f} min, loss {np.mean(losses[-150:]):.4f}, F {line}", flush=True)
            torch.save(average.state_dict(), options.out.with_suffix(".pt"))

    predictions = _predict(average, validation)
    thresholds = _best_thresholds(predictions, validation.hits)
    scores = _scores(predictions, validation.hits, thresholds)
    for name, threshold, score in zip(NAMES, thresholds, scores, strict=True):
        print(f"{name}: threshold {threshold:.2f}, F {score:.3f}")
    write_onnx(average, thresholds, options.out)


def _loss(logits: torch.Tensor, targets: torch.Tensor, certain: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the activations, and the error of the velocities where a hit is."""
    logits = logits.transpose(1, 2)
    hit = targets[..., :CLASSES]
    entropy = functional.binary_cross_entropy_with_logits(logits[..., :CLASSES], hit, reduction="none")
    weight = certain * (1 + 2 * hit)
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
def _predict(network: DrumNetwork, material: Material) -> list[tuple[int, np.ndarray]]:
    """Clip and activations (CLASSES, frames): of real mixtures with their stems and without, and of drums alone."""
    network.eval()
    predictions = []
    for which, clip in enumerate(material.clip_of_separated):
        mixture, stem = (x[which].astype(np.float32) for x in (material.mixture, material.stem))
        drums = material.drums[clip].astype(np.float32)
        inputs = torch.from_numpy(np.stack([[mixture, stem], [mixture, mixture], [drums, drums]]))
        for activations in torch.sigmoid(network(inputs)[:, :CLASSES]).numpy():
            predictions.append((int(clip), activations))
    return predictions


def _best_thresholds(predictions: list[tuple[int, np.ndarray]], hits: list[np.ndarray]) -> tuple[float, ...]:
    grid = np.arange(0.1, 0.8, 0.04)
    table = np.array([_scores(predictions, hits, (threshold,) * CLASSES) for threshold in grid])
    return tuple(float(x) for x in grid[table.argmax(axis=0)].round(2))


def _scores(
    predictions: list[tuple[int, np.ndarray]], hits: list[np.ndarray], thresholds: tuple[float, ...]
) -> np.ndarray:
    """F of each class over all clips, hits softer than 30 not asked for."""
    counts = np.zeros((CLASSES, 3))
    for clip, activations in predictions:
        found = pick_hits(activations, instruments=NAMES, params=PeakParams(thresholds=thresholds))
        for which, name in enumerate(NAMES):
            truth = hits[clip][hits[clip][:, 1] == which]
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
