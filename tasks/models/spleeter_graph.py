"""Builds Spleeter's U-Nets as one ONNX graph out of a published checkpoint. Running them: tasks/models/spleeter.py.

One U-Net a stem reads the same magnitudes; the graph ends in the ratio masks, so that one call gives what multiplies
the spectrogram. Batch normalisation cannot be folded into the convolutions before it: the skip connections take their
output before it, and the decoder has a rectifier in between.

Reference:
    Hennequin, Khlif, Voituret & Moussallam, "Spleeter: a fast and efficient music source separation tool with
    pre-trained models", JOSS 2020; Jansson et al., "Singing voice separation with deep U-Net convolutional networks",
    ISMIR 2017. Geometry, activations and mask constants are those of the package spleeter 2.4.2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import BadCheckpoint
from tasks.models.tensor_bundle import read_tensors

GRAPH_VERSION = 2  # part of the cache key: raise it when the graph of the same checkpoint changes
SEGMENT_FRAMES = 512
NETWORK_BINS = 1024  # of 2049: the networks see up to 11 kHz
FILTERS = (16, 32, 64, 128, 256, 512)
NORMALISATION_EPSILON = 1e-3  # Keras' default, which the checkpoints were trained with
MASK_EPSILON = 1e-10
NORMALISATION_PARTS = ("gamma", "beta", "moving_mean", "moving_variance")  # the order of ONNX's inputs
SAME_5 = [1, 1, 2, 2]  # TensorFlow's "same" for 5×5 at a stride of 2 over an even length: one zero before, two after
PHASE_TAPS = ((3, 1), (4, 2, 0))  # of a transposed kernel: those that make even outputs and odd ones, in input order
OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True)
class Network:
    """One of Spleeter's published configurations.

    Attributes:
        stems: In the order of the checkpoint's variables.
        activation: Of the encoder, and of the decoder where it is "Elu"; with "LeakyRelu" the decoder has "Relu".
        softmax: Whether the masks of the stems compete in a softmax, instead of a sigmoid each.
    """

    stems: tuple[str, ...]
    activation: str
    softmax: bool = False


NETWORKS = {
    2: Network(("vocals", "accompaniment"), "LeakyRelu"),
    4: Network(("vocals", "drums", "bass", "other"), "Elu"),
    5: Network(("vocals", "piano", "drums", "bass", "other"), "Elu", softmax=True),
}


def build_graph(prefix: Path, network: Network, frames: int = SEGMENT_FRAMES, bins: int = NETWORK_BINS) -> bytes:
    """Read a checkpoint and build its networks.

    Args:
        prefix: Path of the checkpoint without a suffix (folder/model).
        network: Which networks the checkpoint holds.
        frames: Length of the input in STFT frames, a multiple of 64.
        bins: Height of the input in STFT bins, a multiple of 64.

    Returns:
        A serialised ONNX model: `magnitude` float32 (1, 2, frames, bins) → `masks` float32 (stems, 2, frames, bins),
        which sum to 1 over the stems.

    Raises:
        BadCheckpoint: The files are damaged, or the variables are not those of these networks.
    """
    weights = _read_weights(prefix, network)
    graph = _Graph()
    logits = [_add_unet(graph, weights, stem, network) for stem in range(len(network.stems))]
    masks = _add_masks(graph, logits, network)
    return graph.serialise(masks, (len(network.stems), 2, frames, bins), (1, 2, frames, bins))


def _variables(stem: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the variables of one stem's U-Net, as Keras numbers layers of a kind over the whole model."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 2
    for level, filters in enumerate(FILTERS):
        shapes |= _convolution(_numbered("conv2d", 7 * stem + level), (5, 5, inputs, filters), filters)
        shapes |= _normalisation(_numbered("batch_normalization", 12 * stem + level), filters)
        inputs = filters
    for level, filters in enumerate((*FILTERS[-2::-1], 1)):
        shapes |= _convolution(_numbered("conv2d_transpose", 6 * stem + level), (5, 5, filters, inputs), filters)
        shapes |= _normalisation(_numbered("batch_normalization", 12 * stem + 6 + level), filters)
        inputs = 2 * filters  # the skip connection is joined on
    return shapes | _convolution(_numbered("conv2d", 7 * stem + 6), (4, 4, 1, 2), 2)


def _convolution(name: str, kernel: tuple[int, ...], filters: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": kernel, f"{name}/bias": (filters,)}


def _normalisation(name: str, filters: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/{part}": (filters,) for part in NORMALISATION_PARTS}


def _numbered(layer: str, number: int) -> str:
    return f"{layer}_{number}" if number else layer


def _read_weights(prefix: Path, network: Network) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {}
    for stem in range(len(network.stems)):
        shapes |= _variables(stem)
    weights = read_tensors(prefix, shapes)
    for name, shape in shapes.items():
        if weights[name].shape != shape or weights[name].dtype != np.float32:
            found = f"{weights[name].dtype} {weights[name].shape}"
            raise BadCheckpoint(
                f"{prefix} is no Spleeter checkpoint of {len(network.stems)} stems: "
                f"{name} is {found}, expected float32 {shape}."
            )
    return weights


class _Graph:
    """Collects nodes and constants; every value gets a number as its name."""

    def __init__(self) -> None:
        self._nodes = []
        self._constants = []
        self._values = 0

    def add(self, operator: str, *inputs: str, **attributes) -> str:
        from onnx import helper

        name = self._name()
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = self._name()
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def serialise(self, output: str, output_shape: tuple[int, ...], input_shape: tuple[int, ...]) -> bytes:
        from onnx import TensorProto, helper

        self._nodes.append(helper.make_node("Identity", [output], ["masks"]))
        graph = helper.make_graph(
            self._nodes,
            "spleeter",
            [helper.make_tensor_value_info("magnitude", TensorProto.FLOAT, input_shape)],
            [helper.make_tensor_value_info("masks", TensorProto.FLOAT, output_shape)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model.SerializeToString()

    def _name(self) -> str:
        self._values += 1
        return f"v{self._values}"


def _add_unet(graph: _Graph, weights: dict[str, np.ndarray], stem: int, network: Network) -> str:
    """One stem's U-Net, up to its logits, (1, 2, frames, bins)."""
    levels = len(FILTERS)
    value = "magnitude"
    skips = []
    for level in range(levels):
        name = _numbered("conv2d", 7 * stem + level)
        value = graph.add("Conv", value, *_kernel(graph, weights, name, (3, 2, 0, 1)), strides=[2, 2], pads=SAME_5)
        skips.append(value)
        if level < levels - 1:
            value = _add_normalisation(graph, weights, value, 12 * stem + level)
            value = _add_activation(graph, value, network.activation)
    value = skips.pop()  # the innermost level is neither normalised nor rectified before the decoder
    for level in range(levels):
        name = _numbered("conv2d_transpose", 6 * stem + level)
        value = _add_upsampling(graph, weights, value, name, "Elu" if network.activation == "Elu" else "Relu")
        value = _add_normalisation(graph, weights, value, 12 * stem + levels + level)
        if skips:
            value = graph.add("Concat", skips.pop(), value, axis=1)
    kernel = _kernel(graph, weights, _numbered("conv2d", 7 * stem + levels), (3, 2, 0, 1))
    return graph.add("Conv", value, *kernel, dilations=[2, 2], pads=[3, 3, 3, 3])


