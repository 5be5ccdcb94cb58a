"""Takes a network out of an ONNX file again, so that training can go on from it where its checkpoint is lost.

    python -m tasks.models.training.restore tasks/models/drums.onnx DATA --part 2 --out stage3.pt

The file may be one that ensemble.py joined; only networks as network.py builds them now can be taken out. Export folds
each normalisation into the convolution before it; what it normalised by is measured anew on material in DATA.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from tasks.models.training.material import load_material, make_batch
from tasks.models.training.network import DrumNetwork

_BATCHES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", type=int, help="which of the networks that ensemble.py joined, from 0")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = read_network(options.network, options.part)
    clips = load_material(sorted(options.data.glob("train-*.npz"))[:_BATCHES])
    rng = np.random.default_rng(1)
    inputs = [torch.from_numpy(make_batch(clips, 16, 320, rng)[0]) for _ in range(_BATCHES)]
    restore_norms(network, torch.cat(inputs))
    torch.save({"network": network.state_dict(), "average": copy.deepcopy(network.state_dict())}, options.out)


def read_network(path: Path, part: int | None = None) -> DrumNetwork:
    """The network of a file, or one of those that were joined, with normalisations that change nothing.

    Raises:
        ValueError: The file holds no such network.
    """
    prefix = "" if part is None else f"part{part}_"
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [
        node for node in graph.node if node.op_type == "Conv" and node.output[0].startswith(f"{prefix}conv_")
    ]
    network = DrumNetwork().eval()
    places = [*_normalised(network), (network.head, None)]
    if [stored[node.input[1]].shape for node in convolutions] != [tuple(conv.weight.shape) for conv, _ in places]:
        raise ValueError(f"{path} holds no network of this shape under {prefix!r}.")
    with torch.no_grad():
        for node, (convolution, norm) in zip(convolutions, places, strict=True):
            weight, bias = (torch.from_numpy(stored[name].copy()) for name in node.input[1:])
            convolution.weight.copy_(weight)
            (convolution if norm is None else norm).bias.copy_(bias)
            if norm is not None:
                norm.running_var.fill_(1.0 - norm.eps)
    return network


@torch.no_grad()
def restore_norms(network: DrumNetwork, inputs: torch.Tensor) -> None:
    """Measure what each convolution gives for these inputs and let its normalisation undo and redo just that.

    The network says the same as before, now in training too, where a normalisation measures its batch.
    """
    given: dict[nn.Module, list[torch.Tensor]] = {}
    hooks = [
        convolution.register_forward_hook(
            lambda module, _, output: given.setdefault(module, []).append(_moments(output))
        )
        for convolution, _ in _normalised(network)
    ]
    network.eval()
    for batch in inputs.split(16):
        network(batch)
    for hook in hooks:
        hook.remove()
    for convolution, norm in _normalised(network):
        mean, square = torch.stack(given[convolution]).mean(dim=0)
        variance = (square - mean**2).clamp(min=0)
        norm.bias.add_(norm.weight * (mean - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps))
        norm.weight.mul_(torch.sqrt(variance + norm.eps) / torch.sqrt(norm.running_var + norm.eps))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _normalised(network: DrumNetwork) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and their normalisations in the order of their use."""
    layers = [*network.spectral, network.join, network.squeeze, network.surroundings, *network.context]
    return [(layer[0], layer[1]) for layer in layers]


def _moments(output: torch.Tensor) -> torch.Tensor:
    """Mean and mean square of each channel, (2, channels)."""
    return torch.stack([output.mean(dim=(0, 2, 3)), (output**2).mean(dim=(0, 2, 3))])


if __name__ == "__main__":
    main()
