"""Opens networks on ONNX Runtime, all in the same way."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

from tasks.errors import ModelNotInstalled

CUDA = "CUDAExecutionProvider"
USE_CPU = "or use the device cpu"
LOG_WARNINGS, LOG_FATAL = 2, 4  # ONNX Runtime's own level, which it does not tell, and its highest
_OUT_OF_MEMORY = ("std::bad_alloc", "Failed to allocate memory")  # in the message of ONNX Runtime's `Fail`


def open_session(model: bytes | Path, threads: int = 1, device: str = "cpu"):
    """Load a network.

    Args:
        model: The ONNX model or its file.
        threads: Threads of one call.
        device: "cpu" or "cuda". CUDA and cuDNN come from the packages nvidia-* beside onnxruntime-gpu, or from where
            the system looks for libraries.

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
    providers = choose_providers(device)
    if device == "cpu":
        return onnxruntime.InferenceSession(model, options, providers=providers)
    with _silence_onnxruntime():
        onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    if CUDA not in session.get_providers():  # ONNX Runtime goes on, on the processor
        raise ModelNotInstalled(
            f"The device cuda cannot be used by onnxruntime-gpu {onnxruntime.__version__}: see that nvidia-smi lists "
            f'it and that CUDA and cuDNN are there (pip install "onnxruntime-gpu[cuda,cudnn]" brings them), {USE_CPU}.'
        )
    return session


def lacks_memory(error: Exception) -> bool:
    """Whether this is a lack of memory, for which ONNX Runtime has no kind of error of its own."""
    of_onnxruntime = type(error).__module__.startswith("onnxruntime.")
    return isinstance(error, MemoryError) or (of_onnxruntime and any(words in str(error) for words in _OUT_OF_MEMORY))


@contextmanager
def _silence_onnxruntime() -> Iterator[None]:
    """Leave out its several lines of what is missing, printed and logged; ours is one."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(LOG_FATAL)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(LOG_WARNINGS)


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
        raise ModelNotInstalled(
            f"The device cuda needs the package onnxruntime-gpu: install it in the place of onnxruntime, {USE_CPU}."
        )
    return [(CUDA, {"use_tf32": 0}), "CPUExecutionProvider"]  # TF32 would cost 60 dB of agreement
