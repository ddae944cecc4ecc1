"""Turn a trunk into something that runs: the engine is chosen by the machine, the precision by a parity check."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from headstart.backbones.backbone import Segment
from headstart.errors import EngineError, MissingExtraError
from headstart.files import cache_root

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
        """uint8 (B, size, size, 3) → float32 (B, width), the trunk's outputs flattened in a row."""
        ...


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compile_trunk(
    trunk: Segment, *, engine: EngineName = "auto", cache: Path | None = None, say: Say = print
) -> CompiledTrunk:
    """Compile a trunk for this machine.

    ``auto`` takes torch where there is a CUDA device, else OpenVINO, else torch with one line that says why.

    Parameters
    ----------
    cache:
        Folder of compiled graphs; by default ``graphs`` in headstart's cache folder.
    say:
        Called with a line when a check fails and another precision or engine is taken.

    Raises
    ------
    EngineError
        If OpenVINO was asked for and can't run the trunk faithfully, or nothing can.
    MissingExtraError
        If torch was asked for and is not installed.
    """
    if engine == "torch" or (engine == "auto" and _has_cuda_device()):
        return _torch_trunk(trunk)
    from headstart.features.openvino_engine import OpenVinoTrunk

    try:
        return OpenVinoTrunk.compile(trunk, cache or cache_root() / "graphs", say)
    except EngineError as error:
        if engine == "openvino" or not _has_torch():
            raise
        say(f"{error}; running it in PyTorch instead")
        return _torch_trunk(trunk)


def _torch_trunk(trunk: Segment) -> CompiledTrunk:
    if not _has_torch():
        raise MissingExtraError("the torch engine", "train")
    from headstart.features.torch_engine import TorchTrunk

    return TorchTrunk(trunk)


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _has_cuda_device() -> bool:
    """Whether a CUDA device may be there, answered without importing torch where the driver is absent."""
    if not _has_torch() or not (Path("/dev/nvidiactl").exists() or os.name == "nt"):
        return False
    from headstart.features.torch_engine import has_cuda

    return has_cuda()
