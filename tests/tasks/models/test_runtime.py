import onnxruntime
import pytest

from tasks.errors import ModelNotInstalled
from tasks.models.runtime import choose_providers, open_session
from tasks.models.spleeter_graph import _Graph

WITH_CUDA = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def model():
    """A network that gives back what it gets."""
    return _Graph().serialise("magnitude", (1,), (1,))


def test_networks_run_on_the_processor_by_default(model):
    assert open_session(model).get_providers() == ["CPUExecutionProvider"]


def test_cuda_comes_first_without_tf32_and_the_processor_last(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    assert choose_providers("cuda") == [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"]


def test_cuda_without_its_package_is_one_line(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA[2:])
    with pytest.raises(ModelNotInstalled, match="needs the package onnxruntime-gpu: install it") as caught:
        choose_providers("cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_cuda_that_falls_back_to_the_processor_is_refused(model, monkeypatch):
    """As with onnxruntime-gpu on a machine without a GPU: the session opens, on the processor."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    with pytest.raises(ModelNotInstalled, match="cannot be used by onnxruntime-gpu"):
        open_session(model, device="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_what_onnxruntime_prints_of_missing_libraries_is_left_out(model, monkeypatch, capsys):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas.so.13"))
    with pytest.raises(ModelNotInstalled):
        open_session(model, device="cuda")
    assert capsys.readouterr().out == ""


def test_session_that_runs_on_cuda_is_taken_after_its_libraries_are_loaded(model, monkeypatch):
    calls = []

    class Session:
        def __init__(self, model, options, providers):
            calls.append((options.intra_op_num_threads, providers))

        def get_providers(self):
            return WITH_CUDA[1:]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: calls.append("libraries"))
    assert isinstance(open_session(model, threads=2, device="cuda"), Session)
    assert calls == ["libraries", (2, [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"])]


def test_unknown_device_is_named():
    with pytest.raises(ModelNotInstalled, match="no device tpu: use cpu or cuda"):
        choose_providers("tpu")
