"""Joins pulse networks, one or more, into the file that the product reads: probabilities, the mean of theirs.

    python -m tasks.models.training.pulse_ensemble narrow.onnx wide.onnx tasks/models/pulse.onnx --weights 1 2

Networks of different width or training err in different places, above all on music that is unlike their material.

Reference: Böck, Krebs & Widmer, "Joint beat and downbeat tracking with recurrent neural networks", ISMIR 2016 (averages
what several networks hear).
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from tasks.music.meter import METERS
from tasks.music.pulse import TEMPI_BPM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=float, nargs="+", help="One a network; equal by default.")
    options = parser.parse_args()
    weights = options.weights or [1.0] * len(options.networks)
    if len(weights) != len(options.networks):
        parser.error("There are as many weights as networks.")
    join_networks(options.networks, weights, options.out)


def join_networks(paths: list[Path], weights: list[float], out: Path) -> None:
    """Write one network with the input of the others; its output has their rows, as probabilities."""
    models = [onnx.load(path) for path in paths]
    parts = [compose.add_prefix(model, f"part{index}_") for index, model in enumerate(models)]
    shares = np.array(weights, np.float32) / np.sum(weights, dtype=np.float32)
    sizes = np.array([2, len(METERS), len(TEMPI_BPM)])
    nodes, constants = [], [numpy_helper.from_array(sizes, "sizes")]
    for index, (part, share) in enumerate(zip(parts, shares, strict=True)):
        constants += [*part.graph.initializer, numpy_helper.from_array(share[None], f"share{index}")]
        nodes.append(helper.make_node("Identity", ["mel"], [f"part{index}_mel"]))
        nodes += part.graph.node
        logits, chances = ([f"{kind}{index}_{part}" for part in range(3)] for kind in ("logits", "chances"))
        nodes.append(helper.make_node("Split", [f"part{index}_logits", "sizes"], logits, axis=1))
        nodes.append(helper.make_node("Sigmoid", logits[:1], chances[:1]))
        nodes += [
            helper.make_node("Softmax", [of], [to], axis=1) for of, to in zip(logits[1:], chances[1:], strict=True)
        ]
        nodes.append(helper.make_node("Concat", chances, [f"all{index}"], axis=1))
        nodes.append(helper.make_node("Mul", [f"all{index}", f"share{index}"], [f"shared{index}"]))
    nodes.append(helper.make_node("Sum", [f"shared{index}" for index in range(len(parts))], ["chances"]))
    first = models[0]
    output = helper.make_tensor_value_info("chances", TensorProto.FLOAT, [1, int(sizes.sum()), "steps"])
    graph = helper.make_graph(nodes, "pulse", list(first.graph.input), [output], constants)
    model = helper.make_model(graph, opset_imports=list(first.opset_import), ir_version=first.ir_version)
    onnx.checker.check_model(model)
    onnx.save(model, out)


if __name__ == "__main__":
    main()
