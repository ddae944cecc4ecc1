"""A loaded torch network as an ordered list of stages, and the frozen modules that run some of them."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.backbones.backbone import Segment, Stage
from headstart.backbones.pytorch.folding import fold
from headstart.backbones.pytorch.positions import SAME, as_map, grid_shape, pool_positions, without_pooling
from headstart.backbones.pytorch.staging import CannotSplitError, StageModule, split
from headstart.backbones.pytorch.suffix import TrainableSuffix
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights in, as every provider delivers it.

    Attributes
    ----------
    name:
        ``provider/model``, as it goes into saved models.
    network:
        float32, in eval mode; takes normalised images (N, 3, size, size).
    classifiers:
        Paths of the layers whose input is the embedding; empty where the network ends in it.
    preprocessing:
        What the weights expect, with the wanted size and channels.
    licence:
        SPDX name, else the publisher's word for it, else ``"unknown"``.
    definition:
        What the provider was told to build, in words that don't depend on its version: equal weights in networks that
        pad, scale or activate in another way are other backbones.
    """

    name: str
    network: nn.Module
    classifiers: tuple[str, ...]
    preprocessing: Preprocessing
    licence: str
    definition: str = ""


class StagedNetwork:
    """A loaded network split into its stages; where its code can't be followed, it is one stage.

    The network is taken over: its classifiers are removed.

    Attributes
    ----------
    stages:
        What the stages are.
    shapes:
        Of one image's tensor after each stage; the last is the embedding's.
    whole_because:
        Why the network is a single stage, or ``None``.
    """

    def __init__(self, loaded: LoadedNetwork) -> None:
        network, self._preprocessing = loaded.network.eval().requires_grad_(False), loaded.preprocessing
        for path in loaded.classifiers:
            network.set_submodule(path, nn.Identity())
        if loaded.preprocessing.channels > 3 and not _takes(network, loaded.preprocessing.channels):
            _widen(network, loaded.preprocessing.channels, loaded.name)
        self._stages, self.whole_because = _split_or_whole(network, loaded.preprocessing, loaded.name)
        self.shapes = [stage.shape for stage in self._stages]
        self.stages = tuple(self._describe(stage) for stage in self._stages)

    def segment(self, segment: Segment) -> FrozenSegment:
        """The frozen module of a segment."""
        normalise = None if segment.start else _Normalise(self._preprocessing)
        stages = self._stages[segment.start : segment.stop]
        if len(self._stages) in segment.maps and self._before_pooling is not None:
            stages = [*stages[:-1], self._before_pooling]
        return FrozenSegment(normalise, stages, segment.start, segment.pooled, segment.maps)

    def map_shape(self, number: int) -> tuple[int, int, int] | None:
        """See :meth:`headstart.backbones.backbone.Backbone.map_shape`."""
        last = number == len(self._stages)
        stage = self._before_pooling if last else self._stages[number - 1]
        return None if stage is None else grid_shape(stage.shape)

    @functools.cached_property
    def _before_pooling(self) -> StageModule | None:
        """The last stage without its pooling, where the embedding is the mean over positions of what is left."""
        cut = len(self._stages) - 1
        example = self._example(cut)
        if cut == 0:
            example = _Normalise(self._preprocessing)(example)
        return without_pooling(self._stages[-1], example)

    def trainable(self, cut: int) -> TrainableSuffix:
        """A copy of the stages above ``cut`` that may learn."""
        normalise = None if cut else _Normalise(self._preprocessing)
        stages = [(stage.name, stage.module) for stage in self._stages[cut:]]
        suffix = TrainableSuffix(normalise, copy.deepcopy(stages))
        fold(suffix, self._example(cut))
        return suffix

    def tuned(self, name: str, tensors: Mapping[str, npt.NDArray[np.float32]]) -> StagedNetwork:
        """A copy in which some weights are replaced; ``name`` is for the error."""
        changed = copy.deepcopy(self)
        changed.__dict__.pop("_before_pooling", None)  # its weights are those of before
        left = set(tensors)
        for stage in changed._stages:
            own = {key: torch.from_numpy(tensors[key].copy()) for key in stage.module.state_dict() if key in tensors}
            try:
                stage.module.load_state_dict(own, strict=False)
            except RuntimeError as error:
                raise BackboneError(f"{name}: tuned weights of another shape: {str(error).splitlines()[-1]}") from error
            left -= set(own)
        if left:
            raise BackboneError(f"{name} has no weights named {', '.join(sorted(left)[:3])}")
        return changed

    def _example(self, cut: int) -> Tensor:
        """What the stages above a cut take: noise, of two images."""
        generator = torch.Generator().manual_seed(0)
        if cut:
            return torch.randn((2, *self.shapes[cut - 1]), generator=generator)
        side, channels = self._preprocessing.size, self._preprocessing.channels
        return torch.randint(0, 256, (2, side, side, channels), generator=generator, dtype=torch.uint8)

    def _describe(self, stage: StageModule) -> Stage:
        channels = stage.shape[0] if stage.layout == "NCHW" else stage.shape[-1]
        stride = round(self._preprocessing.size / stage.side)
        return Stage(stage.name, stride, channels, stage.parameters, stage.macs)


