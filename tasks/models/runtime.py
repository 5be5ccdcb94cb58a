"""Opens networks on ONNX Runtime, all in the same way."""

from pathlib import Path

from tasks.errors import ModelNotInstalled

CUDA = "CUDAExecutionProvider"
USE_CPU = "or use the device cpu"


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
    # A thread that spins after a call takes the core from what comes between two calls: the transforms.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=choose_providers(device))
    if device == "cuda" and CUDA not in session.get_providers():  # ONNX Runtime goes on without a word
        raise ModelNotInstalled(
            f"The device cuda was found by onnxruntime-gpu and cannot be used: see that nvidia-smi lists it and that "
            f"CUDA and cuDNN are those of onnxruntime-gpu {onnxruntime.__version__}, {USE_CPU}."
        )
    return session


def choose_providers(device: str) -> list[str | tuple[str, dict]]:
    """What ONNX Runtime shall run networks on, first choice first.

    Raises:
        ModelNotInstalled: No such device.
    """
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device != "cuda":
        raise ModelNotInstalled(f"There is no device {device}: use cpu or cuda.")
    if CUDA not in onnxruntime.get_available_providers():
        raise ModelNotInstalled(f"The device cuda needs the package onnxruntime-gpu: install it, {USE_CPU}.")
    return [(CUDA, {"use_tf32": 0}), "CPUExecutionProvider"]  # TF32 would cost 60 dB of agreement
