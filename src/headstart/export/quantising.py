"""Post-training quantisation to 8 bits, with images that the model was trained on as examples."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, EngineError, MissingExtraError
from headstart.openvino_import import openvino
from headstart.runtime.onnx_session import onnxruntime

FEWEST, ENOUGH = 50, 300
"""Calibration images: with fewer, the ranges of activations are luck; more change nothing (nncf's own default)."""

_ERRORS = 3  # onnxruntime's word for: say nothing less


def check_calibration(count: int) -> None:
    """Raise :class:`DataError` unless there are images enough."""
    if count < FEWEST:
        raise DataError(
            f"quantising needs {FEWEST} training images to measure the activations on, here are {count}: "
            "leave --int8 away, or bring more with --data"
        )


def quantised(network: Any, views: npt.NDArray[np.uint8]) -> Any:
    """The network with weights and activations of 8 bits, where that is worth it; input and outputs stay.

    Parameters
    ----------
    network:
        An OpenVINO model or an ONNX ``ModelProto`` with one input of uint8 (N, size, size, channels).
    views:
        uint8 (n, size, size, channels): calibration images.

    Raises
    ------
    DataError
        If there are too few images.
    MissingExtraError
        If nncf is not installed.
    EngineError
        If the network can't be quantised.
    """
    check_calibration(len(views))
    openvino()  # first, with its telemetry switched off: nncf's goes through the same package
    try:
        with _quiet():
            nncf = importlib.import_module("nncf")
    except ImportError as error:
        raise MissingExtraError("quantising a model", "export") from error
    if hasattr(network, "graph"):
        onnxruntime("quantising an ONNX model").set_default_logger_severity(_ERRORS)
    batches = [views[place : place + 1] for place in range(len(views))]
    try:
        with _quiet():
            data = nncf.Dataset(batches, _feed(network))
            return nncf.quantize(network, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(batches))
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise EngineError(f"nncf can't quantise this network ({reason}); leave --int8 away") from error


def _feed(network: Any) -> Any:
    """How a batch becomes what the network takes."""
    if hasattr(network, "graph"):
        name = network.graph.input[0].name
        return lambda batch: {name: batch}
    return lambda batch: batch


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without nncf's progress bars and reports."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
