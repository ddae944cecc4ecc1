"""One of several processes that train together: what it is told to do, what it tells, and how it ends."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal, NoReturn

import lightning_fabric
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from headstart.errors import HeadstartError
from headstart.features.engine import cpu_count
from headstart.runs.progress import SilentProgress, Step
from headstart.training.finetuning.loop import Interrupted
from headstart.training.finetuning.outcome import EpochRow
from headstart.training.finetuning.setting import PrecisionChoice
from headstart.training.finetuning.team import FirstComputed, Reports, T, Task, Team
from headstart.training.finetuning.views import CachedViews, Views

Accelerator = Literal["cpu", "cuda"]
Send = Callable[..., None]
# Whoever started the processes watches over them: none is waited for that has ended, and none is given up on.
_PATIENCE = datetime.timedelta(days=365)


@dataclass(frozen=True)
class Orders:
    """What a process is started for.

    Attributes
    ----------
    rendezvous:
        A file that is absent yet, on a local disk, by which the processes find each other.
    """

    task: Task[Any]
    rank: int
    size: int
    accelerator: Accelerator
    rendezvous: str


@dataclass(frozen=True)
class Failure:
    """An error on its way to another process.

    Attributes
    ----------
    kind:
        Of an error that is headstart's own; others are described only.
    story:
        The traceback.
    """

    kind: type[HeadstartError] | None
    arguments: tuple[Any, ...]
    state: dict[str, Any]
    story: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What can be told of an error."""
        story = "".join(traceback.format_exception(error))
        if isinstance(error, HeadstartError):
            return cls(type(error), error.args, dict(error.__dict__), story)
        return cls(None, (f"{type(error).__name__}: {error}",), {}, story)

    def error(self) -> Exception:
        """The same error again; one that is not headstart's own is a ``RuntimeError`` with the traceback as a note."""
        if self.kind is None:
            unexpected = RuntimeError(*self.arguments)
            unexpected.add_note(f"in a process of the training:\n{self.story}")
            return unexpected
        error = self.kind.__new__(self.kind, *self.arguments)  # as it was; __init__ may word it from other arguments
        error.__dict__.update(self.state)
        return error


def serve(handle: int) -> NoReturn:
    """Take orders from a connection, carry them out, tell how they ended, and wait for the end.

    Messages are pairs of a word and what belongs to it: ``say``, ``tell``, ``task``, ``step``, ``end``, ``asks``, and
    one of ``done``, ``interrupted`` and ``failed`` as the last. When the other side closes the connection, or is
    killed, this process ends at once, whatever it does.
    """
    connection = Connection(handle)
    orders = connection.recv_bytes()
    stop, sending = threading.Event(), threading.Lock()
    threading.Thread(target=_listen, args=(connection, stop), daemon=True).start()

    def send(word: str, content: Any = None) -> None:
        with sending:
            connection.send((word, content))

    try:
        send("done", _carry_out(ForkingPickler.loads(orders), send, stop))
    except Interrupted as error:
        send("interrupted", str(error))
    except BaseException as error:
        send("failed", Failure.of(error))
    while True:  # the others may still talk to this process
        threading.Event().wait()


def _listen(connection: Connection, stop: threading.Event) -> None:
    """The one word that comes is the wish to stop."""
    with contextlib.suppress(OSError, EOFError):
        while connection.recv():
            stop.set()
    os._exit(1)


def _carry_out(orders: Orders, send: Send, stop: threading.Event) -> Any:
    """The result; only the first process tells anything."""
    team = Member(orders)
    if orders.rank:
        orders.task(team, Reports(_silent, _silent, SilentProgress(), stop.is_set))
        return None
    return orders.task(team, _reports(send, stop))


def _reports(send: Send, stop: threading.Event) -> Reports:
    asks = iter([True])  # from the first question on there is a state to save

    def asked() -> bool:
        if next(asks, False):
            send("asks")
        return stop.is_set()

    def tell(row: EpochRow) -> None:
        send("tell", row)

    return Reports(lambda line: send("say", line), tell, _SentProgress(send), asked)


class _SentProgress:
    """Progress that another process shows."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = 0

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Step]:
        """See :class:`headstart.runs.progress.Progress`."""

        place = self._open

        def step(count: int = 1, /) -> None:
            self._send("step", (place, count))

        self._send("task", (name, total))
        self._open += 1
        try:
            yield step
        finally:
            self._open -= 1
            self._send("end")


class Member(Team):
    """One process of several, on a device of its own, or with its share of the cores."""

    def __init__(self, orders: Orders) -> None:
        self.rank, self.size = orders.rank, orders.size
        self._accelerator = orders.accelerator
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cpu_count() // self.size)))
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of 1 x 1 filters, whose strides mean nothing
        torch.distributed.init_process_group(
            "nccl" if self._accelerator == "cuda" else "gloo",
            init_method=f"file://{orders.rendezvous}",
            rank=self.rank,
            world_size=self.size,
            timeout=_PATIENCE,
        )
        self._talk = self.fabric(PrecisionChoice("32-true", False))

    def first(self) -> AbstractContextManager[object]:
        return self._talk.rank_zero_first()

    def agreed(self, make: Callable[[], T]) -> T:
        return self._talk.broadcast(None if self.rank else make())

    def fabric(self, choice: PrecisionChoice) -> lightning_fabric.Fabric:
        """All of them share one process group.

        A static graph lets networks hold parameters that no output depends on, such as tokens for masked images.
        """
        found = lightning_fabric.Fabric(
            accelerator=self._accelerator,
            devices=self.size,
            strategy=DDPStrategy(static_graph=True),
            plugins=[LightningEnvironment()],
            precision=choice.precision,
        )
        found.launch()
        return found

    def views(self, views: Views) -> Views:
        return FirstComputed(views, self.first, ahead=not self.rank) if isinstance(views, CachedViews) else views


def _silent(what: object) -> None:
    """Tell nobody."""
