"""Averages the weights of networks of which one went on from the other; often better than either on other music.

    python -m tasks.models.training.average start.onnx further.onnx pulse.onnx

Reference: Wortsman et al., "Model soups", ICML 2022.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    average(options.networks, options.out)


def average(networks: list[Path], out: Path) -> None:
    """Write the mean of networks with the same nodes and the same names of weights."""
    models = [onnx.load(path) for path in networks]
    weights = [{tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} for model in models]
    for tensor in models[-1].graph.initializer:
        values = [stored[tensor.name] for stored in weights]
        if values[0].dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.mean(values, axis=0, dtype=np.float32), tensor.name))
    onnx.save(models[-1], out)


if __name__ == "__main__":
    main()
