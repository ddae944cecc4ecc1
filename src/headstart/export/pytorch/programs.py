"""A trunk, or a whole model, as a program of :mod:`torch.export`; and such a program as ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Segment
from headstart.errors import EngineError, MissingExtraError
from headstart.export.onnx_network import OPSET
from headstart.export.source import Head
from headstart.runtime.record import KEY, ExportRecord, to_text

if TYPE_CHECKING:
    from onnx import ModelProto

_MOST_IMAGES = 4096


class WholeModel(nn.Module):
    """Network and head: uint8 (N, size, size, channels) to probabilities (N, C) and embedding (N, D)."""

    def __init__(self, trunk: Segment, head: Head) -> None:
        super().__init__()
        self._trunk = trunk.module()
        names = [output.name for output in trunk.outputs]
        self._places = [names.index(name) for name in head.outputs]
        self._exclusive = head.exclusive
        self.register_buffer("weights", torch.from_numpy(head.weights))
        self.register_buffer("bias", torch.from_numpy(head.bias))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self._trunk(images)
        logits = torch.cat([outputs[place] for place in self._places], 1) @ self.weights + self.bias
        return torch.softmax(logits, 1) if self._exclusive else torch.sigmoid(logits), outputs[-1]


def write_program(trunk: Segment, head: Head, record: ExportRecord, path: Path) -> None:
    """Write ``path`` (``.pt2``), with the record among its extra files.

    Raises
    ------
    EngineError
        If the network can't be followed.
    """
    program = _program(WholeModel(trunk, head), trunk, record.batch)
    with _quiet():
        torch.export.save(program, path, extra_files={f"{KEY}.json": to_text(record)})


def onnx_of(trunk: Segment) -> ModelProto:
    """A trunk as ONNX with a dynamic batch, named as the trunk's inputs and outputs are.

    Raises
    ------
    EngineError
        If the network can't be followed, or has an operator that ONNX lacks.
    MissingExtraError
        If onnxscript, which torch writes ONNX with, is not installed.
    """
    program = _program(trunk.module().eval(), trunk, None)
    names = [output.name for output in trunk.outputs]
    try:
        with _quiet():
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[trunk.input.name],
                output_names=names,
                verbose=False,
            )
    except ImportError as error:
        raise MissingExtraError(f"writing {trunk.backbone.name} as ONNX", "train") from error
    except Exception as error:
        raise EngineError(f"torch can't write {trunk.backbone.name} as ONNX ({_first_line(error)})") from error
    if written is None:
        raise EngineError(f"torch can't write {trunk.backbone.name} as ONNX")
    return written.model_proto


def _program(module: nn.Module, trunk: Segment, batch: int | None) -> Any:
    example = torch.zeros((batch or 2, *trunk.input.shape), dtype=torch.uint8)
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=_MOST_IMAGES)},)
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(module, (example,), dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # whatever a network's own code raises when it is followed
        reason = _first_line(error)
        raise EngineError(f"torch.export can't follow {trunk.backbone.name} ({reason}); take openvino") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' own reports: what matters is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
