"""EfficientNet-Lite as an OpenVINO graph, built with OpenVINO's own operators from a checkpoint's tensors.

Architecture: Tan and Le 2019 (EfficientNet) and Google's Lite variants (2020): no squeeze-and-excitation, ReLU6
instead of swish, stem and head not widened. These weights come from TensorFlow: padding is "SAME", and BatchNorm
divides by the square root of the variance plus 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Segment, Stage
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    from openvino import Model, Node

Tensors = Mapping[str, npt.NDArray[Any]]

BATCHNORM_EPSILON = 1e-3
_GROUP_STRIDES = (1, 2, 2, 2, 1, 2, 1)
# The norm behind each convolution, by their names in the checkpoint.
_NORM_OF = {
    "_conv_stem": "_bn0",
    "_conv_head": "_bn1",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
}


@dataclass(frozen=True, eq=False)
class Norm:
    """One BatchNorm layer: y = gamma · (x − mean) / √(variance + epsilon) + beta, a channel at a time.

    Attributes
    ----------
    name:
        timm's name of the layer, for example ``blocks.1.0.bn2``.
    stage:
        Number of the stage that it belongs to, from 1.
    mean, variance:
        What the source data left in the weights: running statistics of x, float64 (C,).
    gamma, beta:
        The learned scale and shift, float64 (C,).
    epsilon:
        What keeps the division sound where a channel never varies.
    """

    name: str
    stage: int
    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    gamma: npt.NDArray[np.float64]
    beta: npt.NDArray[np.float64]
    epsilon: float = BATCHNORM_EPSILON


@dataclass(frozen=True)
class LiteArchitecture:
    """What the checkpoint's tensors don't say.

    Attributes
    ----------
    depths:
        Inverted-residual blocks in each of the seven groups.
    """

    depths: tuple[int, ...]

    def blocks(self, group: int) -> range:
        """Numbers of the blocks of a group (0 to 6), as the checkpoint counts them."""
        first = sum(self.depths[:group])
        return range(first, first + self.depths[group])


def lite_stages(tensors: Tensors, architecture: LiteArchitecture, preprocessing: Preprocessing) -> tuple[Stage, ...]:
    """The nine stages: stem, seven groups of blocks, head convolution."""
    stages = []
    side, stride = preprocessing.size, 1
    for name, layers in _layers(tensors, architecture).items():
        parameters = macs = channels = 0
        for layer, step in layers:
            weight = tensors[f"{layer}.weight"]
            weight = widened(weight, preprocessing.channels) if layer == "_conv_stem" else weight
            side, stride, channels = -(-side // step), stride * step, len(weight)
            parameters += weight.size + 2 * channels
            macs += weight.size * side**2
        stages.append(Stage(name, stride, channels, parameters, macs))
    return tuple(stages)


def _layers(tensors: Tensors, architecture: LiteArchitecture) -> dict[str, list[tuple[str, int]]]:
    """The convolutions of each stage, in order, with their strides; a norm with two numbers a channel follows each."""
    layers = {"conv_stem": [("_conv_stem", 2)]}
    for group, stride in enumerate(_GROUP_STRIDES):
        found = []
        for block in architecture.blocks(group):
            step = stride if block == architecture.blocks(group)[0] else 1
            parts = {"_expand_conv": 1, "_depthwise_conv": step, "_project_conv": 1}
            found += [(f"_blocks.{block}.{part}", strides) for part, strides in parts.items()]
        layers[f"blocks.{group}"] = [(layer, step) for layer, step in found if f"{layer}.weight" in tensors]
    return {**layers, "conv_head": [("_conv_head", 1)]}


def lite_norms(tensors: Tensors, architecture: LiteArchitecture) -> tuple[Norm, ...]:
    """Every BatchNorm layer, from the input to the top."""
    norms = []
    for number, layers in enumerate(_layers(tensors, architecture).values(), start=1):
        for layer, _ in layers:
            prefix, dot, convolution = layer.rpartition(".")
            name = f"{prefix}{dot}{_NORM_OF[convolution]}"
            mean, variance, gamma, beta = _affine(tensors, name)
            outer = lite_key(f"{name}.bias", architecture).removesuffix(".bias")
            norms.append(Norm(outer, number, mean, variance, gamma, beta))
    return tuple(norms)


def lite_graph(tensors: Tensors, architecture: LiteArchitecture, segment: Segment) -> Model:
    """Build a segment in float32 with a dynamic batch; BatchNorm is folded into the convolutions."""
    ops = openvino().opset13
    builder = _Builder(tensors, architecture, segment.backbone.preprocessing.channels)
    entry = segment.input
    shape = openvino().PartialShape([-1, *entry.shape])
    parameter = ops.parameter(shape, np.float32 if segment.start else np.uint8, name=entry.name)
    node = parameter if segment.start else normalise(parameter, segment.backbone.preprocessing)
    results = {}
    for number in range(segment.start + 1, segment.stop + 1):
        node = builder.stage(number, node)
        if number in segment.pooled:
            results[f"stage{number}"] = pool(node)
        if number in segment.maps:
            results[f"map{number}"] = node
    if segment.stop == len(segment.backbone.stages):
        results["features"] = results.get(f"stage{segment.stop}") or pool(node)
    else:
        results["boundary"] = node
    return named_model(parameter, entry.name, results, segment)


def lite_statistics_graph(tensors: Tensors, architecture: LiteArchitecture, trunk: Segment) -> Model:
    """Build the whole network in float32 with what its BatchNorm layers put out, as means over positions.

    The outputs are those of :class:`headstart.backbones.statistics.StatisticsTrunk`.
    """
    ops = openvino().opset13
    builder = _Builder(tensors, architecture, trunk.backbone.preprocessing.channels)
    parameter = ops.parameter(openvino().PartialShape([-1, *trunk.input.shape]), np.uint8, name=trunk.input.name)
    node = normalise(parameter, trunk.backbone.preprocessing)
    for number in range(1, trunk.stop + 1):
        node = builder.stage(number, node)
    maps = builder.normed
    results = {
        "mean": ops.concat([pool(map_) for map_ in maps], 1),
        "mean_square": ops.concat([pool(ops.multiply(map_, map_)) for map_ in maps], 1),
    }
    return named_model(parameter, trunk.input.name, results, trunk)


def named_model(parameter: Node, entry: str, results: Mapping[str, Node], segment: Segment) -> Model:
    """Wrap nodes as a model whose tensors carry the segment's names, outputs in the segment's order."""
    ops = openvino().opset13
    parameter.output(0).get_tensor().set_names({entry})
    sinks = []
    for output in segment.outputs:
        sink = ops.result(results[output.name])
        sink.output(0).get_tensor().add_names({output.name})
        sinks.append(sink)
    return openvino().Model(sinks, [parameter], f"{segment.backbone.name}:{segment.start}-{segment.stop}")


def normalise(images: Node, preprocessing: Preprocessing) -> Node:
    """uint8 (N, H, W, C) → float32 (N, max(3, C), H, W), as the weights expect it.

    Channel j is the image's channel j mod C, normalised as the weights' channel j mod 3.
    """
    ops = openvino().opset13
    planes = ops.transpose(ops.convert(images, "f32"), np.array([0, 3, 1, 2], np.int64))
    if preprocessing.channels < 3:
        planes = ops.gather(planes, np.arange(3) % preprocessing.channels, np.int64(1))
    colours = np.arange(max(3, preprocessing.channels)) % 3
    mean, std = (np.asarray(part, np.float64)[colours] for part in (preprocessing.mean, preprocessing.std))
    scaled = ops.multiply(planes, (1 / (255 * std)).astype(np.float32).reshape(1, -1, 1, 1))
    return ops.add(scaled, (-mean / std).astype(np.float32).reshape(1, -1, 1, 1))


def widened(weight: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """A first convolution's weight (out, 3, h, w) for more input channels.

    Inputs take the weights of red, green and blue in turn, each divided by how many inputs share it, so that equal
    channels add up to what one grey image gives. A weight that has been widened already, and trained, stays as it is.
    """
    if weight.shape[1] == max(3, channels):
        return weight
    colours = np.arange(max(3, channels)) % 3
    shares: npt.NDArray[Any] = weight[:, colours] / np.bincount(colours)[colours][None, :, None, None]
    return shares.astype(weight.dtype)


def lite_key(key: str, architecture: LiteArchitecture) -> str:
    """timm's name of a tensor in the bundled checkpoint."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    layer, _, rest = key.partition(".")
    if layer != "_blocks":
        return f"{outer[layer]}.{rest}"
    block, layer, part = rest.split(".")
    for group in range(len(architecture.depths)):
        if int(block) in architecture.blocks(group):
            position = int(block) - architecture.blocks(group)[0]
            return f"blocks.{group}.{position}.{(later if group else first)[layer]}.{part}"
    raise BackboneError(f"the checkpoint has a block {block} that the architecture has not")


