"""Several processes for one training, each on a GPU or a share of the cores; none outlives the one that asked."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

import torch

from headstart.errors import EngineError, OptionError
from headstart.features.engine import cpu_count
from headstart.runs.progress import Step
from headstart.training.finetuning.loop import Interrupted
from headstart.training.finetuning.member import Accelerator, Orders
from headstart.training.finetuning.team import Reports, T, Task

# Seconds between two questions whether to stop.
_PAUSE = 0.1
# Seconds in which a process that was killed is found dead, after another one has complained of its silence.
_DYING = 0.5
_START = """
import sys
sys.path[:] = sys.argv[2:]
from headstart.training.finetuning.member import serve
serve(int(sys.argv[1]))
"""


def check_devices(count: int, *, batch_size: int) -> None:
    """Refuse what can't be had.

    Raises
    ------
    OptionError
        If this machine has fewer GPUs or, where it has none, fewer cores; or the batch has fewer images.
    """
    if count < 1:
        raise OptionError(f"--devices {count} trains nowhere: give 1 or more")
    here, kind = (cpu_count(), "cores") if _accelerator() == "cpu" else (torch.cuda.device_count(), "GPUs")
    if count > 1 and count > here:
        raise OptionError(f"--devices {count} is more than the {here} {kind} here: give --devices {here} or fewer")
    if count > batch_size:
        raise OptionError(
            f"a batch of {batch_size} can't be shared out among {count} devices: "
            f"give --batch-size {count} or more, or fewer --devices"
        )


def on_devices(task: Task[T], count: int, reports: Reports) -> T:
    """Run a task in ``count`` new processes on this machine.

    They are started anew rather than forked, because threads of engines and GPUs don't survive that. Signals, and with
    them the decision to end, are left to this process: the others end with it, however it ends.

    Parameters
    ----------
    task:
        Runs in all of them.
    reports:
        Hears, in this thread, what the first of them tells; asked whether to stop from when that one first asks.

    Returns
    -------
    What the task gives in the first process.

    Raises
    ------
    HeadstartError
        As the task raises it, in whichever process.
    EngineError
        If a process is killed.
    Interrupted
        If the task was asked to stop, in all of them.
    RuntimeError
        For any other error of the task, with its traceback.
    """
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder, ExitStack() as started:
        with _left_alone():
            crew = [started.enter_context(_Process(rank)) for rank in range(count)]
        for process in crew:
            process.order(Orders(task, process.rank, count, _accelerator(), f"{folder}/rendezvous"))
        return _Conversation(crew, reports).result()


def _accelerator() -> Accelerator:
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _left_alone() -> Iterator[None]:
    """What is started here never sees Ctrl-C or SIGTERM; this process sees them, at the latest when the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process:
    """A process that waits for orders, for the length of a ``with`` block."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.connection, theirs = multiprocessing.Pipe()
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(handle), *sys.path],
                env=_environment(rank),
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what this process prints there is read by programs
            )

    def order(self, orders: Orders) -> None:
        """Say what to do, which is pickled by value: nothing stays shared."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # that it has ended is found out soon
            self.connection.send_bytes(pickle.dumps(orders))

    def ended(self) -> EngineError | None:
        """An error that says how the process ended, if it has."""
        code = self._process.poll()
        if code is None:
            return None
        name = f"process {self.rank + 1} of the training"
        if code == -signal.SIGKILL:
            return EngineError(f"{name} was killed, perhaps for want of memory: take a smaller --batch-size")
        return EngineError(f"{name} ended " + (f"by signal {-code}" if code < 0 else f"with code {code}"))

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()  # it has told its result, or nobody wants it any more
        self._process.wait()
        self.connection.close()


def _environment(rank: int) -> dict[str, str]:
    """What Fabric reads; and that all are on this machine, so that no other may connect."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    inner = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), loopback[0]) if loopback else {}
    return {**os.environ, **inner, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}


class _Conversation:
    """Hears what the processes tell, until all have told how they ended."""

    def __init__(self, crew: Sequence[_Process], reports: Reports) -> None:
        self._crew, self._reports = crew, reports
        self._waiting: dict[Any, _Process] = {process.connection: process for process in crew}
        self._tasks: list[tuple[ExitStack, Step]] = []
        self._asks, self._stopping = False, False
        self._interrupted: str | None = None
        self._result: Any = None

    def result(self) -> Any:
        """What the first process gives; errors are those of :func:`on_devices`."""
        try:
            while self._waiting:
                for connection in wait(list(self._waiting), _PAUSE):
                    self._hear(self._waiting[connection])
                if self._asks and not self._stopping and self._reports.stop():
                    self._stop()
        finally:
            while self._tasks:
                self._end_task()
        if self._interrupted is not None:
            raise Interrupted(self._interrupted)
        return self._result

    def _hear(self, process: _Process) -> None:
        connection: Connection = process.connection
        try:
            word, content = connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() or EngineError(f"process {process.rank + 1} of the training fell silent") from error
        match word:
            case "say":
                self._reports.say(content)
            case "tell":
                self._reports.tell(content)
            case "task":
                task = ExitStack()
                self._tasks.append((task, task.enter_context(self._reports.progress.task(*content))))
            case "step":
                place, count = content
                self._tasks[place][1](count)
            case "end":
                self._end_task()
            case "asks":
                self._asks = True
            case "failed":
                raise (None if content.kind else self._death()) or content.error()
            case _:
                self._end(process, word, content)

    def _end(self, process: _Process, word: str, content: Any) -> None:
        """All are waited for: while one has ended already, the first may still write the state."""
        del self._waiting[process.connection]
        if word == "interrupted":
            self._interrupted = content
        elif process.rank == 0:
            self._result = content

    def _death(self) -> EngineError | None:
        """The end of a process, which others only notice by its silence."""
        deadline = time.monotonic() + _DYING
        while time.monotonic() < deadline:
            for process in self._crew:
                if error := process.ended():
                    return error
            time.sleep(_PAUSE / 10)
        return None

    def _stop(self) -> None:
        self._stopping = True
        for process in self._waiting.values():
            with contextlib.suppress(OSError):
                process.connection.send(True)

    def _end_task(self) -> None:
        self._tasks.pop()[0].close()
