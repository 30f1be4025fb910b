"""A GPU that the models do not use is said, by the step and by `loupe doctor`."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from ml.cli import doctor as doctor_module
from ml.inference import engine, providers


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dev"
    folder.mkdir()
    monkeypatch.setattr(providers, "_DEVICES", folder)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    providers._warn.cache_clear()
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    helper = onnx.helper
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "neg.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    )
    return path


def test_a_session_on_the_cpu_beside_a_gpu_warns_once_and_works(
    devices: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine.open_session(model)
    assert not caplog.records
    for name in ("nvidia0", "nvidiactl"):
        (devices / name).touch()
    sessions = [engine.open_session(model) for _ in range(2)]
    (warned,) = caplog.records
    assert warned.levelname == "WARNING"
    assert "a GPU is visible, but ONNX Runtime does not use it" in warned.message
    assert sessions[0].run(None, {"x": np.ones(1, np.float32)})[0] == -1


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_on_purpose_is_not_missed(
    devices: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    (devices / "nvidia1").touch()
    assert providers.idle_gpu(["CPUExecutionProvider"])
    assert not providers.idle_gpu(["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not providers.idle_gpu(["CPUExecutionProvider"])


def test_what_cannot_be_loaded_of_cuda_is_not_printed_into_a_result(
    devices: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (devices / "nvidia0").touch()
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcublas"))
    providers._load_cuda.cache_clear()
    assert providers.wanted_providers() == both
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Failed to load libcublas\n")


def test_doctor_warns_of_the_gpu_and_knows_the_package_for_it(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checks() -> dict[str, dict[str, object]]:
        done = CliRunner().invoke(doctor_module.doctor, ["--json"])
        return {one["name"]: one for one in json.loads(done.stdout)}

    assert checks()["GPU"]["good"]
    (devices / "nvidia0").touch()
    found = checks()
    assert not found["GPU"]["good"]
    assert "WARNING: a GPU is visible" in str(found["GPU"]["detail"])
    assert found["onnxruntime"]["good"]
    real = doctor_module._version
    names = {"onnxruntime": None, "onnxruntime-gpu": "1.0"}
    monkeypatch.setattr(doctor_module, "_version", lambda one: names.get(one, real(one)))
    assert checks()["onnxruntime"]["good"]
    names["onnxruntime-gpu"] = None
    assert not checks()["onnxruntime"]["good"]
