"""Depthwise convolutions in float32 inside autocast: in bf16 some CPUs take many times as long for them."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, cast

import torch
from torch import Tensor, nn


def has_depthwise(module: nn.Module) -> bool:
    """Whether there is one: a convolution in which each channel has filters of its own."""
    return any(_is_depthwise(part) for part in module.modules())


def depthwise_in_float32(module: nn.Module, wanted: bool) -> None:
    """Let the depthwise convolutions of a module compute in float32, or in what autocast says, from now on.

    Dense ones, which hold most of the arithmetic, stay with autocast either way. Names, parameters and buffers stay as
    they are.
    """
    for part in module.modules():
        if isinstance(part, _InFloat32) and not wanted:
            part.__class__ = part.ordinary
        elif wanted and _is_depthwise(part) and not isinstance(part, _InFloat32):
            part.__class__ = _in_float32(cast("Hashable", type(part)))


def _is_depthwise(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and part.groups > 1 and part.groups == part.in_channels


class _InFloat32:
    """Marks a convolution that computes in float32; ``ordinary`` is the class it was of."""

    ordinary: type[Any]

    def forward(self, value: Tensor) -> Tensor:
        with torch.autocast(value.device.type, enabled=False):
            return cast("Tensor", super().forward(value.float()))  # type: ignore[misc]  # the convolution's own


@functools.cache
def _in_float32(kind: Any) -> type[Any]:
    return cast("type[Any]", type(f"Float32{kind.__name__}", (_InFloat32, kind), {"ordinary": kind}))
