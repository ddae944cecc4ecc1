"""What a stage's output is at each position of the image: maps, their pooling, and the map that an embedding pools."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, fx

from headstart.backbones.pytorch.staging import Layout, StageModule, layout_of, side_of

# The largest difference, relative to the largest value, that float32 sums in another order may make.
SAME = 1e-4


def pool_positions(value: Tensor, layout: Layout) -> Tensor:
    """The mean over positions (N, C): of a map, or of the tokens of the square grid of patches.

    Tokens in front of the largest square grid (class, distillation and register tokens) are left out: images are
    square, and so are their patches.
    """
    if layout == "NCHW":
        return value.mean((2, 3))
    if layout == "NHWC":
        return value.mean((1, 2))
    if layout == "NTC":
        return value[:, value.shape[1] - math.isqrt(value.shape[1]) ** 2 :].mean(1)
    return value


def as_map(value: Tensor, layout: Layout) -> Tensor:
    """A map, or the tokens of the square grid of patches, as (N, C, H, W); their mean is that of the function above."""
    if layout == "NHWC":
        return value.permute(0, 3, 1, 2)
    if layout == "NTC":
        side = math.isqrt(value.shape[1])
        return value[:, value.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
    return value


def grid_shape(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Channels, height and width of one image's map or grid of tokens; ``None`` where there is but one position."""
    side, layout = side_of(shape), layout_of(shape)
    if side < 2:
        return None
    return (shape[0] if layout == "NCHW" else shape[-1], shape[1] if layout == "NCHW" else side, side)


@torch.inference_mode()
def without_pooling(stage: StageModule, example: Tensor) -> StageModule | None:
    """The part of a last stage below its pooling, where pooling is the mean over positions and the last thing it does.

    Nothing is taken from names: the value behind each step of the stage is compared, on an example, with the embedding.
    ``None`` where no value has it as its mean, or the stage's code could not be followed.

    Parameters
    ----------
    example:
        What the stage takes, float32, of at least one image.
    """
    if not isinstance(stage.module, fx.GraphModule):
        return None
    recorder = _Recorder(stage.module)
    embedding = recorder.run(example)
    for node, value in reversed(recorder.values.items()):
        shape = tuple(value.shape[1:])
        layout = layout_of(shape)
        if layout != "ND" and grid_shape(shape) and _same(pool_positions(value, layout), embedding):
            return dataclasses.replace(stage, module=_up_to(stage.module, node), shape=shape, layout=layout)
    return None


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the values of its steps that are tensors of one row an image or more axes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[fx.Node, Tensor] = {}

    def run_node(self, node: fx.Node) -> Any:
        """Run one step."""
        value = super().run_node(node)
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (3, 4):
            self.values[node] = value
        return value


def _same(pooled: Tensor, embedding: Tensor) -> bool:
    return pooled.shape == embedding.shape and bool((pooled - embedding).abs().max() <= SAME * embedding.abs().max())


def _up_to(module: fx.GraphModule, last: fx.Node) -> fx.GraphModule:
    """A graph module that ends with the value of ``last``; it shares the parameters."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, lambda other: copies[other])
        if node is last:
            break
    graph.output(copies[last])
    return fx.GraphModule(module, graph)
