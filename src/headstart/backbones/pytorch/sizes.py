"""Input sizes that a network can't take: found by one blank image, refused with sizes near by that it takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from headstart.backbones.declared_preprocessing import MAX_SIZE
from headstart.errors import OptionError

REFUSALS = (AssertionError, ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What networks raise where an input or an argument doesn't suit them."""

_STEP = 32
_TRIES = 4


def check_size(
    name: str, network: nn.Module, size: int, native: int, patch: int, build: Callable[[int], nn.Module]
) -> None:
    """Refuse a size that the network can't take.

    Parameters
    ----------
    name:
        For the message.
    network:
        Float32, built for ``size`` where that shapes it.
    size:
        Side of the input in pixels.
    native:
        Side that the weights were made for.
    patch:
        Side of the patches that an image is cut into; 1 where it isn't. Patches must not leave pixels over.
    build:
        Makes the network, weights left out, for another size.

    Raises
    ------
    OptionError
        If one blank image doesn't get through, or patches would leave pixels over at the border. The message names
        sizes near by that work.
    """
    if patch > 1 and size % patch and native % patch == 0:
        near = [side for side in (size // patch * patch, (size // patch + 1) * patch) if side]
        raise _refused(name, size, native, near) from None
    try:
        _run_blank(network, size, torch.device("cpu"))
    except REFUSALS as error:
        raise _refused(name, size, native, _sizes_near(size, build)) from error


def cannot_be_resampled(name: str, size: int, native: int) -> OptionError:
    """The error for weights that are tied to their size."""
    return OptionError(f"{name} takes {native} pixels only: its weights can't be resampled to {size}")


def patch_side(network: nn.Module) -> int:
    """Side of the square patches that a network of tokens cuts its image into; 1 where it has none."""
    inner = getattr(network, "trunk", network)  # open_clip's wrapper around a timm network
    owner = getattr(inner, "patch_embed", inner)
    side = getattr(owner, "patch_size", 1)
    side = side[0] if isinstance(side, tuple | list) and side else side
    return side if isinstance(side, int) else 1


def _sizes_near(size: int, build: Callable[[int], nn.Module]) -> list[int]:
    """The nearest multiples of 32 below and above that one blank image gets through, found without any weights."""
    below = range(size - size % _STEP - (_STEP if size % _STEP == 0 else 0), 0, -_STEP)
    above = range(size - size % _STEP + _STEP, MAX_SIZE + 1, _STEP)
    found = (next((side for side in sides[:_TRIES] if _works(side, build)), None) for sides in (below, above))
    return [side for side in found if side is not None]


def _works(side: int, build: Callable[[int], nn.Module]) -> bool:
    try:
        with torch.device("meta"):
            _run_blank(build(side), side, torch.device("meta"))
    except (*REFUSALS, NotImplementedError):
        return False
    return True


def _run_blank(network: nn.Module, side: int, device: torch.device) -> None:
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, side, side, device=device))


def _refused(name: str, size: int, native: int, near: list[int]) -> OptionError:
    hint = f"sizes near by that it takes: {', '.join(map(str, near))}; " if near else ""
    return OptionError(f"{name} can't take images of {size} pixels; {hint}its weights were made for {native}")