def pool(node: Node) -> Node:
    """(N, C, H, W) → (N, C), the mean over positions."""
    return openvino().opset13.reduce_mean(node, np.array([2, 3], np.int64), keep_dims=False)


def _affine(tensors: Tensors, norm: str) -> list[npt.NDArray[np.float64]]:
    """Running mean and variance, gamma and beta of a norm of the checkpoint, float64 (C,) each."""
    parts = ("running_mean", "running_var", "weight", "bias")
    return [tensors[f"{norm}.{part}"].astype(np.float64) for part in parts]


class _Builder:
    """Turns the checkpoint's layers into nodes; ``normed`` are the outputs of the BatchNorm layers so far, in order."""

    def __init__(self, tensors: Tensors, architecture: LiteArchitecture, channels: int) -> None:
        stem = "_conv_stem.weight"
        self._tensors = {**tensors, stem: widened(tensors[stem], channels)}
        self._architecture = architecture
        self.normed: list[Node] = []

    def stage(self, number: int, node: Node) -> Node:
        """Stage ``number`` (1 to 9)."""
        if number == 1:
            return self._relu6(self._convolution(node, "_conv_stem", "_bn0", stride=2))
        if number == 9:
            return self._relu6(self._convolution(node, "_conv_head", "_bn1"))
        for position, block in enumerate(self._architecture.blocks(number - 2)):
            stride = _GROUP_STRIDES[number - 2] if position == 0 else 1
            node = self._block(node, f"_blocks.{block}", stride, residual=position > 0)
        return node

    def _block(self, node: Node, prefix: str, stride: int, *, residual: bool) -> Node:
        """An inverted residual block (Sandler et al. 2018); the first of a group has no shortcut."""
        inner = node
        if f"{prefix}._expand_conv.weight" in self._tensors:
            inner = self._relu6(self._convolution(inner, f"{prefix}._expand_conv", f"{prefix}._bn0"))
        inner = self._relu6(self._depthwise(inner, f"{prefix}._depthwise_conv", f"{prefix}._bn1", stride))
        inner = self._convolution(inner, f"{prefix}._project_conv", f"{prefix}._bn2")
        return openvino().opset13.add(inner, node) if residual else inner

    def _convolution(self, node: Node, layer: str, norm: str, stride: int = 1) -> Node:
        weight, bias = self._folded(layer, norm)
        ops = openvino().opset13
        image = ops.convolution(node, weight, [stride] * 2, [0, 0], [0, 0], [1, 1], auto_pad="same_upper")
        self.normed.append(ops.add(image, bias))
        return self.normed[-1]

    def _depthwise(self, node: Node, layer: str, norm: str, stride: int) -> Node:
        weight, bias = self._folded(layer, norm)
        ops = openvino().opset13
        grouped = weight[:, None]
        image = ops.group_convolution(node, grouped, [stride] * 2, [0, 0], [0, 0], [1, 1], auto_pad="same_upper")
        self.normed.append(ops.add(image, bias))
        return self.normed[-1]

    def _folded(self, layer: str, norm: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Convolution weights and bias with the BatchNorm that follows folded in, computed in float64."""
        mean, variance, gamma, beta = _affine(self._tensors, norm)
        scale = gamma / np.sqrt(variance + BATCHNORM_EPSILON)
        weight = self._tensors[f"{layer}.weight"] * scale[:, None, None, None]
        bias = (beta - mean * scale).reshape(1, -1, 1, 1)
        return np.ascontiguousarray(weight, dtype=np.float32), bias.astype(np.float32)

    @staticmethod
    def _relu6(node: Node) -> Node:
        return openvino().opset13.clamp(node, 0.0, 6.0)
