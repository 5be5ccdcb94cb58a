"""Trains the pulse network (tasks/models/pulse.py) and writes it as ONNX. Needs torch 2.13, which a run does not.

    python -m tasks.models.training.pulse_songs SOUNDS GROOVE MATERIAL --clips 560
    python -m tasks.models.training.train_pulse MATERIAL pulse.onnx --epochs 30

MATERIAL holds one .npz a clip: `mel` (bands, frames), `beats` in seconds, `pos` in the bar, `meter`. Every eighth clip
is held out for validation. The shape of the network follows Davies & Böck, "Temporal convolutional networks for
musical audio beat tracking", EUSIPCO 2019, with wider filters at the front and half their frame rate.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tasks.music.beats import FRAME_RATE_HZ
from tasks.music.meter import METERS
from tasks.music.signals import HOP_S, LOG_GAIN, MEL_BANDS

CROP_FRAMES = 1_600
HELD_OUT_EVERY = 8
BATCH = 8
METER_WEIGHTS = (1.0, 0.8, 1.1, 1.5, 1.1, 2.0)  # rare meters count more
METER_LOSS = 0.1


class Block(nn.Module):
    """A dilated convolution beside a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.drop = nn.Dropout1d(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.mix(self.drop(functional.elu(self.conv(x))))


class PulseNetwork(nn.Module):
    """From (clips, MEL_BANDS, frames) to logits (clips, 2 + meters, frames / 2): beat, downbeat, meters."""

    def __init__(self, filters: int = 10, channels: int = 32, layers: int = 10) -> None:
        super().__init__()
        self.front = nn.Conv2d(2, filters, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d((2, 1))
        self.mid = nn.Conv1d(filters * (MEL_BANDS // 4), channels, 3, padding=1)
        self.drop = nn.Dropout1d(0.1)
        self.blocks = nn.ModuleList([Block(channels, 2**layer) for layer in range(layers)])
        self.out = nn.Conv1d(channels, 2 + len(METERS), 1)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        before = functional.pad(mel, (2, 0))[:, :, :-2]
        x = torch.stack([mel - 1.0, 4.0 * functional.relu(mel - before)], 1)
        x = self.pool(functional.elu(self.front(x))).flatten(1, 2)
        x = self.drop(functional.elu(self.mid(x)))
        for block in self.blocks:
            x = block(x)
        return self.out(functional.elu(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("material", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rate", type=float, default=3e-3)
    options = parser.parse_args()
    paths = sorted(options.material.glob("*.npz"))
    kept = [load_clip(path) for path in paths[::HELD_OUT_EVERY]]
    clips = [load_clip(path) for index, path in enumerate(paths) if index % HELD_OUT_EVERY]

    torch.set_num_threads(1)  # sums in one order: the same material gives the same weights
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = PulseNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-3)
    steps = options.epochs * (len(clips) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps, pct_start=0.05)
    for epoch in range(options.epochs):
        network.train()
        order = rng.permutation(len(clips))
        for first in range(0, len(clips) - BATCH + 1, BATCH):
            loss = measure_loss(network, [crop(clips[i], rng) for i in order[first : first + BATCH]])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            losses = [float(measure_loss(network, [crop(clip, None)])) for clip in kept]
        print(epoch, "validation loss", round(float(np.mean(losses)), 4), flush=True)
    export(network, options.out)


def export(network: PulseNetwork, path: Path) -> None:
    network.eval()
    axes = {"mel": {2: "frames"}, "logits": {2: "steps"}}
    example = torch.zeros(1, MEL_BANDS, 400)
    names = {"input_names": ["mel"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(network, (example,), path, opset_version=17, dynamo=False, **names)


def load_clip(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as clip:
        return {name: clip[name] for name in ("mel", "beats", "pos", "meter")}


def crop(clip: dict[str, np.ndarray], rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A piece of a clip, at another tempo, loudness and colour if there is an `rng`; with its targets."""
    mel, beat_s, meter = clip["mel"].astype(np.float32), clip["beats"], METERS.index(str(clip["meter"]) or "none")
    if rng is not None:
        speed = np.exp(rng.uniform(-0.14, 0.14)) if rng.random() < 0.6 else 1.0
        start = int(rng.integers(0, max(1, mel.shape[1] - round(CROP_FRAMES * speed) - 2)))
        place = start + np.arange(CROP_FRAMES) * speed
        place = place[place < mel.shape[1] - 1.001]
        whole, part = place.astype(int), (place % 1).astype(np.float32)
        mel = mel[:, whole] * (1 - part) + mel[:, whole + 1] * part
        mel = _colour(mel, rng)
        beat_s = (beat_s - start * HOP_S) / speed
    mel = mel[:, :CROP_FRAMES]
    steps, heard = CROP_FRAMES // 2, mel.shape[1] // 2
    frames = np.round(beat_s * FRAME_RATE_HZ).astype(int)
    target = np.zeros((2, steps), np.float32)
    for reach, value in ((-1, 0.5), (1, 0.5), (0, 1.0)):
        inside = (frames + reach >= 0) & (frames + reach < heard)
        for row, wanted in ((0, inside), (1, inside & (clip["pos"] == 1))):
            np.maximum.at(target[row], frames[wanted] + reach, value)
    meters = np.full(steps, meter)
    meters[heard:] = -1  # does not count
    if len(frames):
        second = round(FRAME_RATE_HZ)
        meters[: max(0, frames[0] - second)] = -1
        meters[max(0, frames[-1] + second) :] = -1
    return np.pad(mel, ((0, 0), (0, CROP_FRAMES - mel.shape[1]))), target, meters


def _colour(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another loudness and equalisation; sometimes a band or a moment is missing."""
    magnitude = (10.0**mel - 1.0) / LOG_GAIN
    curve_db = np.interp(np.arange(MEL_BANDS), np.linspace(0, MEL_BANDS - 1, 5), rng.normal(0, 4, 5))
    gain = 10 ** ((rng.uniform(-22, 8) + curve_db) / 20)
    mel = np.log10(1.0 + LOG_GAIN * magnitude * gain[:, None].astype(np.float32))
    if rng.random() < 0.25:
        first = rng.integers(0, MEL_BANDS - 10)
        mel[first : first + rng.integers(2, 14)] *= rng.random() < 0.5
    if rng.random() < 0.15:
        first = rng.integers(0, mel.shape[1] - 150)
        mel[:, first : first + rng.integers(20, 150)] = 0.0
    return mel


def measure_loss(network: PulseNetwork, crops: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> torch.Tensor:
    mel, target, meters = (torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True))
    logits = network(mel.float())
    of_meter = functional.cross_entropy(logits[:, 2:], meters, torch.tensor(METER_WEIGHTS), ignore_index=-1)
    of_beat = functional.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0])
    of_downbeat = functional.binary_cross_entropy_with_logits(logits[:, 1], target[:, 1])
    return of_beat + of_downbeat + METER_LOSS * of_meter


if __name__ == "__main__":
    main()
