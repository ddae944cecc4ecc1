"""A faithful file passes; preprocessing that was left behind or changed is refused, whatever was forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.export import onnx_file, openvino_file
from headstart.export.onnx_network import onnx, onnx_network
from headstart.export.parity import Parity, Reference, compare
from headstart.export.source import Source
from headstart.runtime import load

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("untimed")]
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def _onnx(source: Source, path: Path, plant: Callable[[Any], None] = lambda network: None) -> Path:
    network = onnx_network(source.trunk.graph())
    plant(network)
    onnx().save(onnx_file.whole_model(network, source.head, source.record("onnx", int8=False, batch=None)), str(path))
    return path


def _openvino(source: Source, path: Path, trunk: Any = None) -> Path:
    record = source.record("openvino", int8=False, batch=None)
    graph = (trunk or source.trunk).graph()
    openvino_file.write(openvino_file.whole_model(graph, source.head, record), record, path)
    return path


def test_a_faithful_onnx_file_passes(source: Source, reference: Reference, tmp_path: Path) -> None:
    found = compare(load(_onnx(source, tmp_path / "model.onnx")), reference)
    assert found.passed
    assert found.agreement == 1.0
    assert found.largest_difference < 0.01
    assert found.cosine > 0.99999
    assert found.score_difference == 0.0


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_faithful_openvino_file_passes(source: Source, reference: Reference, tmp_path: Path, precision: Any) -> None:
    found = compare(load(_openvino(source, tmp_path / "model.xml"), precision=precision), reference)
    assert found.passed
    assert found.precision == precision
    assert found.largest_difference < {"f32": 0.005, "bf16": 0.2}[precision]


def _swap_red_and_blue(network: Any) -> None:
    (cast,) = [node for node in network.graph.node if node.op_type == "Cast"]
    order = onnx().numpy_helper.from_array(np.array([2, 1, 0], np.int64), "order")
    network.graph.initializer.append(order)
    swap = onnx().helper.make_node("Gather", [cast.input[0], "order"], ["swapped"], axis=3)
    network.graph.node.insert(list(network.graph.node).index(cast), swap)
    cast.input[0] = "swapped"


def _normalise_as_imagenet(network: Any) -> None:
    constants = {constant.name: constant for constant in network.graph.initializer}
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for node in network.graph.node:
        for kind, values in (("Mul", 1 / (255 * std)), ("Add", -mean / std)):
            if node.op_type == kind and constants[node.input[1]].dims == [1, 3, 1, 1]:
                planted = np.asarray(values, np.float32).reshape(1, 3, 1, 1)
                constants[node.input[1]].CopyFrom(onnx().numpy_helper.from_array(planted, node.input[1]))
                if kind == "Add":
                    return


@pytest.mark.parametrize("plant", [_swap_red_and_blue, _normalise_as_imagenet])
def test_planted_colour_faults_are_refused(
    source: Source, reference: Reference, tmp_path: Path, plant: Callable[[Any], None]
) -> None:
    _refused(compare(load(_onnx(source, tmp_path / "model.onnx", plant)), reference))


def _leave_the_size(parts: Any, preprocessing: Any) -> str:
    """The top left corner, with black beyond the image's edge."""
    planes = parts._add("Transpose", ["images"], perm=[0, 3, 1, 2])
    side = preprocessing.size
    zero = parts._array(np.array(0, np.uint8))
    padded = parts._add("Pad", [planes, parts._constant([0, 0, 0, 0, 0, 0, side, side]), zero])
    ends, axes = parts._constant([side, side]), parts._constant([2, 3])
    view = parts._add("Slice", [padded, parts._constant([0, 0]), ends, axes])
    return str(parts._add("Transpose", [view], perm=[0, 2, 3, 1]))


def test_a_resize_that_was_left_away_is_refused(
    source: Source, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file._Parts, "resized", _leave_the_size)
    found = compare(load(_onnx(source, tmp_path / "model.onnx")), reference)
    _refused(found)
    assert found.cosine < 0.96
    assert found.agreement > 0.97, "the labels alone would have shown it"


def test_a_squashed_image_is_refused(
    source: Source, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = onnx_file._Parts.resized

    def squash(parts: Any, preprocessing: Any) -> str:
        return whole(parts, dataclasses.replace(preprocessing, aspect="squash", crop=1.0))

    monkeypatch.setattr(onnx_file._Parts, "resized", squash)
    _refused(compare(load(_onnx(source, tmp_path / "model.onnx")), reference))


def test_a_wrong_mean_in_openvino_is_refused(source: Source, reference: Reference, tmp_path: Path) -> None:
    import copy

    backbone = copy.copy(source.trunk.backbone)
    backbone.preprocessing = dataclasses.replace(
        backbone.preprocessing, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    trunk = backbone.trunk(source.trunk.stop, pooled=source.trunk.pooled)
    _refused(compare(load(_openvino(source, tmp_path / "model.xml", trunk), precision="f32"), reference))


def _refused(found: Parity) -> None:
    assert not found.passed
    assert found.largest_difference > 0.05
    differences = [one.difference for one in found.worst]
    assert differences == sorted(differences, reverse=True)
    assert len(differences) == 10
