"""Opens networks on ONNX Runtime, all in the same way."""

from pathlib import Path


class ModelNotInstalled(ValueError):
    """A model or a device that was asked for is not on this machine."""


def open_session(model: bytes | Path, threads: int = 1, device: str = "cpu"):
    """Load a network.

    Args:
        model: The ONNX model or its file.
        threads: Threads of one call.
        device: "cpu" or "cuda".

    Returns:
        An `onnxruntime.InferenceSession`.

    Raises:
        ModelNotInstalled: No such device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # a second copy of all activations, 150 MB for separation, and no faster
    providers = ["CPUExecutionProvider"]
    if device == "cuda":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ModelNotInstalled(
                "The device cuda needs the package onnxruntime-gpu: install it, or use the device cpu."
            )
        providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": 0}))  # TF32 would cost 60 dB of agreement
    return onnxruntime.InferenceSession(model, options, providers=providers)
