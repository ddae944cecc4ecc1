"""A torch network as one flat graph: torch.fx tracing that knows every shape, so that a network's own code may ask.

Plain symbolic tracing stops where the code of a network looks at a shape: ``if``, ``range`` and unpacking need numbers.
Here every traced operation also runs at once on fake tensors, which have a shape and no data, and a traced value
answers with its real shape. Only the number of images stays symbolic.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

# More than one image, so that no axis of length one is taken for the number of images.
IMAGES = 2


class TracedValue(fx.Proxy):
    """A value in the graph that answers questions on its shape with numbers, except for the number of images."""

    @property
    def shape(self) -> Any:
        """The sizes as a tuple; the first is symbolic where it counts images."""
        value = value_of(self.node)
        if not isinstance(value, Tensor):
            return super().__getattr__("shape")
        return tuple(self._size(axis) for axis in range(value.ndim))

    def size(self, dim: int | None = None) -> Any:
        """As :meth:`torch.Tensor.size`."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As :meth:`torch.Tensor.dim`."""
        return int(value_of(self.node).ndim)

    @property
    def ndim(self) -> int:
        """As :attr:`torch.Tensor.ndim`."""
        return self.dim()

    @property
    def dtype(self) -> torch.dtype:
        """As :attr:`torch.Tensor.dtype`."""
        return value_of(self.node).dtype

    @property
    def device(self) -> torch.device:
        """As :attr:`torch.Tensor.device`."""
        return value_of(self.node).device

    def __len__(self) -> int:
        return len(value_of(self.node))

    def __iter__(self) -> Iterator[Any]:
        value = value_of(self.node)
        return iter([self[i] for i in range(len(value))]) if isinstance(value, tuple | list) else super().__iter__()

    def _size(self, axis: int) -> Any:
        length = value_of(self.node).shape[axis]
        if axis == 0 and length % IMAGES == 0:
            return self.tracer.create_proxy("call_function", count_of, (self,), {})
        return int(length)


class ShapedTracer(fx.Tracer):
    """Traces a network down to its leaf modules and keeps the fake value and the work of every node.

    Parameters
    ----------
    opened:
        Paths of modules to trace through. Bare containers always are; every other module stays one node, which keeps
        its own code, so that training and evaluation can still differ inside.
    """

    def __init__(self, opened: frozenset[str]) -> None:
        super().__init__()
        self._opened = opened
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._evaluating = False
        self._example: tuple[int, ...] = ()

    def trace_images(self, network: nn.Module, channels: int, size: int) -> fx.Graph:
        """The graph of ``network`` for images (N, channels, size, size); each node's ``meta`` has value and MACs."""
        self._example = (IMAGES, channels, size, size)
        with torch.no_grad():
            return super().trace(network)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays one node."""
        return not isinstance(m, nn.Sequential | nn.ModuleList) and module_qualified_name not in self._opened

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """Only the images come from outside; whatever else ``forward`` takes keeps its default."""
        return root_fn, [self.root, self.create_proxy("placeholder", "images", (), {})]

    def proxy(self, node: fx.Node) -> Any:
        """The value that the traced code sees for a node: sizes that a module hands on beside its tensor are known."""
        if node.target is operator.getitem and node.args[0].op == "call_module" and _is_sizes(value_of(node)):
            return value_of(node)
        return TracedValue(node, self)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """Add a node, run it on fake tensors, and keep what came out and its multiply-accumulates per image."""
        node = super().create_node(*args, **kwargs)
        if node.op == "output":
            return node
        with self._evaluation(), FlopCounterMode(display=False) as counter:
            node.meta["value"] = self._evaluate(node)
        node.meta["macs"] = counter.get_total_flops() // 2 // IMAGES
        return node

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Record a call, unless it is our own evaluation that calls."""
        if self._evaluating:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Record the use of a parameter, unless it is our own evaluation that uses it."""
        return attr_val if self._evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)

    @contextlib.contextmanager
    def _evaluation(self) -> Iterator[None]:
        self._evaluating = True
        try:
            with self._fake:
                yield
        finally:
            self._evaluating = False

    def _evaluate(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return torch.empty(self._example)
        if node.op == "get_attr":
            return _attribute(self.root, str(node.target))
        args, kwargs = _values(node.args), _values(node.kwargs)
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)


def count_of(value: Tensor) -> int:
    """The length of the first axis: the number of images, or a multiple of it."""
    return value.size(0)


def value_of(node: fx.Node) -> Any:
    """The fake value of a node, as found while tracing."""
    return node.meta["value"]


def _is_sizes(value: Any) -> bool:
    """Whether a value is a whole number, or a sequence of them."""
    if isinstance(value, tuple | list):
        return bool(value) and all(_is_sizes(item) for item in value)
    return isinstance(value, int)


def _values(argument: Any) -> Any:
    """The fake values in a node's arguments, in lists and dictionaries of their own, which the callee may change."""
    if isinstance(argument, fx.Node):
        return value_of(argument)
    if isinstance(argument, tuple):
        return tuple(_values(item) for item in argument)
    if isinstance(argument, list):
        return [_values(item) for item in argument]
    if isinstance(argument, dict):
        return {key: _values(item) for key, item in argument.items()}
    if isinstance(argument, slice):
        return slice(_values(argument.start), _values(argument.stop), _values(argument.step))
    return argument


def _attribute(root: Any, path: str) -> Any:
    value = root
    for name in path.split("."):
        value = getattr(value, name)
    return value
