"""Where any torch network can be cut: its traced graph, split into stages between which one single tensor passes.

No table of architectures is needed. Networks repeat a numbered module (``blocks.3``, ``layer2``, ``Mixed_6b``), and the
kind of numbered module that does most of the work makes the stages. What lies before the first of them is the stem,
what lies behind the last is the head stage; either belongs to its neighbour where it has no parameters.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx, nn

from headstart.backbones.pytorch.tracing import IMAGES, ShapedTracer, count_of, value_of

Layout = Literal["NCHW", "NHWC", "NTC", "ND"]

# A module that alone does more than this share of the work, or a split into fewer stages than this, means that the
# repeated modules are hidden inside a module, which is then traced through; so often at most.
_HIDDEN_SHARE = 0.5
_FEW = 3
_DEEPEST = 4


class CannotSplitError(Exception):
    """The code of a network can't be traced; the message says where it stopped."""


@dataclass(frozen=True)
class StageModule:
    """One stage: takes one tensor, gives one tensor.

    Attributes
    ----------
    name:
        The path of the numbered module that it begins with, or of its first module with parameters.
    module:
        Shares its parameters with the network, under the network's own names.
    shape:
        Of its output for one image.
    layout:
        What the axes of its output are: those of a map, of tokens, or of the embedding.
    side:
        Of the last map or square grid of tokens in it, before any pooling to a single position.
    parameters:
        How many numbers can be trained.
    macs:
        Multiply-accumulates for one image.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    layout: Layout
    side: int
    parameters: int
    macs: int


def side_of(shape: tuple[int, ...]) -> int:
    """Positions along one side of a map or of the square grid of tokens; 1 for a single row of features."""
    side = {"NCHW": shape[-1], "NHWC": shape[0], "NTC": math.isqrt(shape[0]), "ND": 1}[layout_of(shape)]
    return int(side)


def layout_of(shape: tuple[int, ...]) -> Layout:
    """What the axes of one image's tensor are, for square images: the two equal axes are height and width."""
    if len(shape) == 3:
        return "NHWC" if shape[0] == shape[1] != shape[2] else "NCHW"
    return "NTC" if len(shape) == 2 else "ND"


def split(network: nn.Module, channels: int, size: int) -> list[StageModule]:
    """Split a network into its stages, from the image to the embedding.

    Parameters
    ----------
    network:
        In eval mode; takes float32 (N, channels, size, size), gives the embedding (N, D).

    Raises
    ------
    CannotSplitError
        If the network's code depends on the content of images, or does what torch.fx can't follow.
    """
    opened = frozenset[str]()
    traced = _Traced.of(network, channels, size, opened)
    for _ in range(_DEEPEST):
        hidden = traced.hidden_in()
        if hidden is None:
            break
        opened |= {hidden}
        try:
            traced = _Traced.of(network, channels, size, opened)
        except CannotSplitError:
            break
    return traced.stages()


