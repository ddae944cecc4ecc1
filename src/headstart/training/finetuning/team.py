"""The processes that train one network together: which of them computes, what they agree on, and what they tell."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

import lightning_fabric
import numpy as np
import numpy.typing as npt

from headstart.features.engine import Say
from headstart.runs.progress import Progress
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.views import Views

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
First = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Reports:
    """What a training tells while it runs, and asks: whether to save its state and end."""

    say: Say
    tell: Callable[[EpochRow], None]
    progress: Progress
    stop: Callable[[], bool]


class Task(Protocol[T_co]):
    """What every process of a team runs; it has to pickle, and so does what it gives."""

    def __call__(self, team: Team, reports: Reports) -> T_co: ...


class Team:
    """A process that trains alone.

    Attributes
    ----------
    rank, size:
        The number of this process, from 0, and how many there are.
    """

    rank = 0
    size = 1

    def first(self) -> AbstractContextManager[object]:
        """A block that the first process runs before the others do, so that these find what it has stored."""
        return contextlib.nullcontext()

    def agreed(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them; the others make nothing."""
        return make()

    def fabric(self, choice: PrecisionChoice) -> lightning_fabric.Fabric | None:
        """Where the loop runs, and in which precision; ``None`` leaves it to the loop."""
        return None

    def views(self, views: Views) -> Views:
        """Views that no two processes compute."""
        return views


ALONE = Team()


class FirstComputed:
    """Views kept in a store: the first process computes them, and the others read them from there.

    Parameters
    ----------
    views:
        This process's own.
    first:
        See :meth:`Team.first`.
    ahead:
        Whether this process computes views ahead: that of the first one.
    """

    def __init__(self, views: Views, first: First, *, ahead: bool) -> None:
        self._views, self._first, self._ahead = views, first, ahead

    def start_epoch(self, number: int, order: npt.NDArray[np.int64], batch_size: int) -> None:
        """Wait for the first process, then take what is in the store."""
        with self._first():
            self._views.start_epoch(number, order, batch_size)

    def prefetch(self, number: int) -> None:
        """Begin a later view, in the first process alone."""
        if self._ahead:
            self._views.prefetch(number)

    def batch(self, rows: npt.NDArray[np.int64], number: int) -> npt.NDArray[Any]:
        """See :meth:`Views.batch`."""
        return self._views.batch(rows, number)

    def __enter__(self) -> FirstComputed:
        self._views.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._views.__exit__(kind, error, at)
