"""How fast the stages above a cut train and predict on this machine, from a few steps on noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from headstart.backbones.backbone import Backbone
from headstart.training.finetuning.precision import Setting, lay_out
from headstart.training.finetuning.random_state import kept_random_state

# Steps that are timed, after one that pays for what later ones don't; the fastest counts, as other work only adds time.
_STEPS = 2
_ROWS = 16


@dataclass(frozen=True)
class SuffixSpeed:
    """Images a second: trained on (forward, backward, optimizer), and predicted."""

    step: float
    judge: float


def suffix_speed(backbone: Backbone, cut: int) -> SuffixSpeed:
    """Time a copy of the stages above a cut, on whatever the machine has; nothing else is touched.

    Of float32 and bf16, channels last, the faster counts: a training takes that or better.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with kept_random_state(), torch.enable_grad():
        suffix = backbone.trainable(cut).to(device).train()
        optimizer = torch.optim.AdamW(suffix.parameters(), lr=1e-5, fused=True)
        rows = lay_out(_noise(backbone, cut).to(device), channels_last=True)
        found: list[SuffixSpeed] = []
        for setting in (Setting("32-true", True), Setting("bf16-mixed", True, depthwise_float32=True)):
            setting.prepare(suffix)
            found.append(_speed(suffix, rows, optimizer, setting, device))
        return max(found, key=lambda speed: speed.step)


def _speed(
    suffix: torch.nn.Module, rows: torch.Tensor, optimizer: torch.optim.Optimizer, setting: Setting, device: str
) -> SuffixSpeed:
    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=setting.is_bf16):
            loss = suffix(rows).float().square().mean()
        loss.backward()
        optimizer.step()

    def judge() -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=setting.is_bf16):
            suffix(rows)

    return SuffixSpeed(*(_ROWS / _fastest(work, device) for work in (step, judge)))


def _noise(backbone: Backbone, cut: int) -> torch.Tensor:
    if cut:
        return torch.randn((_ROWS, *backbone.boundary_shape(cut)))
    side, channels = backbone.preprocessing.size, backbone.preprocessing.channels
    return torch.randint(0, 256, (_ROWS, side, side, channels), dtype=torch.uint8)


def _fastest(work: Callable[[], None], device: str) -> float:
    """Seconds of one call."""
    seconds = []
    for _ in range(_STEPS + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
