"""peft's LoRA layers, made exact for code that reads a layer's weight instead of calling the layer."""

# Importing peft takes about three seconds (transformers and accelerate come with it): import this module only
# where adapters are made.

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraConfig
from peft.tuners.lora.layer import Conv2d, Linear, MultiheadAttention
from torch import Tensor, nn
from torch.func import functional_call


class _EffectiveWeight:
    """What a LoRA layer shows to code that takes it for the layer it wraps.

    BEiT, EVA, Swin v2 and PyTorch's attention compute with a layer's ``weight`` and never call the layer. peft shows
    the frozen weight there, so its adapter would do nothing until it is merged, and then change the output. Here
    ``weight`` is the frozen weight plus the adapter's part; the frozen tensor itself is never written to.
    """

    @property
    def weight(self: Any) -> Tensor:
        frozen = self.get_base_layer().weight
        if self.merged or self.disable_adapters:
            return frozen
        return frozen + sum(self.get_delta_weight(name) for name in self.active_adapters).to(frozen.dtype)

    def __getattr__(self: Any, name: str) -> Any:
        """Attributes such as ``stride`` or ``batch_first`` that the wrapped layer has and peft's has not."""
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            if name == "base_layer":  # before the layer is wrapped
                raise
            return getattr(self.base_layer, name)


class EffectiveLinear(_EffectiveWeight, Linear):
    """LoRA on a linear layer."""


class EffectiveConv2d(_EffectiveWeight, Conv2d):
    """LoRA on a convolution."""


class EffectiveAttention(MultiheadAttention):
    """LoRA on the projections of ``torch.nn.MultiheadAttention``.

    peft writes its part into the frozen weights before each call and subtracts it afterwards, so that these drift by
    rounding; here a call gets the sum and the frozen weights are left alone. ``dropout`` of the adapter has no
    effect, since there is no single layer whose input it could act on.
    """

    def __init__(
        self, base_layer: nn.MultiheadAttention, adapter_name: str, config: LoraConfig, **options: Any
    ) -> None:
        super().__init__(base_layer, adapter_name, config, **options)
        inner = base_layer.out_proj.get_base_layer()
        base_layer.out_proj = EffectiveLinear(inner, adapter_name, config, **options)

    @property
    def in_proj_weight(self) -> Tensor:
        frozen = self.get_base_layer().in_proj_weight
        if self.merged or self.disable_adapters:
            return frozen
        return frozen + sum(self.get_delta_weight(name) for name in self.active_adapters).to(frozen.dtype)

    @property
    def out_proj(self) -> nn.Module:
        return self.get_base_layer().out_proj

    def forward(self, query: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        changed = {"in_proj_weight": self.in_proj_weight}
        return functional_call(self.get_base_layer(), changed, (query, *args), kwargs)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        base = self.get_base_layer()
        merged = self.in_proj_weight.detach()
        if safe_merge and not torch.isfinite(merged).all():
            raise ValueError("the merged weights of an attention layer are not finite")
        base.in_proj_weight.data = merged
        base.out_proj.merge(safe_merge=safe_merge, adapter_names=adapter_names)
        self.merged_adapters.extend(self.active_adapters)

    def unload_and_optionally_merge_module(
        self, merge: bool, safe_merge: bool, adapter_names: list[str] | None
    ) -> nn.MultiheadAttention:
        if merge:
            self.merge(safe_merge, adapter_names)
        base = self.get_base_layer()
        base.out_proj = base.out_proj.get_base_layer()
        return base

    def _restore_weights(self) -> None:
        """Nothing to restore: the frozen weights stay registered (peft's way changes their order)."""


LAYERS = {nn.Linear: EffectiveLinear, nn.Conv2d: EffectiveConv2d, nn.MultiheadAttention: EffectiveAttention}
"""Which LoRA layer wraps which layer."""
