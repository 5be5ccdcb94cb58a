from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit, softmax

from tasks.models.training.pulse_ensemble import join_networks
from tasks.music.meter import METERS
from tasks.music.pulse import TEMPI_BPM

ROWS = 2 + len(METERS) + len(TEMPI_BPM)


def write_network(path: Path, factor: float) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, ROWS, "n"]) for name in ("mel", "logits")]
    stored = numpy_helper.from_array(np.array([factor], np.float32), "factor")
    nodes = [helper.make_node("Mul", ["mel", "factor"], ["logits"])]
    graph = helper.make_graph(nodes, "n", ends[:1], ends[1:], [stored])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_the_joint_network_says_the_weighted_mean_of_probabilities(tmp_path):
    networks = [write_network(tmp_path / f"{factor}.onnx", factor) for factor in (1.0, 4.0)]
    join_networks(networks, [1.0, 2.0], tmp_path / "joint.onnx")
    joint = onnxruntime.InferenceSession(tmp_path / "joint.onnx")
    logits = np.random.default_rng(0).standard_normal((ROWS, 5)).astype(np.float32)
    (said,) = joint.run(None, {"mel": logits[None]})
    beat, meter, tempo = said[0, :2], said[0, 2 : 2 + len(METERS)], said[0, 2 + len(METERS) :]
    np.testing.assert_allclose(beat, (expit(logits[:2]) + 2 * expit(4 * logits[:2])) / 3, rtol=1e-5)
    np.testing.assert_allclose(meter.sum(axis=0), np.ones(5), rtol=1e-5)
    tempi = logits[2 + len(METERS) :]
    np.testing.assert_allclose(tempo, (softmax(tempi, 0) + 2 * softmax(4 * tempi, 0)) / 3, rtol=1e-4)
