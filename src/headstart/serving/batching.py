"""Images of many requests run together: who comes within a few milliseconds shares a batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headstart.runtime import Answers
from headstart.runtime.session import Images, Rows
from headstart.serving.refusals import busy
from headstart.serving.settings import Limits

# A graph that resizes in itself takes whole pictures: a batch ends where they get large.
_BATCH_BYTES = 64 * 2**20


class Runner(Protocol):
    """What runs a batch: :class:`headstart.runtime.Model`."""

    def run(self, prepared: Sequence[Images]) -> Answers: ...


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: Images
    since: float
    answer: asyncio.Future[tuple[Rows, Rows]]


class Batcher:
    """Gathers prepared images to batches, and runs one batch at a time in a thread of its own.

    A batch starts when it is full, or when its first image has waited for ``limits.gather`` seconds. While one runs the
    next gathers, so under load batches grow by themselves and nobody waits for the clock. To be used within one event
    loop; :meth:`start` and :meth:`close` stand at the ends of its life.

    Parameters
    ----------
    model:
        Runs the batches.
    observe:
        Called with the size of each batch.
    """

    def __init__(self, model: Runner, limits: Limits, observe: Callable[[int], None] = lambda size: None) -> None:
        self._model, self._limits, self._observe = model, limits, observe
        self._queue: deque[_Waiting] = deque()
        self._came, self._left = asyncio.Event(), asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="run")
        self._task: asyncio.Task[None] | None = None
        self._accepted = 0

    @property
    def accepted(self) -> int:
        """Images that are accepted and not yet answered."""
        return self._accepted

    def start(self) -> None:
        """Begin to run batches; to be called in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def accept(self, count: int) -> None:
        """Keep places for some images; raises a 503 refusal where the queue has none left. Undone by :meth:`done`."""
        if self._accepted + count > self._limits.queue:
            raise busy(f"{self._accepted} images wait to be answered and more are not taken; try again")
        self._accepted += count

    def done(self, count: int) -> None:
        """Give places back."""
        self._accepted -= count
        if not self._accepted:
            self._left.set()

    async def answer(self, image: Images) -> tuple[Rows, Rows]:
        """Probabilities (C,) and embedding (D,), both float32, of an image as ``Model.prepare`` gives it.

        Raises
        ------
        ArtifactError
            If the model fails on it.
        """
        future: asyncio.Future[tuple[Rows, Rows]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(image, time.monotonic(), future))
        self._came.set()
        return await future

    async def close(self) -> None:
        """Answer everything that was accepted, then stop."""
        while self._accepted:
            self._left.clear()
            await self._left.wait()
        if self._task is not None:
            self._task.cancel()
        self._pool.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:
                continue
            self._observe(len(batch))
            try:
                answers = await loop.run_in_executor(self._pool, self._model.run, [one.image for one in batch])
            except Exception as error:  # whatever it is, the next batch has nothing to do with it
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            for row, one in enumerate(batch):
                if not one.answer.done():  # its request may have timed out
                    one.answer.set_result((answers.probabilities[row], answers.embeddings[row]))

    async def _gather(self) -> list[_Waiting]:
        while not self._queue:
            self._came.clear()
            await self._came.wait()
        patience = self._queue[0].since + self._limits.gather - time.monotonic()
        if patience > 0 and len(self._queue) < self._limits.batch:
            await asyncio.sleep(patience)
        batch: list[_Waiting] = []
        held = 0
        while self._queue and len(batch) < self._limits.batch and (not batch or held < _BATCH_BYTES):
            one = self._queue.popleft()
            if not one.answer.done():
                batch.append(one)
                held += one.image.nbytes
        return batch


def together(rows: Sequence[tuple[Rows, Rows]]) -> Answers:
    """Answers of several images as one."""
    return Answers(np.stack([probabilities for probabilities, _ in rows]), np.stack([row for _, row in rows]))
