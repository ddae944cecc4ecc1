"""The whole OpenVINO file: the network, the head, and the record in its runtime information."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.export.source import Head
from headstart.openvino_import import openvino
from headstart.runtime.record import EMBEDDING, INPUT, KEY, PROBABILITIES, ExportRecord, to_text


def whole_model(network: Any, head: Head, record: ExportRecord) -> Any:
    """Put network and head together: ``images``, uint8 (N, size, size, channels), to both outputs.

    Parameters
    ----------
    network:
        As :meth:`headstart.backbones.backbone.Backbone.graph` builds a trunk, or quantised.
    """
    module = openvino()
    ops = module.opset13
    found = {name: port.get_node().input_value(0) for port in network.outputs for name in port.get_names()}
    rows = [found[name] for name in head.outputs]
    joined = ops.concat(rows, 1) if len(rows) > 1 else rows[0]
    logits = ops.add(ops.matmul(joined, head.weights, False, False), head.bias.reshape(1, -1))
    sinks = []
    for name, node in (
        (PROBABILITIES, ops.softmax(logits, 1) if head.exclusive else ops.sigmoid(logits)),
        (EMBEDDING, found["features"]),
    ):
        sinks.append(ops.result(node))
        sinks[-1].output(0).get_tensor().set_names({name})
    network.inputs[0].get_tensor().set_names({INPUT})
    model = module.Model(sinks, network.get_parameters(), f"headstart {record.backbone}")
    if record.batch is not None:
        model.reshape([record.batch, *(part.get_length() for part in list(model.inputs[0].get_partial_shape())[1:])])
    return model


def write(model: Any, record: ExportRecord, path: Path) -> None:
    """Write ``path`` (``.xml``) and the weights beside it, in float32 or as they were quantised."""
    model.set_rt_info(to_text(record), [KEY])
    openvino().save_model(model, str(path), compress_to_fp16=False)
