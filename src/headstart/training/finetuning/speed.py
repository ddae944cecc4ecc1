"""How fast the stages above a cut train and predict on this machine, from a few steps on noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from headstart.backbones.backbone import Backbone
from headstart.training.finetuning.precision import lay_out, prepare
from headstart.training.finetuning.random_state import kept_random_state
from headstart.training.finetuning.setting import Setting

# Steps that are timed, after one that pays for what later ones don't; the fastest counts, as other work only adds time.
# One is enough where it takes so many seconds: short disturbances matter less there, and its training is waiting.
_STEPS, _LONG = 2, 0.25
_ROWS = 8
_SETTINGS = (Setting("32-true", True), Setting("bf16-mixed", True, depthwise_float32=True))


@dataclass(frozen=True)
class SuffixSpeed:
    """Images a second: trained on (forward, backward, optimizer), and predicted."""

    step: float
    judge: float


def suffix_speed(backbone: Backbone, cut: int, setting: Setting | None = None) -> SuffixSpeed:
    """Time a copy of the stages above a cut, on whatever the machine has; nothing else is touched.

    Without a ``setting``, of float32 and bf16, channels last, the faster counts: a training takes that or better.
    """
    settings = _SETTINGS if setting is None else (setting,)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with kept_random_state(), torch.enable_grad():
        suffix = backbone.trainable(cut).to(device).train()
        optimizer = torch.optim.AdamW(suffix.parameters(), lr=1e-5, fused=True)
        rows = lay_out(_noise(backbone, cut).to(device), channels_last=True)
        work = _Work(suffix, rows, optimizer, device)
        seconds = {setting: work.fastest(work.step, setting) for setting in settings}
        best = min(seconds, key=seconds.__getitem__)
        return SuffixSpeed(_ROWS / seconds[best], _ROWS / work.fastest(work.judge, best))


@dataclass(frozen=True, eq=False)
class _Work:
    """What is timed."""

    suffix: torch.nn.Module
    rows: torch.Tensor
    optimizer: torch.optim.Optimizer
    device: str

    def step(self, setting: Setting) -> None:
        self.optimizer.zero_grad()
        with self._autocast(setting):
            loss = self.suffix(self.rows).float().square().mean()
        loss.backward()
        self.optimizer.step()

    def judge(self, setting: Setting) -> None:
        with torch.no_grad(), self._autocast(setting):
            self.suffix(self.rows)

    def fastest(self, work: Callable[[Setting], None], setting: Setting) -> float:
        """Seconds of one call."""
        prepare(self.suffix, setting)
        seconds: list[float] = []
        for _ in range(_STEPS + 1):
            started = time.perf_counter()
            work(setting)
            if self.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
            if len(seconds) > 1 and seconds[-1] > _LONG:
                break
        return min(seconds[1:])

    def _autocast(self, setting: Setting) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=setting.is_bf16)


def _noise(backbone: Backbone, cut: int) -> torch.Tensor:
    if cut:
        return torch.randn((_ROWS, *backbone.boundary_shape(cut)))
    side, channels = backbone.preprocessing.size, backbone.preprocessing.channels
    return torch.randint(0, 256, (_ROWS, side, side, channels), dtype=torch.uint8)