def _add_upsampling(graph: _Graph, weights: dict[str, np.ndarray], value: str, name: str, activation: str) -> str:
    """A transposed convolution with a stride of 2, and the activation after it.

    Each output reads only every second tap along each axis, so four small convolutions, one for each parity of row and
    column, compute what a transposed one does without its scattered writes (an eighth of the network's time); their
    outputs are interleaved. It does not pay for a single output channel.

    Reference:
        Shi et al., "Is the deconvolution layer the same as a convolutional layer?", arXiv:1609.07009, 2016.
    """
    kernel = weights[f"{name}/kernel"]
    if kernel.shape[2] == 1:
        taps = _kernel(graph, weights, name, (3, 2, 0, 1))
        return _add_activation(graph, graph.add("ConvTranspose", value, *taps, strides=[2, 2], pads=SAME_5), activation)
    bias = graph.constant(weights[f"{name}/bias"])
    phases = []
    for rows in PHASE_TAPS:
        for columns in PHASE_TAPS:
            taps = graph.constant(kernel[np.ix_(rows, columns)].transpose(2, 3, 0, 1))
            pads = [1, 1, len(rows) - 2, len(columns) - 2]
            phases.append(graph.add("Conv", value, taps, bias, pads=pads))
    joined = _add_activation(graph, graph.add("Concat", *phases, axis=1), activation)
    return graph.add("DepthToSpace", joined, blocksize=2, mode="DCR")


def _kernel(graph: _Graph, weights: dict[str, np.ndarray], name: str, axes: tuple[int, ...]) -> tuple[str, str]:
    """Kernel and bias of a layer, the kernel turned from TensorFlow's order of axes to ONNX's."""
    return graph.constant(weights[f"{name}/kernel"].transpose(axes)), graph.constant(weights[f"{name}/bias"])


def _add_normalisation(graph: _Graph, weights: dict[str, np.ndarray], value: str, number: int) -> str:
    name = _numbered("batch_normalization", number)
    parts = [graph.constant(weights[f"{name}/{part}"]) for part in NORMALISATION_PARTS]
    return graph.add("BatchNormalization", value, *parts, epsilon=NORMALISATION_EPSILON)


def _add_activation(graph: _Graph, value: str, activation: str) -> str:
    return graph.add(activation, value, **({"alpha": 0.2} if activation == "LeakyRelu" else {}))


def _add_masks(graph: _Graph, logits: list[str], network: Network) -> str:
    """Each stem's share of the squared magnitudes, (stems, 2, frames, bins)."""
    if network.softmax:
        soft = graph.add("Softmax", graph.add("Concat", *logits, axis=0), axis=0)
    else:
        soft = graph.add("Sigmoid", graph.add("Concat", *logits, axis=0))
    magnitudes = graph.add("Mul", soft, "magnitude")
    power = graph.add("Mul", magnitudes, magnitudes)
    axes = graph.constant(np.array([0], np.int64))
    total = graph.add("Add", graph.add("ReduceSum", power, axes, keepdims=1), graph.constant(np.float32(MASK_EPSILON)))
    share = graph.constant(np.float32(MASK_EPSILON / len(logits)))
    return graph.add("Div", graph.add("Add", power, share), total)
