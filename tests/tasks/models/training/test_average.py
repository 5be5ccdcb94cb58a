from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.models.training.average import average


def write_network(path: Path, weight: float) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    stored = numpy_helper.from_array(np.full(2, weight, np.float32), "weight")
    nodes = [helper.make_node("Mul", ["x", "weight"], ["y"])]
    onnx.save(helper.make_model(helper.make_graph(nodes, "n", ends[:1], ends[1:], [stored])), path)
    return path


def test_every_weight_is_the_mean(tmp_path):
    networks = [write_network(tmp_path / f"{weight}.onnx", weight) for weight in (1.0, 4.0)]
    average(networks, tmp_path / "mean.onnx")
    [weight] = onnx.load(tmp_path / "mean.onnx").graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weight), [2.5, 2.5])
