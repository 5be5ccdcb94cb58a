import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tasks.errors import ModelNotInstalled
from tasks.models.runtime import choose_providers, lacks_memory, open_session
from tasks.models.spleeter_graph import _Graph

WITH_CUDA = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def model():
    """A network that gives back what it gets."""
    return _Graph().serialise("magnitude", (1,), (1,))


@pytest.fixture
def opened(monkeypatch):
    """A session that runs on its `providers`, in the place of ONNX Runtime's; `calls` says what happened around it."""

    class Session:
        providers, calls = [], []

        def __init__(self, model, options, providers):
            self.calls.append((options.intra_op_num_threads, providers))

        def get_providers(self):
            return self.providers

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: Session.calls.append("libraries"))
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", lambda level: Session.calls.append(f"log {level}"))
    return Session


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


def test_cuda_that_falls_back_to_the_processor_is_refused(model, opened):
    """As with onnxruntime-gpu on a machine without a GPU: the session opens, on the processor."""
    opened.providers = WITH_CUDA[2:]
    with pytest.raises(ModelNotInstalled, match="cannot be used by onnxruntime-gpu"):
        open_session(model, device="cuda")


def test_what_onnxruntime_prints_of_missing_libraries_is_left_out(model, opened, monkeypatch, capsys):
    opened.providers = WITH_CUDA[2:]
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas.so.13"))
    with pytest.raises(ModelNotInstalled):
        open_session(model, device="cuda")
    assert capsys.readouterr().out == ""


def test_onnxruntime_logs_nothing_of_missing_libraries_and_its_warnings_again_after_them(model, opened, monkeypatch):
    def fail():
        opened.calls.append("libraries")
        raise OSError

    monkeypatch.setattr(onnxruntime, "preload_dlls", fail)
    with pytest.raises(OSError):
        open_session(model, device="cuda")
    assert opened.calls == ["log 4", "libraries", "log 2"]


def test_session_that_runs_on_cuda_is_taken_after_its_libraries_are_loaded(model, opened):
    opened.providers = WITH_CUDA[1:]
    assert isinstance(open_session(model, threads=2, device="cuda"), opened)
    session = (2, [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"])
    assert opened.calls == ["log 4", "libraries", session, "log 2"]


def test_unknown_device_is_named():
    with pytest.raises(ModelNotInstalled, match="no device tpu: use cpu or cuda"):
        choose_providers("tpu")


@pytest.fixture
def zeros():
    """A session whose network gives as many zeros as it is asked for."""
    asked = helper.make_tensor_value_info("asked", TensorProto.INT64, [1])
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node("ConstantOfShape", ["asked"], ["given"])], "zeros", [asked], [given])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_session(model.SerializeToString())


def test_a_network_that_gets_no_memory_lacks_memory(zeros):
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail) as caught:
        zeros.run(None, {"asked": np.array([1 << 44])})
    assert lacks_memory(caught.value)


def test_other_faults_of_a_network_are_no_lack_of_memory(zeros):
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument) as caught:
        zeros.run(None, {"asked": np.array([1.0])})
    assert not lacks_memory(caught.value)
    assert not lacks_memory(ValueError("Failed to allocate memory"))
    assert lacks_memory(MemoryError())
