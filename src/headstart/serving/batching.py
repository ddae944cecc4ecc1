"""Images of many requests are decoded and run together: who comes within a few milliseconds shares a batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from headstart.runtime import Answers, Model
from headstart.runtime.session import Images, Rows
from headstart.serving.memory import Share
from headstart.serving.payloads import Sent
from headstart.serving.preparing import prepare
from headstart.serving.refusals import RefusedError, busy
from headstart.serving.settings import Limits

# A graph that resizes in itself takes whole pictures: a batch ends where they get large.
_BATCH_BYTES = 64 * 2**20

Outcome = tuple[Rows, Rows] | RefusedError
"""Probabilities (C,) and embedding (D,), both float32; or why there are none."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    sent: Sent
    share: Share
    since: float
    outcome: asyncio.Future[Outcome]


class Batcher:
    """Gathers images to batches; each batch is decoded and then run in one of as many threads as there are cores.

    A batch starts when it is full, or when its first image has waited for ``limits.gather`` seconds. While all threads
    work the next gathers, so under load batches grow by themselves and nobody waits for the clock. One thread decodes
    while another one's network runs, and a batch goes to a thread and back at the price that one image would have.

    To be used within one event loop; :meth:`start` and :meth:`close` stand at the ends of its life.

    Parameters
    ----------
    threads:
        That decode, each a batch of its own.
    observe:
        Called with the size of each batch.
    """

    def __init__(
        self, model: Model, limits: Limits, threads: int, observe: Callable[[int], None] = lambda size: None
    ) -> None:
        self._model, self._limits, self._observe = model, limits, observe
        self._queue: deque[_Waiting] = deque()
        self._came, self._left = asyncio.Event(), asyncio.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")
        self._idle = self._threads = threads
        self._tasks: list[asyncio.Task[None]] = []
        self._accepted = 0

    @property
    def accepted(self) -> int:
        """Images that are accepted and not yet answered."""
        return self._accepted

    def start(self) -> None:
        """Begin to run batches; to be called in the event loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run()) for _ in range(self._threads)]

    def accept(self, count: int) -> None:
        """Keep places for some images; refuses with 503 where the queue has none left. Undone by :meth:`done`."""
        if self._accepted + count > self._limits.queue:
            raise busy(f"{self._accepted} images wait to be answered and more are not taken; try again")
        self._accepted += count

    def done(self, count: int) -> None:
        """Give places back."""
        self._accepted -= count
        if not self._accepted:
            self._left.set()

    def answer(self, sent: Sent, share: Share) -> asyncio.Future[Outcome]:
        """What becomes of an image; ``share`` will hold the decoded one.

        The future has a refusal as its result where the image can't be decoded, and an :class:`ArtifactError` as its
        exception where the model fails. Cancelled in time it costs nothing.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(sent, share, time.monotonic(), future))
        self._came.set()
        return future

    async def close(self) -> None:
        """Answer everything that was accepted, then stop."""
        while self._accepted:
            self._left.clear()
            await self._left.wait()
        for task in self._tasks:
            task.cancel()
        self._pool.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:
                continue
            self._idle -= 1
            try:
                outcomes = await loop.run_in_executor(self._pool, self._work, batch)
            except Exception as error:  # whatever it is, the next batch has nothing to do with it
                for one in batch:
                    if not one.outcome.done():
                        one.outcome.set_exception(error)
                continue
            finally:
                self._idle += 1
            for one, outcome in zip(batch, outcomes, strict=True):
                if not one.outcome.done():  # its request may have timed out
                    one.outcome.set_result(outcome)

    async def _gather(self) -> list[_Waiting]:
        while not self._queue:
            self._came.clear()
            await self._came.wait()
        patience = self._queue[0].since + self._limits.gather - time.monotonic()
        if patience > 0 and len(self._queue) < self._limits.batch:
            await asyncio.sleep(patience)
        size = min(self._limits.batch, -(-len(self._queue) // self._idle))  # others are idle too and take the rest
        batch = [self._queue.popleft() for _ in range(size)]
        return [one for one in batch if not one.outcome.done()]

    def _work(self, batch: list[_Waiting]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        images: dict[int, Images] = {}
        for place, one in enumerate(batch):
            try:
                images[place] = prepare(self._model, one.sent, self._limits.pixels, one.share)
            except RefusedError as refused:
                outcomes[place] = refused
            if sum(image.nbytes for image in images.values()) > _BATCH_BYTES:
                outcomes.update(self._through(images))
                images = {}
        if images:
            outcomes.update(self._through(images))
        return [outcomes[place] for place in range(len(batch))]

    def _through(self, images: dict[int, Images]) -> dict[int, Outcome]:
        self._observe(len(images))
        answers = self._model.run(list(images.values()))
        return {place: (answers.probabilities[row], answers.embeddings[row]) for row, place in enumerate(images)}


def together(rows: Sequence[tuple[Rows, Rows]]) -> Answers:
    """Answers of several images as one."""
    return Answers(np.stack([probabilities for probabilities, _ in rows]), np.stack([row for _, row in rows]))
