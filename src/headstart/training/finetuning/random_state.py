"""All the random state that training draws from: taken, put back, and kept untouched around a measurement."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

Generator: TypeAlias = np.random.Generator | torch.Generator


@dataclass(frozen=True, eq=False)
class RandomState:
    """What the random sources held at one moment.

    Attributes
    ----------
    python, numpy, torch:
        Of the three libraries' global sources, in their own formats.
    cuda:
        Of every CUDA device, empty where CUDA was not in use.
    generators:
        Of the generators that were passed, in their order.
    """

    python: Any
    numpy: Any
    torch: torch.Tensor
    cuda: tuple[torch.Tensor, ...]
    generators: tuple[Any, ...]


def take_random_state(generators: Sequence[Generator] = ()) -> RandomState:
    """The state of Python's, NumPy's and torch's global sources and of ``generators``."""
    return RandomState(
        python=random.getstate(),
        numpy=np.random.get_state(),
        torch=torch.get_rng_state(),
        cuda=tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else (),
        generators=tuple(_state_of(generator) for generator in generators),
    )


def put_random_state(state: RandomState, generators: Sequence[Generator] = ()) -> None:
    """Put everything back; ``generators`` are those that were taken, in the same order.

    Raises
    ------
    ValueError
        If there are more or fewer generators than were taken.
    """
    random.setstate(state.python)
    np.random.set_state(state.numpy)
    torch.set_rng_state(state.torch)
    if state.cuda:
        torch.cuda.set_rng_state_all(list(state.cuda))
    for generator, held in zip(generators, state.generators, strict=True):
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = held
        else:
            generator.set_state(held)


@contextmanager
def kept_random_state(generators: Sequence[Generator] = ()) -> Iterator[None]:
    """Whatever is drawn inside, the global sources and ``generators`` go on afterwards as if nothing had been."""
    state = take_random_state(generators)
    try:
        yield
    finally:
        put_random_state(state, generators)


def _state_of(generator: Generator) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()
