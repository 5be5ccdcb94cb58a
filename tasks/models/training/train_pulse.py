"""Trains the pulse network (tasks/models/pulse.py) and writes it as ONNX. Needs torch 2.13, which a run does not.

    python -m tasks.models.training.pulse_songs SOUNDS GROOVE MATERIAL --clips 4000
    python -m tasks.models.training.train_pulse pulse.onnx MATERIAL --steps 5000
    python -m tasks.models.training.train_pulse wider.onnx MATERIAL --start pulse.onnx --channels 48
    python -m tasks.models.training.train_pulse deep.onnx MATERIAL --device cuda --workers 15 --batch 64 --minutes 6 \
        --channels 160 --filters 16 --further 24 32

MATERIAL, one folder or more, holds one .npz a clip: `drums` and `band` (bands, frames) in bytes, `beats` in seconds,
`pos` in the bar, `meter`. Every eighth clip is held out. The network follows Davies & Böck, "Temporal convolutional
networks for musical audio beat tracking", EUSIPCO 2019, and Böck & Davies, "Deconstruct, analyse, reconstruct", ISMIR
2020 (two dilations a layer, the tempo learned beside the beats), with wider filters at the front and half their frame
rate.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, default_collate

from tasks.models.training.pulse_mix import load_clip, mix, resample
from tasks.music.meter import METERS
from tasks.music.pulse import FRAME_RATE_HZ, TEMPI_BPM
from tasks.music.signals import HOP_S, MEL_BANDS

CROP_FRAMES = 1_600
HELD_OUT_EVERY = 8
HEARD_OF_THEM = 160
HEARD_AT_A_TIME = 16
WARM_UP = 0.05  # share of the steps in which the rate rises
METER_WEIGHTS = (1.0, 0.8, 1.1, 1.3, 1.1, 1.6)  # rare meters count more
DOWNBEAT_LOSS = 1.5
AVERAGED_STEPS = 300  # of the weights that are kept
REPORTS = 20


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

    def __init__(self, filters: int = 10, channels: int = 48, layers: int = 8, further: tuple[int, ...] = ()) -> None:
        """Args: the filters of the front and of further convolutions behind it; channels and number of the layers."""
        super().__init__()
        self.front = nn.Conv2d(2, filters, 5, stride=2, padding=2)
        self.pool = nn.MaxPool2d((2, 1))
        widths = (filters, *further)
        self.further = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in zip(widths, further, strict=False))
        bands = MEL_BANDS // (8 if further else 4)
        self.mid = nn.Conv1d(widths[-1] * bands, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.drop = nn.Dropout1d(0.1)
        self.blocks = nn.ModuleList([Block(channels, 2**layer) for layer in range(layers)])
        self.out = nn.Conv1d(channels, 2, 1)
        self.of_piece = nn.Conv1d(channels, len(METERS) + len(TEMPI_BPM), 1)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        before = functional.pad(mel, (2, 0))[:, :, :-2]
        x = torch.stack([mel - 1.0, 4.0 * functional.relu(mel - before)], 1)
        x = self.pool(functional.elu(self.front(x)))
        for index, conv in enumerate(self.further):
            x = functional.elu(conv(x))
            x = self.pool(x) if index == 0 else x
        x = self.drop(functional.elu(self.norm(self.mid(x.flatten(1, 2)))))
        total = 0.0
        for block in self.blocks:
            x, heard = block(x)
            total = total + heard
        return torch.cat([self.out(functional.elu(x)), self.of_piece(functional.elu(total))], 1)


class Crops(Dataset):
    """Pieces of clips by (number of the clip, number of the draw): the same two give the same piece."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        self.paths, self.seed = paths, seed

    def __getitem__(self, which: tuple[int, int]) -> tuple[np.ndarray, ...]:
        clip, draw = which
        mel, *targets = crop(load_clip(self.paths[clip]), np.random.default_rng([self.seed, draw]))
        return mel.astype(np.float16), *targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("material", type=Path, nargs="+")
    parser.add_argument("--start", type=Path, help="A network written before, to go on from.")
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--filters", type=int, default=10, help="Of the front.")
    parser.add_argument("--further", type=int, nargs="*", default=(), help="Filters of more convolutions behind it.")
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--minutes", type=float, help="Train so long instead; the rate falls with the time.")
    parser.add_argument("--batch", type=int, default=8, help="Pieces of 16 s a step.")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=float, nargs=2, default=(0.1, 0.1), help="Of the losses of meter and tempo.")
    parser.add_argument("--bfloat16", action="store_true", help="Multiply in bfloat16, faster where the machine can.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda.")
    parser.add_argument("--workers", type=int, default=0, help="Processes that mix the pieces.")
    options = parser.parse_args()
    paths = [path for folder in options.material for path in sorted(folder.glob("*.npz"))]
    held_out = paths[::HELD_OUT_EVERY]
    kept = [crop(load_clip(path), None) for path in held_out[:: max(1, len(held_out) // HEARD_OF_THEM)]]
    crops = Crops([path for index, path in enumerate(paths) if index % HELD_OUT_EVERY], options.seed)

    torch.set_num_threads(1)  # sums in one order: the same material gives the same weights on a processor
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(options.seed)
    network = PulseNetwork(options.filters, options.channels, further=tuple(options.further))
    if options.start:
        load_weights(network, options.start)
    network.to(options.device)
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-3)
    network.train()
    network.norm.train(not options.start)  # folded into a convolution before: it has no mean and spread of its own
    began, done, reported = time.monotonic(), 0.0, 1
    loader = DataLoader(
        crops,
        batch_sampler=_draw_batches(len(crops.paths), options.batch, options.seed),
        num_workers=options.workers,
        pin_memory=options.device != "cpu",
        prefetch_factor=4 if options.workers else None,
    )
    for step, batch in enumerate(loader, 1):
        for group in optimiser.param_groups:
            group["lr"] = options.rate * _share_of_rate(done)
        loss = sum(measure_losses(network, batch, options.weights, bfloat16=options.bfloat16))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _average(averaged, network, 1 / min(step, AVERAGED_STEPS))
        passed_s = time.monotonic() - began
        done = passed_s / (60 * options.minutes) if options.minutes else step / options.steps
        if done >= reported / REPORTS:
            print(step, f"{passed_s:.0f} s", _judge(averaged, kept), flush=True)
            export(copy.deepcopy(averaged).cpu(), options.out)
            reported += 1
        if done >= 1:
            break


def _draw_batches(clips: int, size: int, seed: int) -> Iterator[list[tuple[int, int]]]:
    """Without end: all clips in another order each time, with the number of the draw."""
    rng, order, draw = np.random.default_rng(seed), np.zeros(0, int), 0
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(clips)])
        yield [(int(clip), draw + place) for place, clip in enumerate(order[:size])]
        order, draw = order[size:], draw + size


