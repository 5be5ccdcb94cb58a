"""Trains the pulse network (tasks/models/pulse.py) and writes it as ONNX. Needs torch 2.13, which a run does not.

    python -m tasks.models.training.pulse_songs SOUNDS GROOVE MATERIAL --clips 4000
    python -m tasks.models.training.train_pulse pulse.onnx MATERIAL --steps 5000
    python -m tasks.models.training.train_pulse wider.onnx MATERIAL --start pulse.onnx --channels 48

MATERIAL, one folder or more, holds one .npz a clip: `drums` and `band` (bands, frames) in bytes, `beats` in seconds,
`pos` in the bar, `meter`. Every eighth clip is held out. The network follows Davies & Böck, "Temporal convolutional
networks for musical audio beat tracking", EUSIPCO 2019, and Böck & Davies, "Deconstruct, analyse, reconstruct", ISMIR
2020 (two dilations a layer, the tempo learned beside the beats), with wider filters at the front and half their frame
rate.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from tasks.models.training.pulse_mix import load_clip, mix, resample
from tasks.music.beats import FRAME_RATE_HZ, TEMPI_BPM
from tasks.music.meter import METERS
from tasks.music.signals import HOP_S, MEL_BANDS

CROP_FRAMES = 1_600
HELD_OUT_EVERY = 8
HEARD_OF_THEM = 160
BATCH = 8
METER_WEIGHTS = (1.0, 0.8, 1.1, 1.3, 1.1, 1.6)  # rare meters count more
DOWNBEAT_LOSS = 1.5
AVERAGED_STEPS = 300  # of the weights that are kept
REPORT_EVERY = 500


class Block(nn.Module):
    """Two dilated convolutions beside a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        near = nn.Conv1d(channels, channels // 2, 5, padding=2 * dilation, dilation=dilation, bias=False)
        far = nn.Conv1d(channels, channels // 2, 5, padding=4 * dilation, dilation=2 * dilation, bias=False)
        self.convs = nn.ModuleList([near, far])
        self.norm = nn.BatchNorm1d(channels)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.drop = nn.Dropout1d(0.1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard = self.mix(self.drop(functional.elu(self.norm(torch.cat([conv(x) for conv in self.convs], 1)))))
        return x + heard, heard


class PulseNetwork(nn.Module):
    """From (clips, MEL_BANDS, frames) to logits (clips, 2 + meters + tempi, frames / 2): beat and downbeat first."""

    def __init__(self, filters: int = 10, channels: int = 48, layers: int = 8) -> None:
        super().__init__()
        self.front = nn.Conv2d(2, filters, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d((2, 1))
        self.mid = nn.Conv1d(filters * (MEL_BANDS // 4), channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout1d(0.1)
        self.blocks = nn.ModuleList([Block(channels, 2**layer) for layer in range(layers)])
        self.out = nn.Conv1d(channels, 2, 1)
        self.of_piece = nn.Conv1d(channels, len(METERS) + len(TEMPI_BPM), 1)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        before = functional.pad(mel, (2, 0))[:, :, :-2]
        x = torch.stack([mel - 1.0, 4.0 * functional.relu(mel - before)], 1)
        x = self.pool(functional.elu(self.front(x))).flatten(1, 2)
        x = self.drop(functional.elu(self.norm(self.mid(x))))
        total = 0.0
        for block in self.blocks:
            x, heard = block(x)
            total = total + heard
        return torch.cat([self.out(functional.elu(x)), self.of_piece(functional.elu(total))], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("material", type=Path, nargs="+")
    parser.add_argument("--start", type=Path, help="A network written before, to go on from.")
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=float, nargs=2, default=(0.1, 0.1), help="Of the losses of meter and tempo.")
    parser.add_argument("--bfloat16", action="store_true", help="Multiply in bfloat16, faster where the processor can.")
    options = parser.parse_args()
    paths = [path for folder in options.material for path in sorted(folder.glob("*.npz"))]
    held_out = paths[::HELD_OUT_EVERY]
    kept = [load_clip(path) for path in held_out[:: max(1, len(held_out) // HEARD_OF_THEM)]]
    clips = [load_clip(path) for index, path in enumerate(paths) if index % HELD_OUT_EVERY]

    torch.set_num_threads(1)  # sums in one order: the same material gives the same weights
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    network = PulseNetwork(channels=options.channels)
    if options.start:
        load_weights(network, options.start)
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=options.steps, pct_start=0.05)
    network.train()
    network.norm.train(not options.start)  # folded into a convolution before: it has no mean and spread of its own
    began, order = time.monotonic(), []
    for step in range(1, options.steps + 1):
        order = order if len(order) >= BATCH else list(rng.permutation(len(clips)))
        batch, order = order[:BATCH], order[BATCH:]
        crops = [crop(clips[index], rng) for index in batch]
        loss = sum(measure_losses(network, crops, options.weights, bfloat16=options.bfloat16))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _average(averaged, network, 1 / min(step, AVERAGED_STEPS))
        if step % REPORT_EVERY == 0 or step == options.steps:
            averaged.eval()
            with torch.no_grad():
                losses = [[float(x) for x in measure_losses(averaged, [crop(clip, None)])] for clip in kept]
            print(step, f"{time.monotonic() - began:.0f} s", np.mean(losses, axis=0).round(4).tolist(), flush=True)
            export(averaged, options.out)


def _average(averaged: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for mine, other in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            mine.lerp_(other, share) if mine.is_floating_point() else mine.copy_(other)


def load_weights(network: PulseNetwork, path: Path) -> None:
    """Take over the weights of an exported network, whose first normalisation is part of the convolution before it.

    The network may have more channels than the stored one: the new ones hear the old ones, which do not hear them yet,
    so that it begins by saying what the stored one says.

    Reference: Chen, Goodfellow & Shlens, "Net2Net: accelerating learning via knowledge transfer", ICLR 2016.
    """
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = network.state_dict()
    of_mid = state["mid.weight"].shape[1:]
    folded = next(name for name, value in stored.items() if name not in state and value.shape[1:] == of_mid)
    bias = next(node.input[2] for node in graph.node if folded in node.input)
    stored |= {"mid.weight": stored[folded], "norm.bias": stored[bias], "norm.weight": np.ones_like(stored[bias])}
    stored["norm.running_mean"] = np.zeros_like(stored[bias])
    stored["norm.running_var"] = np.full_like(stored[bias], 1.0 - network.norm.eps)
    state["norm.running_var"].fill_(1.0 - network.norm.eps)
    for name, value in state.items():
        if value.is_floating_point():
            _take_over(name, value, torch.from_numpy(np.array(stored[name])))


def _take_over(name: str, value: torch.Tensor, stored: torch.Tensor) -> None:
    """Write stored weights into those of a network that may be wider, and silence its new channels for the old ones."""
    old = [torch.arange(size) for size in stored.shape]
    in_halves = name.startswith("blocks") and "convs" not in name and not name.endswith("mix.bias")
    if in_halves:  # along the channels that two convolutions give together
        axis = 1 if "mix" in name else 0
        half, of_both = stored.shape[axis] // 2, value.shape[axis] // 2
        old[axis] = torch.cat([torch.arange(half), of_both + torch.arange(half)])
    if value.dim() > 1:
        value[old[0]] = 0.0
    value[torch.meshgrid(*old, indexing="ij")] = stored


def export(network: PulseNetwork, path: Path) -> None:
    network.eval()
    axes = {"mel": {2: "frames"}, "logits": {2: "steps"}}
    example = torch.zeros(1, MEL_BANDS, 400)
    names = {"input_names": ["mel"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(network, (example,), path, opset_version=17, dynamo=False, **names)


def crop(clip: dict[str, np.ndarray], rng: np.random.Generator | None) -> tuple[np.ndarray, ...]:
    """A piece of a clip, at another tempo, balance, loudness and colour if there is an `rng`; with its targets.

    Returns:
        The log mel spectrogram (MEL_BANDS, CROP_FRAMES), beats and downbeats (2, steps), the meter (steps,) as an index
        and the tempo (steps,) as a place among TEMPI_BPM; -1 does not count.
    """
    speed, start = 1.0, 0
    if rng is not None:
        speed = np.exp(rng.uniform(-0.14, 0.14)) if rng.random() < 0.6 else 1.0
        start = int(rng.integers(0, max(1, clip["drums"].shape[1] - round(CROP_FRAMES * speed) - 2)))
    place = start + np.arange(CROP_FRAMES) * speed
    place = place[place < clip["drums"].shape[1] - 1.001]
    mel = mix(*(resample(clip[part], place) for part in ("drums", "band")), rng)
    beat_s = (clip["beats"] - start * HOP_S) / speed
    steps, heard = CROP_FRAMES // 2, mel.shape[1] // 2
    frames = np.round(beat_s * FRAME_RATE_HZ).astype(int)
    target = np.zeros((2, steps), np.float32)
    for reach, value in ((-1, 0.5), (1, 0.5), (0, 1.0)):
        inside = (frames + reach >= 0) & (frames + reach < heard)
        for row, wanted in ((0, inside), (1, inside & (clip["pos"] == 1))):
            np.maximum.at(target[row], frames[wanted] + reach, value)
    meter = np.full(steps, METERS.index(str(clip["meter"]) or "none"))
    tempo = np.full(steps, -1.0, np.float32)
    meter[heard:] = -1
    if len(frames) > 2:
        second = round(FRAME_RATE_HZ)
        inside = slice(max(0, frames[0] - second), max(0, frames[-1] + second))
        outside = np.ones(steps, bool)
        outside[inside] = False
        meter[outside] = -1
        local_bpm = 60.0 / np.interp(np.arange(steps) / FRAME_RATE_HZ, beat_s[1:], np.diff(beat_s))
        places = np.interp(np.log(local_bpm), np.log(TEMPI_BPM), np.arange(len(TEMPI_BPM)))
        tempo[~outside] = places[~outside]
        tempo[heard:] = -1
    return np.pad(mel, ((0, 0), (0, CROP_FRAMES - mel.shape[1]))), target, meter, tempo


def measure_losses(
    network: PulseNetwork,
    crops: list[tuple[np.ndarray, ...]],
    weights: tuple[float, float] = (0.1, 0.1),
    *,
    bfloat16: bool = False,
) -> list[torch.Tensor]:
    """Of beats, downbeats, meter and tempo, weighted; the last two by `weights`."""
    mel, target, meter, tempo = (torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = network(mel).float()
    of_beat = functional.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0])
    of_downbeat = functional.binary_cross_entropy_with_logits(logits[:, 1], target[:, 1])
    end = 2 + len(METERS)
    counts = (meter >= 0).any()
    of_meter = functional.cross_entropy(logits[:, 2:end], meter, torch.tensor(METER_WEIGHTS), ignore_index=-1)
    below = tempo.clamp(min=0).long().clamp(max=len(TEMPI_BPM) - 2)
    share = (tempo - below).clamp(0, 1)
    chance = functional.log_softmax(logits[:, end:], 1)
    near = torch.gather(chance, 1, below[:, None])[:, 0], torch.gather(chance, 1, below[:, None] + 1)[:, 0]
    timed = tempo >= 0
    of_tempo = -(((1 - share) * near[0] + share * near[1]) * timed).sum() / timed.sum().clamp(min=1)
    return [
        of_beat,
        DOWNBEAT_LOSS * of_downbeat,
        weights[0] * of_meter if counts else of_beat * 0,
        weights[1] * of_tempo,
    ]


if __name__ == "__main__":
    main()
