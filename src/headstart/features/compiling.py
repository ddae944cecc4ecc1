"""Turn a trunk into something that runs: the engine is chosen by the machine, the precision by a parity check."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from headstart.backbones.backbone import Segment
from headstart.errors import EngineError, MissingExtraError
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.openvino_engine import OpenVinoTrunk
from headstart.files import cache_root


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