def _share_of_rate(done: float) -> float:
    """Of the highest rate, after this share of the training: up in a line, down along a cosine."""
    if done < WARM_UP:
        return 0.04 + 0.96 * done / WARM_UP
    return 0.5 + 0.5 * float(np.cos(np.pi * min(1.0, (done - WARM_UP) / (1.0 - WARM_UP))))


def _judge(network: PulseNetwork, kept: list[tuple[np.ndarray, ...]]) -> list[float]:
    """The losses on pieces that are held out."""
    network.eval()
    with torch.no_grad():
        batches = [default_collate(kept[at : at + HEARD_AT_A_TIME]) for at in range(0, len(kept), HEARD_AT_A_TIME)]
        losses = [[float(x) for x in measure_losses(network, batch)] for batch in batches]
    sizes = [len(batch[0]) for batch in batches]
    return np.average(losses, axis=0, weights=sizes).round(4).tolist()


def _average(averaged: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for mine, other in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, share)


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
    crops: list[torch.Tensor],
    weights: tuple[float, float] = (0.1, 0.1),
    *,
    bfloat16: bool = False,
) -> list[torch.Tensor]:
    """Of beats, downbeats, meter and tempo of a batch of `crop`, weighted; the last two by `weights`."""
    device = network.out.weight.device
    mel, target, meter, tempo = (part.to(device, non_blocking=True) for part in crops)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        logits = network(mel.float()).float()
    of_beat = functional.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0])
    of_downbeat = functional.binary_cross_entropy_with_logits(logits[:, 1], target[:, 1])
    end = 2 + len(METERS)
    rarity = torch.tensor(METER_WEIGHTS, device=device)
    counted = rarity[meter.clamp(min=0)] * (meter >= 0)
    of_meter = functional.cross_entropy(logits[:, 2:end], meter, rarity, ignore_index=-1, reduction="sum")
    of_meter = of_meter / counted.sum().clamp(min=1.0)
    below = tempo.clamp(min=0).long().clamp(max=len(TEMPI_BPM) - 2)
    share = (tempo - below).clamp(0, 1)
    chance = functional.log_softmax(logits[:, end:], 1)
    near = torch.gather(chance, 1, below[:, None])[:, 0], torch.gather(chance, 1, below[:, None] + 1)[:, 0]
    timed = tempo >= 0
    of_tempo = -(((1 - share) * near[0] + share * near[1]) * timed).sum() / timed.sum().clamp(min=1)
    return [
        of_beat,
        DOWNBEAT_LOSS * of_downbeat,
        weights[0] * of_meter,
        weights[1] * of_tempo,
    ]


if __name__ == "__main__":
    main()
