"""A torch network as an ordered list of stage modules, and the frozen modules that run some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from headstart.backbones.backbone import Segment, Stage
from headstart.imaging.preprocessing import Preprocessing


class StagedNetwork:
    """Stage modules in order, and how the last one's output becomes the pooled embedding.

    Parameters
    ----------
    names:
        One name a stage.
    modules:
        Each takes what the one before it gives; the first takes normalised images (N, 3, H, W).
    head_pool:
        Turns the last stage's output into the pooled embedding (N, D).
    preprocessing:
        What the weights expect.
    """

    def __init__(
        self,
        names: Sequence[str],
        modules: Sequence[nn.Module],
        head_pool: Callable[[Tensor], Tensor],
        preprocessing: Preprocessing,
    ) -> None:
        self._modules = [module.eval().requires_grad_(False) for module in modules]
        self._head_pool = head_pool
        self._preprocessing = preprocessing
        self.shapes, self.width = self._measure()
        self.stages = tuple(self._stage(name, i) for i, name in enumerate(names))

    def segment(self, segment: Segment) -> nn.Module:
        """The frozen module of a segment."""
        modules = self._modules[segment.start : segment.stop]
        normalise = None if segment.start else _Normalise(self._preprocessing)
        head_pool = self._head_pool if segment.stop == len(self._modules) else None
        return FrozenSegment(normalise, modules, segment.start, segment.pooled, head_pool)

    @torch.inference_mode()
    def _measure(self) -> tuple[list[tuple[int, ...]], int]:
        """Run one blank image to learn the shape at each boundary and the embedding's width."""
        side = self._preprocessing.size
        value, shapes = torch.zeros(1, 3, side, side), []
        for module in self._modules:
            value = module(value)
            shapes.append(tuple(value.shape[1:]))
        return shapes, int(self._head_pool(value).shape[1])

    def _stage(self, name: str, index: int) -> Stage:
        shape, last = self.shapes[index], index == len(self._modules) - 1
        is_map = len(shape) == 3
        stride = round(self._preprocessing.size / shape[-1]) if is_map else 0
        channels = shape[0] if is_map else shape[-1]
        return Stage(name, stride, self.width if last else channels)


class FrozenSegment(nn.Module):
    """Consecutive stages that never learn: no gradient, and eval mode that survives ``train()``.

    Takes uint8 (N, H, W, 3) where it starts with a normalisation, else the boundary tensor; gives a tuple.
    """

    def __init__(
        self,
        normalise: nn.Module | None,
        stages: Sequence[nn.Module],
        start: int,
        pooled: tuple[int, ...],
        head_pool: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.stages = nn.ModuleList(stages)
        self._start = start
        self._pooled = pooled
        self._head_pool = head_pool
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenSegment:
        """Stay in eval mode whatever is asked, so that BatchNorm statistics and dropout never change."""
        return super().train(False)

    def forward(self, value: Tensor) -> tuple[Tensor, ...]:
        if self.normalise is not None:
            value = self.normalise(value)
        outputs = {}
        for number, stage in enumerate(self.stages, start=self._start + 1):
            value = stage(value)
            if number in self._pooled:
                last = self._head_pool is not None and number == self._start + len(self.stages)
                outputs[number] = self._head_pool(value) if last and self._head_pool else pool_positions(value)
        final = value if self._head_pool is None else self._head_pool(value)
        return (*(outputs[number] for number in self._pooled), final)


def pool_positions(value: Tensor) -> Tensor:
    """The mean over positions: of a map (N, C, H, W) or of tokens (N, T, C)."""
    return value.mean((2, 3)) if value.ndim == 4 else value.mean(1)


class _Normalise(nn.Module):
    """uint8 (N, H, W, 3) → float32 (N, 3, H, W), scaled as the weights expect."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255))

    def forward(self, images: Tensor) -> Tensor:
        return (images.permute(0, 3, 1, 2).float() - self.mean) * self.scale
