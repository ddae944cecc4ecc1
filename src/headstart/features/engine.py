"""What an engine is: a compiled trunk, and the facts about it that shape the numbers that come out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from headstart.backbones.backbone import Segment

EngineName = Literal["auto", "openvino", "torch"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class EngineIdentity:
    """What runs a trunk; everything here shapes the numbers that come out.

    Attributes
    ----------
    engine:
        ``openvino`` or ``torch``.
    version:
        The engine's version.
    precision:
        ``bf16`` or ``f32``: what convolutions and matrix products are computed in.
    device:
        ``cpu`` or ``cuda``.
    """

    engine: Literal["openvino", "torch"]
    version: str
    precision: Literal["bf16", "f32"]
    device: str


class CompiledTrunk(Protocol):
    """A trunk that runs. Safe to call from several threads at once."""

    trunk: Segment
    identity: EngineIdentity
    batch_size: int

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (B, size, size, channels) → float32 (B, width), the trunk's outputs flattened in a row."""
        ...


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