@dataclass(frozen=True)
class _Traced:
    """A network's graph: its nodes in order, without the output; the last one is the embedding."""

    network: nn.Module
    nodes: list[fx.Node]

    @classmethod
    def of(cls, network: nn.Module, channels: int, size: int, opened: frozenset[str]) -> _Traced:
        try:
            graph = ShapedTracer(opened).trace_images(network, channels, size)
        except Exception as error:  # whatever a network's own code raises when it meets a traced value
            raise CannotSplitError(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
        embedding = next(node for node in graph.nodes if node.op == "output").args[0]
        if not isinstance(embedding, fx.Node) or not _is_per_image(embedding):
            raise CannotSplitError("it does not give one tensor with a row for each image")
        needed = _needed(embedding, None)
        return cls(network, [node for node in graph.nodes if node in needed])

    def stages(self) -> list[StageModule]:
        points = [self.nodes[0], *self._boundaries(), self.nodes[-1]]
        kind = self._stage_kind()
        return [self._stage(start, end, kind) for start, end in itertools.pairwise(points)]

    def hidden_in(self) -> str | None:
        """The module to trace through because the repeated modules seem to lie in it."""
        total = sum(node.meta["macs"] for node in self.nodes)
        leaves = [node for node in self.nodes if node.op == "call_module" and self._is_composed(node)]
        heaviest = max(leaves, key=lambda node: node.meta["macs"], default=None)
        if heaviest is None:
            return None
        is_hidden = heaviest.meta["macs"] > _HIDDEN_SHARE * total or len(self._boundaries()) + 1 < _FEW
        return str(heaviest.target) if is_hidden else None

    def _boundaries(self) -> list[fx.Node]:
        """Behind which nodes the graph is cut."""
        kind = self._stage_kind()
        cuttable = _cuttable(self.nodes)
        positions = {node: i for i, node in enumerate(self.nodes)}
        ends: dict[str, fx.Node] = {}
        for node in cuttable:
            if _kind(node) == kind:
                ends[_unit(node)] = node
        first = next((node for node in self.nodes if _kind(node) == kind), self.nodes[-1])
        stem = [node for node in cuttable if positions[node] < positions[first]]
        ordered = sorted({*stem[-1:], *ends.values()}, key=lambda node: positions[node])
        if kind and all(self._is_bare_layer(node) for node in self.nodes if _kind(node) == kind):
            ordered = _where_maps_shrink(ordered)
        return self._without_idle_stages(ordered)

    def _without_idle_stages(self, ordered: list[fx.Node]) -> list[fx.Node]:
        """Drop the boundary before each stage without parameters: it belongs to the stage below."""
        kept: list[fx.Node] = []
        points = [*ordered, self.nodes[-1]]
        start = self.nodes[0]
        for end in points:
            if self._has_parameters(_between(self.nodes, start, end)):
                kept.append(end)
            elif kept:
                kept[-1] = end
            start = end
        return kept[:-1]

    def _stage_kind(self) -> str:
        """The kind of numbered module that does most of the work, for example ``blocks.#``."""
        work: defaultdict[str, int] = defaultdict(int)
        units: defaultdict[str, set[str]] = defaultdict(set)
        for node in self.nodes:
            if kind := _kind(node):
                work[kind] += node.meta["macs"]
                units[kind].add(_unit(node))
        repeated = [kind for kind in work if len(units[kind]) > 1]
        return max(repeated, key=lambda kind: work[kind], default="")

    def _stage(self, start: fx.Node, end: fx.Node, kind: str) -> StageModule:
        nodes = _between(self.nodes, start, end)
        module = fx.GraphModule(self.network, _subgraph(nodes, start, end))
        shape = tuple(value_of(end).shape[1:])
        sides = [side_of(tuple(value_of(node).shape[1:])) for node in [start, *nodes] if _is_per_image(node)]
        return StageModule(
            name=self._name(nodes, kind),
            module=module,
            shape=shape,
            layout=layout_of(shape),
            side=next((side for side in reversed(sides) if side > 1), 1),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            macs=sum(node.meta["macs"] for node in nodes),
        )

    def _name(self, nodes: Sequence[fx.Node], kind: str) -> str:
        trained = [node for node in nodes if self._has_parameters([node])]
        numbered = [_unit(node) for node in trained if kind and _kind(node) == kind]
        modules = [str(node.target) for node in trained if node.op == "call_module"]
        return [*numbered, *modules, *(str(node.target) for node in trained), "network"][0]

    def _has_parameters(self, nodes: Iterable[fx.Node]) -> bool:
        for node in nodes:
            if node.op == "call_module" and any(True for _ in self._module(node).parameters()):
                return True
            if node.op == "get_attr" and isinstance(value_of(node), nn.Parameter):
                return True
        return False

    def _is_bare_layer(self, node: fx.Node) -> bool:
        """Whether the numbered module is a single layer, and no block of several."""
        return _path(node) == _unit(node) and not self._is_composed(node)

    def _is_composed(self, node: fx.Node) -> bool:
        return node.op == "call_module" and any(True for _ in self._module(node).children())

    def _module(self, node: fx.Node) -> nn.Module:
        return self.network.get_submodule(str(node.target))


def _cuttable(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """The nodes whose value is all that later nodes need to know of the images."""
    dependent: set[fx.Node] = set()
    last_use: dict[fx.Node, int] = {}
    for i, node in enumerate(nodes):
        if node.op == "placeholder" or (node.target is not count_of and dependent & set(node.all_input_nodes)):
            dependent.add(node)
        if node.target is not count_of:
            last_use |= dict.fromkeys(node.all_input_nodes, i)
    found, alive = [], set[fx.Node]()
    for i, node in enumerate(nodes):
        alive = {other for other in alive if last_use.get(other, -1) > i}
        if node in dependent and last_use.get(node, -1) > i:
            alive.add(node)
        if alive == {node} and node.op != "placeholder" and _is_per_image(node):
            found.append(node)
    return found


def _is_per_image(node: fx.Node) -> bool:
    value = value_of(node)
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2 and value.shape[0] == IMAGES


def _needed(end: fx.Node, start: fx.Node | None) -> set[fx.Node]:
    """``end`` and everything that it is computed from, down to ``start``."""
    needed, waiting = {end}, [end]
    while waiting:
        node = waiting.pop()
        for other in [] if node is start else node.all_input_nodes:
            if other not in needed:
                needed.add(other)
                waiting.append(other)
    return needed


def _between(nodes: Sequence[fx.Node], start: fx.Node, end: fx.Node) -> list[fx.Node]:
    """What ``end`` needs besides ``start``, in order; the number of images can be taken from ``start``."""
    needed, waiting = {end}, [end]
    while waiting:
        node = waiting.pop()
        for other in [] if node.target is count_of else node.all_input_nodes:
            if other is not start and other not in needed:
                needed.add(other)
                waiting.append(other)
    return [node for node in nodes if node in needed]


def _subgraph(nodes: Sequence[fx.Node], start: fx.Node, end: fx.Node) -> fx.Graph:
    """``nodes`` as a graph of their own that takes the value of ``start`` and gives that of ``end``."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("value")}
    for node in nodes:
        if node.target is count_of:
            count = graph.call_function(count_of, (copies[start],))
            times = value_of(node) // IMAGES
            copies[node] = count if times == 1 else graph.call_function(_times, (count, times))
        else:
            copies[node] = graph.node_copy(node, lambda other: copies[other])
    graph.output(copies[end])
    return graph


def _times(count: int, factor: int) -> int:
    return count * factor


def _where_maps_shrink(ends: Sequence[fx.Node]) -> list[fx.Node]:
    """The last of each run of ends with maps of one size: bare layers in a row make stages as their pooling does."""
    sizes = [tuple(value_of(end).shape[2:]) for end in ends]
    return [end for i, end in enumerate(ends) if i + 1 == len(ends) or sizes[i] != sizes[i + 1]]


def _path(node: fx.Node) -> str:
    """The path of the module that a node is, whose output it is an item of, or whose code it was traced in."""
    if node.target is operator.getitem and node.args[0].op == "call_module":
        return _path(node.args[0])
    if node.op == "call_module":
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {}
    return next(reversed(list(stack.values())))[0] if stack else ""


def _unit(node: fx.Node) -> str:
    """The path up to its first number: ``blocks.3`` of ``blocks.3.attn``, ``layer2`` of ``layer2.0``; or nothing."""
    found = re.match(r"\D*\d+", _path(node))
    return found.group() if found else ""


def _kind(node: fx.Node) -> str:
    """The unit with its number left open: ``blocks.#``; or nothing."""
    return re.sub(r"\d+", "#", _unit(node))
