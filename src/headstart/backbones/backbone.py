"""What every backbone is: weights with their own preprocessing, and an ordered list of stages that can be cut."""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from headstart.errors import OptionError
from headstart.imaging.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy.typing as npt
    import openvino
    import torch

    from headstart.backbones.pytorch.suffix import TrainableSuffix


@dataclass(frozen=True)
class Stage:
    """One stage of a backbone.

    Attributes
    ----------
    name:
        What the architecture's authors or timm call it, for example ``"blocks.3"``.
    stride:
        Input pixels per pixel of its output map, or per token of its grid, along one side.
    channels:
        Channels of its output map, or the width of its tokens; also the width of its pooled features.
    parameters:
        How many numbers can be trained.
    macs:
        Multiply-accumulates for one image of the backbone's input size, without norms and activations.
    """

    name: str
    stride: int
    channels: int
    parameters: int
    macs: int


@dataclass(frozen=True)
class Output:
    """One named tensor that a segment gives for each image; ``shape`` leaves the batch out."""

    name: str
    shape: tuple[int, ...]


class Backbone(ABC):
    """A pretrained network as an ordered list of n stages; ``trunk(k)`` is the first k, ``suffix(k)`` the rest.

    Weights own their preprocessing: nothing else in headstart knows a mean or a standard deviation.

    Attributes
    ----------
    name:
        ``provider/model``, for example ``bundled/tf_efficientnet_lite0``.
    licence:
        SPDX name of the weights' licence, or ``"unknown"``.
    weights_sha256:
        SHA-256 of the weights as loaded and of what they are loaded into, 64 hexadecimal digits.
    preprocessing:
        How an image must be brought to the network.
    stages:
        From the input to the last convolution or norm.
    whole_because:
        Why a network of a single stage could not be split further; ``None`` where it could.
    graph_is_definition:
        Whether the float32 graph defines the network, rather than being converted from a torch module.
    """

    graph_is_definition: ClassVar[bool]
    name: str
    licence: str
    weights_sha256: str
    preprocessing: Preprocessing
    stages: tuple[Stage, ...]
    whole_because: str | None = None

    def trunk(self, cut: int, *, pooled: tuple[int, ...] = (), maps: tuple[int, ...] = ()) -> Segment:
        """The first ``cut`` stages, which take uint8 images and stay frozen.

        Parameters
        ----------
        cut:
            1 to n. ``trunk(n)`` gives the pooled embedding as ``features``, ``trunk(k < n)`` the map or tokens at
            the boundary as ``boundary``.
        pooled:
            Numbers (1 to ``cut``) of stages whose pooled features are wanted besides, as ``stage1``, ``stage2``, ….
        maps:
            Numbers of stages whose maps are wanted besides, as ``map1``, ``map2``, …: what :meth:`map_shape` describes.

        Raises
        ------
        OptionError
            If the backbone has no such cut or stage, or the stage has no map.
        """
        self._check_cut(cut)
        for number in (*pooled, *maps):
            if not 1 <= number <= cut:
                raise OptionError(f"{self.name}: stage {number} lies outside the trunk, which has stages 1 to {cut}")
        for number in maps:
            if self.map_shape(number) is None:
                raise OptionError(f"{self.name}: the features of stage {number} are not the mean of a map")
        return Segment(self, 0, cut, pooled, maps)

    def suffix(self, cut: int) -> Segment:
        """The stages above ``cut`` (1 to n − 1): takes ``boundary``, gives the pooled embedding ``features``.

        Raises
        ------
        OptionError
            If nothing lies above the cut, or the backbone has no such cut.
        """
        self._check_cut(cut)
        if cut == len(self.stages):
            raise OptionError(f"{self.name}: nothing lies above cut {cut}, the last")
        return Segment(self, cut, len(self.stages), ())

    def taking(self, aspect: Literal["crop", "squash"]) -> Self:
        """The same network, with images that are not square brought to it in this way; see :class:`Preprocessing`."""
        changed = copy.copy(self)
        changed.preprocessing = replace(self.preprocessing, aspect=aspect)
        return changed

    def _check_cut(self, cut: int) -> None:
        if not isinstance(cut, Integral) or not 1 <= cut <= len(self.stages):
            why = f": it is one stage, because its code can't be followed ({self.whole_because})"
            limits = f"{self.name} can be cut at 1 to {len(self.stages)}, not at {cut}"
            raise OptionError(limits + (why if self.whole_because else ""))

    @abstractmethod
    def boundary_shape(self, cut: int) -> tuple[int, ...]:
        """Shape of one image's tensor after stage ``cut``: a map, tokens, or the embedding."""

    @abstractmethod
    def map_shape(self, number: int) -> tuple[int, int, int] | None:
        """Channels, height and width of the map of stage ``number`` (1 to n), whose mean is the stage's features.

        Tokens of a square grid of patches count as a map. ``None`` where a stage has no positions, or its features are
        made of them in another way than by their mean: from a class token, or with a norm behind the pooling.
        """

    @abstractmethod
    def graph(self, segment: Segment) -> openvino.Model:
        """The segment as an OpenVINO graph in float32, with a dynamic batch and named inputs and outputs."""

    @abstractmethod
    def trainable(self, cut: int) -> TrainableSuffix:
        """The stages above ``cut`` (0 to n − 1) as a copy that may learn; the backbone itself stays as it is."""

    @abstractmethod
    def tuned(self, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Backbone:
        """The same backbone with some of its weights replaced.

        Parameters
        ----------
        tensors:
            Names and values as :meth:`TrainableSuffix.tensors` gives them.

        Raises
        ------
        BackboneError
            If the backbone has no weights of such a name and shape.
        """

    @abstractmethod
    def module(self, segment: Segment) -> torch.nn.Module:
        """The segment as a frozen torch module in eval mode: one tensor in, a tuple in the order of outputs out."""


@dataclass(frozen=True)
class Segment:
    """Consecutive stages ``start`` to ``stop`` of a backbone, as a trunk or as a suffix.

    A segment that starts at 0 takes ``image``: uint8 (N, size, size, channels), and normalises inside. Any other takes
    ``boundary``: float32, the output of the segment below.
    """

    backbone: Backbone
    start: int
    stop: int
    pooled: tuple[int, ...]
    maps: tuple[int, ...] = ()

    @property
    def input(self) -> Output:
        """The tensor that goes in."""
        if self.start:
            return Output("boundary", self.backbone.boundary_shape(self.start))
        size = self.backbone.preprocessing.size
        return Output("image", (size, size, self.backbone.preprocessing.channels))

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The tensors that come out, in order: pooled stages, then maps, then ``features`` or ``boundary``."""
        stages = self.backbone.stages
        pooled = tuple(Output(f"stage{number}", (stages[number - 1].channels,)) for number in self.pooled)
        extra = (*pooled, *(Output(f"map{number}", self.backbone.map_shape(number) or ()) for number in self.maps))
        if self.stop == len(stages):
            return (*extra, Output("features", (stages[-1].channels,)))
        return (*extra, Output("boundary", self.backbone.boundary_shape(self.stop)))

    @property
    def columns(self) -> dict[str, slice]:
        """Where each output lies in a row that has them all flattened, one after the other."""
        ends = list(itertools.accumulate(math.prod(output.shape) for output in self.outputs))
        starts = [0, *ends[:-1]]
        return {output.name: slice(a, b) for output, a, b in zip(self.outputs, starts, ends, strict=True)}

    @property
    def width(self) -> int:
        """Numbers in one such row."""
        return sum(math.prod(output.shape) for output in self.outputs)

    def graph(self) -> openvino.Model:
        """See :meth:`Backbone.graph`."""
        return self.backbone.graph(self)

    def module(self) -> torch.nn.Module:
        """See :meth:`Backbone.module`."""
        return self.backbone.module(self)


def tuned_sha256(base: str, tensors: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """SHA-256 of weights of which some are replaced: over that of the base, and names, shapes and bytes."""
    digest = hashlib.sha256(base.encode())
    for name in sorted(tensors):
        digest.update(f"|{name}|{tensors[name].shape}|".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
