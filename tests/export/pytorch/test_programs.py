"""A network that torch defines is exported to every format with the same answers, at any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from headstart import runtime
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import EngineError
from headstart.export import onnx_file, openvino_file
from headstart.export.pytorch.program_session import ProgramSession
from headstart.export.pytorch.programs import WholeModel, onnx_of, write_program
from headstart.export.source import Head
from headstart.imaging import Preprocessing
from headstart.runtime.record import SCHEMA, ExportRecord

PREPROCESSING = Preprocessing(32, 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class _Network(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two stages of convolutions and a classifier, as small as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.Sequential(
            torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()),
            torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, 2, 1), torch.nn.BatchNorm2d(12), torch.nn.GELU()),
        )
        self.fc = torch.nn.Linear(12, 5)

    def forward(self, images: Any) -> Any:
        return self.fc(self.blocks(images).mean((2, 3)))


@pytest.fixture(scope="module")
def trunk() -> Any:
    torch.manual_seed(0)
    network = _Network()
    backbone = TorchBackbone(LoadedNetwork("test/small", network, ("fc",), PREPROCESSING, "MIT"))
    assert len(backbone.stages) > 1
    return backbone.trunk(len(backbone.stages), pooled=(1,))


@pytest.fixture(scope="module")
def head(trunk: Any) -> Head:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(trunk.width, 3)).astype(np.float32)
    return Head(weights, rng.normal(size=3).astype(np.float32), ("stage1", "features"), True)


def _record(format: Any, trunk: Any, batch: int | None = None) -> ExportRecord:
    width = trunk.outputs[-1].shape[0]
    facts = ("test/small", "linear_probe_all_stages", "MIT", "0" * 64, "1" * 64, PREPROCESSING, None)
    classes = ("a", "b", "c")
    resizes = format == "onnx"
    return ExportRecord(
        SCHEMA, "0", format, "f32", ("f32",), batch, resizes, "classification", classes, 1.0, None, (), width, *facts
    )


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(5)]


@pytest.mark.parametrize("batch", [None, 2])
def test_all_formats_answer_as_the_module(
    trunk: Any, head: Head, pictures: list[Any], tmp_path: Path, batch: int | None
) -> None:
    record = _record("pt2", trunk, batch)
    write_program(trunk, head, record, tmp_path / "model.pt2")
    program = runtime.Model(ProgramSession(tmp_path / "model.pt2"))
    assert program.record == record
    views = np.stack([program.prepare(picture) for picture in pictures])
    with torch.inference_mode():
        wanted = WholeModel(trunk, head)(torch.from_numpy(views))[0].numpy()
    np.testing.assert_allclose(program.predict_proba(pictures), wanted, atol=1e-5)

    onnx_record = _record("onnx", trunk, batch)
    whole = onnx_file.whole_model(onnx_of(trunk), head, onnx_record)
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(runtime.load(tmp_path / "model.onnx").predict_proba(pictures), wanted, atol=0.02)

    openvino_record = _record("openvino", trunk, batch)
    graph = openvino_file.whole_model(trunk.graph(), head, openvino_record)
    openvino_file.write(graph, openvino_record, tmp_path / "model.xml")
    found = runtime.load(tmp_path / "model.xml", precision="f32").predict_proba(pictures)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_network_that_cannot_be_followed_is_said(trunk: Any, head: Head, tmp_path: Path) -> None:
    import dataclasses

    class _Stubborn(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, images: Any) -> Any:
            return (torch.from_numpy(np.sort(images.numpy())).float(),)

    class _Trunk:
        backbone, input, outputs = trunk.backbone, trunk.input, trunk.outputs

        def module(self) -> Any:
            return _Stubborn()

    narrow = dataclasses.replace(head, outputs=("stage1",))
    with pytest.raises(EngineError, match=r"can't follow test/small .*take openvino"):
        write_program(_Trunk(), narrow, _record("pt2", trunk), tmp_path / "model.pt2")  # type: ignore[arg-type]
