"""A bundled network as ONNX: its OpenVINO graph, which defines it, written down in ONNX's operators."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from onnx import ModelProto
    from openvino import Model, Node

OPSET, IR_VERSION = 18, 9
"""The oldest in which Resize can antialias, and the file format that came with it."""


def onnx() -> Any:
    """The ``onnx`` module; raises :class:`MissingExtraError` where it is not installed."""
    try:
        importlib.import_module("onnx.compose")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise MissingExtraError("writing ONNX", "export") from error


def onnx_network(graph: Model) -> ModelProto:
    """The same network, with the same names of inputs and outputs and a dynamic batch.

    Parameters
    ----------
    graph:
        As :func:`headstart.backbones._lite_graph.lite_graph` builds it: the network is defined in one place only.

    Raises
    ------
    EngineError
        If it has an operator that is not among those that the bundled networks are made of.
    """
    writer = _Writer()
    for node in graph.get_ordered_ops():
        writer.add(node)
    helper = onnx().helper
    inputs = [_port(port, port.get_any_name()) for port in graph.inputs]
    outputs = [_port(port, port.get_any_name()) for port in graph.outputs]
    for port in graph.outputs:
        source = port.get_node().input_value(0)
        writer.nodes.append(helper.make_node("Identity", [writer.name_of(source)], [port.get_any_name()]))
    body = helper.make_graph(writer.nodes, "network", inputs, outputs, writer.constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _port(port: Any, name: str) -> Any:
    dimensions: list[Any] = ["batch", *(part.get_length() for part in list(port.get_partial_shape())[1:])]
    types = onnx().TensorProto
    kind = types.UINT8 if port.get_element_type().get_type_name() == "u8" else types.FLOAT
    return onnx().helper.make_tensor_value_info(name, kind, dimensions)


class _Writer:
    """Turns OpenVINO's nodes into ONNX's, one by one in their order."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[str, str] = {}
        self._convolutions: dict[str, Any] = {}

    def name_of(self, output: Any) -> str:
        """The name of a node's output here; a constant is written down when it is first asked for."""
        node = output.get_node()
        key = node.get_friendly_name()
        if key not in self._names:
            self._names[key] = self._constant(np.asarray(node.get_data()), f"c{len(self.constants)}")
        return self._names[key]

    def add(self, node: Node) -> None:
        """Write one node, unless it is one that has no counterpart."""
        kind = node.get_type_name()
        if kind in ("Constant", "Result"):
            return
        if kind == "Parameter":
            self._names[node.get_friendly_name()] = node.output(0).get_any_name()
            return
        write = getattr(self, f"_write_{kind.lower()}", None)
        if write is None:
            raise EngineError(f"the network has an operator {kind} that headstart can't write as ONNX; take openvino")
        write(node)

    def _emit(self, node: Node, kind: str, inputs: list[str], **attributes: Any) -> Any:
        name = f"v{len(self.nodes)}"
        self._names[node.get_friendly_name()] = name
        self.nodes.append(onnx().helper.make_node(kind, inputs, [name], **attributes))
        return self.nodes[-1]

    def _constant(self, values: npt.NDArray[Any], name: str) -> str:
        self.constants.append(onnx().numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _inputs(self, node: Node) -> list[str]:
        return [self.name_of(node.input_value(i)) for i in range(node.get_input_size())]

    def _write_convert(self, node: Node) -> None:
        self._emit(node, "Cast", self._inputs(node), to=onnx().TensorProto.FLOAT)

    def _write_transpose(self, node: Node) -> None:
        self._emit(node, "Transpose", [self.name_of(node.input_value(0))], perm=_values(node, 1))

    def _write_gather(self, node: Node) -> None:
        self._emit(node, "Gather", self._inputs(node)[:2], axis=int(np.ravel(_values(node, 2))[0]))

    def _write_multiply(self, node: Node) -> None:
        self._emit(node, "Mul", self._inputs(node))

    def _write_add(self, node: Node) -> None:
        """An addition; where it is the bias of a convolution, that takes it in."""
        first = self.name_of(node.input_value(0))
        convolution = self._convolutions.pop(first, None)
        shift = node.input_value(1).get_node()
        if convolution is None or shift.get_type_name() != "Constant" or len(convolution.input) > 2:
            self._emit(node, "Add", self._inputs(node))
            return
        bias = np.asarray(shift.get_data()).reshape(-1)
        convolution.input.append(self._constant(bias, f"c{len(self.constants)}"))
        self._names[node.get_friendly_name()] = first

    def _write_clamp(self, node: Node) -> None:
        low, high = (np.float32(node.get_attributes()[end]) for end in ("min", "max"))
        limits = [self._constant(np.asarray(end), f"c{len(self.constants)}") for end in (low, high)]
        self._emit(node, "Clip", [self.name_of(node.input_value(0)), *limits])

    def _write_reducemean(self, node: Node) -> None:
        axes = self._constant(np.asarray(_values(node, 1), np.int64), f"c{len(self.constants)}")
        keep = int(node.get_attributes()["keep_dims"])
        self._emit(node, "ReduceMean", [self.name_of(node.input_value(0)), axes], keepdims=keep)

    def _write_convolution(self, node: Node) -> None:
        self._convolve(node, np.asarray(node.input_value(1).get_node().get_data()), groups=1)

    def _write_groupconvolution(self, node: Node) -> None:
        weight = np.asarray(node.input_value(1).get_node().get_data())
        self._convolve(node, weight.reshape(-1, *weight.shape[2:]), groups=len(weight))

    def _convolve(self, node: Node, weight: npt.NDArray[np.float32], groups: int) -> None:
        given = node.get_attributes()
        written = self._emit(
            node,
            "Conv",
            [self.name_of(node.input_value(0)), self._constant(weight, f"c{len(self.constants)}")],
            group=groups,
            kernel_shape=list(weight.shape[2:]),
            strides=given["strides"],
            dilations=given["dilations"],
            pads=[*given["pads_begin"], *given["pads_end"]],
        )
        self._convolutions[written.output[0]] = written


def _values(node: Node, place: int) -> list[int]:
    return [int(value) for value in np.ravel(node.input_value(place).get_node().get_data())]
