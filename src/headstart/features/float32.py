"""Run a trunk on the CPU in float32, whatever the machine could do in less."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Segment
from headstart.features.engine import cpu_count
from headstart.features.openvino_engine import OpenVinoTrunk, Verdict
from headstart.features.parity import Parity

if TYPE_CHECKING:
    from openvino import CompiledModel


def compile_float32(trunk: Segment) -> OpenVinoTrunk:
    """A trunk whose float32 graph defines its network, so that there is nothing to check it against.

    The graph is compiled when the first images come, and not kept: rows that the store has cost no compilation.
    """
    exact = Verdict("f32", Parity(median=1.0, minimum=1.0, passed=True), blob_sha256="")
    return OpenVinoTrunk(trunk, exact, functools.partial(_compile, trunk))


def _compile(trunk: Segment) -> CompiledModel:
    cores = str(cpu_count())
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
    return openvino().Core().compile_model(trunk.graph(), "CPU", settings)
