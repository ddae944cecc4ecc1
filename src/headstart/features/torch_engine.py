"""Trunks through PyTorch: bf16 and channels-last on CUDA, float32 on the CPU."""

from __future__ import annotations

import copy
import threading

import numpy as np
import numpy.typing as npt
import torch

from headstart.backbones.backbone import Segment
from headstart.features.engine import EngineIdentity


def has_cuda() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


class TorchTrunk:
    """A trunk as a frozen torch module on one device; calls take turns.

    Parameters
    ----------
    device:
        As torch names it; by default the CUDA device that is current here, where there is one: calls may come from
        threads, in which another one is current.
    """

    def __init__(self, trunk: Segment, device: str | None = None) -> None:
        self._device = torch.device(device or (f"cuda:{torch.cuda.current_device()}" if has_cuda() else "cpu"))
        kind = self._device.type
        self._on_cuda = kind == "cuda"
        self.trunk = trunk
        self.identity = EngineIdentity("torch", torch.__version__, "bf16" if self._on_cuda else "f32", kind)
        self.batch_size = 128 if self._on_cuda else 32
        module = copy.deepcopy(trunk.module()) if self._on_cuda else trunk.module()  # the backbone's own stays here
        self._module = module.to(self._device, memory_format=torch.channels_last)
        self._lock = threading.Lock()

    @torch.inference_mode()
    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        with self._lock, torch.autocast(self._device.type, torch.bfloat16, enabled=self._on_cuda):
            batch = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
            outputs = self._module(batch)
            return np.concatenate([value.float().flatten(1).cpu().numpy() for value in outputs], axis=1)