class FrozenSegment(nn.Module):
    """Consecutive stages that never learn: no gradient, and eval mode that survives ``train()`` at any depth.

    Takes uint8 (N, H, W, C) where it starts with a normalisation, else the boundary tensor; gives a tuple: the pooled
    features of the asked stages, their maps (N, C, H, W), then the last stage's tensor. The last stage may come without
    its pooling, if its map is asked for: then that is done here.
    """

    def __init__(
        self,
        normalise: nn.Module | None,
        stages: Sequence[StageModule],
        start: int,
        pooled: tuple[int, ...],
        maps: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.stages = nn.ModuleList(stage.module for stage in stages)
        self._layouts = [stage.layout for stage in stages]
        self._start = start
        self._pooled = pooled
        self._maps = maps
        self._pools = start + len(stages) in maps
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenSegment:
        """Stay in eval mode whatever is asked, so that BatchNorm statistics and dropout never change."""
        return super().train(False)

    def forward(self, value: Tensor) -> tuple[Tensor, ...]:
        if any(module.training for module in self.modules()):  # somebody reached past us to a module inside
            self.train(False)
        if self.normalise is not None:
            value = self.normalise(value)
        pooled, maps = {}, {}
        for number, (stage, layout) in enumerate(zip(self.stages, self._layouts, strict=True), start=self._start + 1):
            value = stage(value)
            if number in self._pooled:
                pooled[number] = pool_positions(value, layout)
            if number in self._maps:
                maps[number] = as_map(value, layout)
        if self._pools:
            value = pool_positions(value, self._layouts[-1])
        return (*(pooled[number] for number in self._pooled), *(maps[number] for number in self._maps), value)


def state_sha256(state: Mapping[str, Tensor], definition: str = "") -> str:
    """SHA-256 over a network's definition and its tensors' names, dtypes, shapes and bytes, whatever container."""
    digest = hashlib.sha256(definition.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def _split_or_whole(
    network: nn.Module, preprocessing: Preprocessing, name: str
) -> tuple[list[StageModule], str | None]:
    """The stages, where together they do what the network does; else the network as one stage, and why."""
    size, inputs = preprocessing.size, max(3, preprocessing.channels)
    example = torch.randn((1, inputs, size, size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        embedding = _embedding(network, example, name)
    try:
        stages = split(network, inputs, size)
        if _compose(stages, example, embedding):
            return stages, None
        reason = "its stages together give other features than the whole"
    except CannotSplitError as error:
        reason = str(error)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = counter.get_total_flops() // 2
    return [StageModule("network", network, tuple(embedding.shape[1:]), "ND", 1, parameters, macs)], reason


@torch.inference_mode()
def _compose(stages: Sequence[StageModule], example: Tensor, embedding: Tensor) -> bool:
    """Whether the stages, one after the other, give the embedding."""
    value = example
    for stage in stages:
        value = stage.module(value)
    return value.shape == embedding.shape and bool((value - embedding).abs().max() <= SAME * embedding.abs().max())


def _embedding(network: nn.Module, example: Tensor, name: str) -> Tensor:
    """The embedding of an example, by the network's own code.

    Raises
    ------
    BackboneError
        If the network can't take images of this size, or gives something else than a row of finite features.
    """
    try:
        embedding = network(example)
    except Exception as error:  # a network's own code raises anything at sizes that it can't take
        size = example.shape[-1]
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BackboneError(f"{name} can't run on images of {size} x {size}: {reason}") from error
    if not isinstance(embedding, Tensor) or embedding.ndim != 2 or not embedding.isfinite().all():
        raise BackboneError(f"{name} does not give one finite row of features for an image")
    return embedding


def _widen(network: nn.Module, channels: int, name: str) -> None:
    """Let the first convolution take more channels: each of its three kernels is shared out among its copies.

    Channel j takes the kernel of j mod 3, divided by how many channels take that kernel, so that an image whose
    channels are all equal gives what its RGB copy gives.
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or not _adds_up(first):
        raise BackboneError(
            f"{name} can't take {channels} channels: its first layer is not a plain convolution of three channels"
        )
    kernels = [j % 3 for j in range(channels)]
    shares = torch.tensor([1 / kernels.count(kernel) for kernel in kernels]).view(1, -1, 1, 1)
    first.weight = nn.Parameter(first.weight.detach()[:, kernels] * shares, requires_grad=False)
    first.in_channels = channels
    for module in network.modules():  # transformers' models compare images with this
        if getattr(module, "num_channels", None) == 3:
            module.num_channels = channels


@torch.inference_mode()
def _adds_up(convolution: nn.Conv2d) -> bool:
    """Whether halved kernels give half the output: not so where weights are normalised before they are used."""
    halved, silent = copy.deepcopy(convolution), copy.deepcopy(convolution)
    halved.weight /= 2
    silent.weight *= 0
    example = torch.ones(1, convolution.in_channels, *(2 * side for side in convolution.kernel_size))
    bias = silent(example)
    return torch.allclose(convolution(example) - bias, 2 * (halved(example) - bias), rtol=1e-4, atol=1e-6)


def _takes(network: nn.Module, channels: int) -> bool:
    """Whether the first convolution takes so many channels already, as that of a tuned network does."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first is not None and first.in_channels == channels


class _Normalise(nn.Module):
    """uint8 (N, H, W, C) → float32 (N, max(3, C), H, W), scaled as the weights expect; few channels are repeated."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self._channels = preprocessing.channels
        inputs = range(max(3, self._channels))
        mean = torch.tensor([preprocessing.mean[j % 3] for j in inputs])
        std = torch.tensor([preprocessing.std[j % 3] for j in inputs])
        self.register_buffer("mean", mean.view(1, -1, 1, 1) * 255)
        self.register_buffer("scale", 1 / (std.view(1, -1, 1, 1) * 255))

    def forward(self, images: Tensor) -> Tensor:
        values = images.permute(0, 3, 1, 2).float()
        if self._channels < 3:
            values = torch.cat([values[:, j % self._channels].unsqueeze(1) for j in range(3)], 1)
        return (values - self.mean) * self.scale
