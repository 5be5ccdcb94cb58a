"""Writes the trained network as ONNX, node by node, with the normalisations folded into the convolutions."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tasks.models.training.network import CLASSES, CONTEXT_FRAMES, DrumNetwork
from tasks.music.drums import NOTES_OF_INSTRUMENT


def write_onnx(network: DrumNetwork, thresholds: tuple[float, ...], path: Path) -> None:
    """Input `log_mel` (1, 2, frames, 80); outputs `activations` and `velocities` (CLASSES, frames), 0 to 1.

    The names of the classes, their thresholds and the context of a frame travel as the model's metadata.
    """
    graph = _Graph()
    x = "log_mel"
    for layer in network.spectral:
        x = graph.add("Relu", [graph.add_convolution(x, *_fold(layer))])
    x = graph.add("Relu", [graph.add_convolution(x, *_fold(network.join))])
    mean = graph.add("Relu", [graph.add_convolution(x, *_fold(network.squeeze))])
    frames, pads = network.mean.kernel_size, network.mean.padding
    mean = graph.add("AveragePool", [mean], kernel_shape=frames, pads=[*pads, *pads], count_include_pad=1)
    x = graph.add("Add", [x, graph.add("Relu", [graph.add_convolution(mean, *_fold(network.surroundings))])])
    for layer in network.context:
        x = graph.add("Add", [x, graph.add("Relu", [graph.add_convolution(x, *_fold(layer))])])
    x = graph.add_convolution(x, network.head, _numpy(network.head.weight), _numpy(network.head.bias))
    x = graph.add("Sigmoid", [graph.add("Squeeze", [x, graph.constant(np.array([0, 3]))])])
    sizes = graph.constant(np.array([CLASSES, CLASSES]))
    graph.nodes.append(helper.make_node("Split", [x, sizes], ["activations", "velocities"], axis=0))

    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [CLASSES, "frames"])
        for name in ("activations", "velocities")
    ]
    log_mel = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [1, 2, "frames", 80])
    body = helper.make_graph(graph.nodes, "drums", [log_mel], outputs, graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(
        model,
        {
            "instruments": ",".join(NOTES_OF_INSTRUMENT),
            "thresholds": ",".join(f"{threshold:g}" for threshold in thresholds),
            "context_frames": str(CONTEXT_FRAMES),
        },
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)


class _Graph:
    """Nodes and constants with running names."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.constants: list = []

    def add(self, operation: str, inputs: list[str], **attributes) -> str:
        name = f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add_convolution(self, x: str, layer: nn.Conv2d, weight: np.ndarray, bias: np.ndarray) -> str:
        return self.add(
            "Conv",
            [x, self.constant(weight), self.constant(bias)],
            strides=list(layer.stride),
            dilations=list(layer.dilation),
            pads=[layer.padding[0], layer.padding[1]] * 2,
        )


def _fold(layer: nn.Sequential) -> tuple[nn.Conv2d, np.ndarray, np.ndarray]:
    """A convolution with the normalisation after it taken into its weights."""
    convolution, norm = layer
    scale = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    weight = _numpy(convolution.weight) * scale[:, None, None, None]
    return convolution, weight, _numpy(norm.bias) - _numpy(norm.running_mean) * scale


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float32)
