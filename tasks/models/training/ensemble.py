"""Joins drum networks into one file that gives the mean of what they give, with thresholds of its own.

    python -m tasks.models.training.ensemble DATA FIRST.onnx SECOND.onnx --out tasks/models/drums.onnx

Networks that were trained on different material err in different places. The thresholds come from the validation part
of DATA, as in train.py.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import compose, helper

from tasks.models.runtime import open_session
from tasks.models.training.material import load_material, make_examples
from tasks.models.training.train import NAMES, best_thresholds, score

_OUTPUTS = ("activations", "velocities")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    join_networks(options.networks, options.out)
    session = open_session(options.out, 1)
    clips = load_material(sorted(options.data.glob("validation-*.npz")))
    predictions = [
        (hits, session.run(["activations"], {"log_mel": np.ascontiguousarray(inputs[None])})[0])
        for inputs, hits in make_examples(clips, seed=1)
    ]
    thresholds = best_thresholds(predictions)
    for name, threshold, value in zip(NAMES, thresholds, score(predictions, thresholds), strict=True):
        print(f"{name}: threshold {threshold:.2f}, F {value:.3f}")
    _set_metadata(options.out, thresholds=",".join(f"{threshold:g}" for threshold in thresholds))


def join_networks(paths: list[Path], out: Path) -> None:
    """Write one network whose outputs are the means of the others'; its context is the widest of theirs."""
    parts = [compose.add_prefix(onnx.load(path), f"part{index}_") for index, path in enumerate(paths)]
    nodes = [helper.make_node("Identity", ["log_mel"], [f"part{index}_log_mel"]) for index in range(len(parts))]
    nodes += [node for part in parts for node in part.graph.node]
    nodes += [helper.make_node("Mean", [f"part{i}_{name}" for i in range(len(parts))], [name]) for name in _OUTPUTS]
    first = onnx.load(paths[0])
    constants = [constant for part in parts for constant in part.graph.initializer]
    graph = helper.make_graph(nodes, "drums", list(first.graph.input), list(first.graph.output), constants)
    model = helper.make_model(graph, opset_imports=list(first.opset_import), ir_version=first.ir_version)
    metadata = [{entry.key: entry.value for entry in onnx.load(path).metadata_props} for path in paths]
    if len({entries["instruments"] for entries in metadata}) > 1:
        raise ValueError("The networks tell different instruments apart.")
    widest = max(int(entries["context_frames"]) for entries in metadata)
    helper.set_model_props(model, metadata[0] | {"context_frames": str(widest)})
    onnx.checker.check_model(model)
    onnx.save(model, out)


def _set_metadata(path: Path, **changes: str) -> None:
    model = onnx.load(path)
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | changes)
    onnx.save(model, path)


if __name__ == "__main__":
    main()
