"""The whole ONNX file: resize and crop, the network, the head, and the record in its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.errors import EngineError
from headstart.export.onnx_network import IR_VERSION, onnx
from headstart.export.source import Head
from headstart.imaging import Preprocessing
from headstart.runtime.onnx_session import MOST_BYTES
from headstart.runtime.record import EMBEDDING, INPUT, KEY, PROBABILITIES, ExportRecord, to_text

if TYPE_CHECKING:
    from onnx import ModelProto

LONGEST = 8
"""Of an image that is longer than so many times its width only the middle is resized: it would be cropped anyway, and
a line of a single row of pixels could not fill the memory."""


def whole_model(network: ModelProto, head: Head, record: ExportRecord) -> ModelProto:
    """Put the parts together: ``images`` (uint8) to ``probabilities`` and ``embedding``.

    Parameters
    ----------
    network:
        One input, uint8 (N, size, size, channels); outputs named as the trunk's, among them ``features``.

    Raises
    ------
    EngineError
        If the result is larger than ONNX's container allows.
    """
    module = onnx()
    prefixed = module.compose.add_prefix(network, "network/")
    body, batch = prefixed.graph, record.batch or "batch"
    parts = _Parts()
    view = parts.resized(record.preprocessing)
    parts.nodes.append(module.helper.make_node("Identity", [view], [body.input[0].name]))
    parts.nodes.extend(body.node)
    parts.constants.extend(body.initializer)
    parts.classified(head, "network/")
    types, channels = module.TensorProto, record.preprocessing.channels
    info = module.helper.make_tensor_value_info
    graph = module.helper.make_graph(
        parts.nodes,
        f"headstart {record.backbone}",
        [info(INPUT, types.UINT8, [batch, "height", "width", channels])],
        [
            info(PROBABILITIES, types.FLOAT, [batch, len(record.classes)]),
            info(EMBEDDING, types.FLOAT, [batch, record.embedding]),
        ],
        parts.constants,
    )
    model = module.helper.make_model(
        graph,
        opset_imports=list(prefixed.opset_import),
        functions=list(prefixed.functions),
        ir_version=max(IR_VERSION, prefixed.ir_version),
        producer_name="headstart",
        producer_version=record.headstart,
    )
    module.helper.set_model_props(model, {KEY: to_text(record)})
    if model.ByteSize() >= MOST_BYTES:
        raise EngineError(f"{record.backbone} is too large for an ONNX file (2 GB): export it to openvino")
    return model


class _Parts:
    """Nodes and constants of the graph as it is built."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def resized(self, preprocessing: Preprocessing) -> str:
        """What :func:`headstart.imaging.load_view` does to a decoded image; the name of uint8 (N, size, size, C).

        Pillow's resize works on bytes, and so does onnxruntime's antialiased one. All lengths are whole numbers,
        rounded as there: the longer side down, the crop's corner to the even one of two neighbours.
        """
        planes = self._add("Transpose", [INPUT], perm=[0, 3, 1, 2])
        side, shorter = preprocessing.size, preprocessing.shorter_side
        squash = preprocessing.aspect == "squash"
        if not squash:
            planes = self._middle(planes)
        shape = self._add("Shape", [planes])
        height, width = (self._add("Gather", [shape, self._whole(axis)]) for axis in (2, 3))
        if squash:
            lengths = [self._whole(shorter)] * 2
        else:
            least = self._add("Min", [height, width])
            scaled = [self._add("Mul", [length, self._whole(shorter)]) for length in (height, width)]
            lengths = [self._add("Div", [length, least]) for length in scaled]
        count = self._add("Gather", [shape, self._constant([0, 1])])
        sizes = self._add("Concat", [count, *lengths], axis=0)
        mode = {"bicubic": "cubic", "bilinear": "linear"}[preprocessing.interpolation]
        large = self._add(
            "Resize",
            [planes, "", "", sizes],
            mode=mode,
            cubic_coeff_a=-0.5,
            antialias=1,
            exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
        )
        corner = [self._corner(length, side) for length in lengths]
        starts = self._add("Concat", corner, axis=0)
        ends = self._add("Add", [starts, self._whole(side)])
        view = self._add("Slice", [large, starts, ends, self._constant([2, 3])])
        return self._add("Transpose", [view], perm=[0, 2, 3, 1])

    def _middle(self, planes: str) -> str:
        """Cut what lies far from the centre off both ends of a very long image, equally."""
        shape = self._add("Shape", [planes])
        sides = self._add("Gather", [shape, self._constant([2, 3])])
        limit = self._add("Mul", [self._add("ReduceMin", [sides], keepdims=1), self._whole(LONGEST)])
        beyond = self._add("Max", [self._add("Sub", [sides, limit]), self._whole(0)])
        starts = self._add("Div", [beyond, self._whole(2)])
        ends = self._add("Sub", [sides, starts])
        return self._add("Slice", [planes, starts, ends, self._constant([2, 3])])

    def _corner(self, length: str, side: int) -> str:
        """Half of what is cropped away, halves rounded to even as Python's ``round`` does."""
        spare = self._add("Sub", [length, self._whole(side)])
        half = self._add("Div", [spare, self._whole(2)])
        odd = [self._add("Mod", [value, self._whole(2)]) for value in (spare, half)]
        return self._add("Add", [half, self._add("Mul", odd)])

    def classified(self, head: Head, prefix: str) -> None:
        """Head and outputs on top of the network's outputs."""
        named = [f"{prefix}{name}" for name in head.outputs]
        rows = self._add("Concat", named, axis=1) if len(named) > 1 else named[0]
        weights, bias = (self._array(part) for part in (head.weights, head.bias))
        logits = self._add("Gemm", [rows, weights, bias])
        self._name("Softmax" if head.exclusive else "Sigmoid", logits, PROBABILITIES, head.exclusive)
        self.nodes.append(onnx().helper.make_node("Identity", [f"{prefix}features"], [EMBEDDING]))

    def _name(self, kind: str, logits: str, output: str, over_classes: bool) -> None:
        attributes = {"axis": 1} if over_classes else {}
        self.nodes.append(onnx().helper.make_node(kind, [logits], [output], **attributes))

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"headstart/{len(self.nodes)}"
        self.nodes.append(onnx().helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _whole(self, value: int) -> str:
        return self._constant([value])

    def _constant(self, values: list[int]) -> str:
        return self._array(np.array(values, np.int64))

    def _array(self, values: Any) -> str:
        name = f"headstart/constant{len(self.constants)}"
        self.constants.append(onnx().numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
