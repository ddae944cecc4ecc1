"""What the training loop reads: the rows of a numbered view, from the cached trunk or decoded as they are needed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headstart.features.engine import CompiledTrunk, cpu_count
from headstart.features.extract import Read, View, extract
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.runs.progress import Progress, SilentProgress
from headstart.training.finetuning.augmentation import Augmenter

Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The n images of the training rows.

    Attributes
    ----------
    read:
        Gives the bytes of the image at a position; called from several threads.
    names, hashes:
        One a position: what an error calls the image, and the SHA-256 of its bytes.
    """

    read: Read
    names: Sequence[str]
    hashes: Sequence[str]


class Views(Protocol):
    """What a loop asks for, whatever lies below the cut. Use it in a ``with`` block, which ends all work ahead.

    An epoch calls :meth:`start_epoch` once, :meth:`prefetch` if another view comes later, and then :meth:`batch` for
    the rows it announced. Equal rows and numbers give equal batches.
    """

    def start_epoch(self, number: int, order: Ints, batch_size: int) -> None:
        """Get view ``number`` ready for the rows ``order`` (n,), which will be read in batches of ``batch_size``."""
        ...

    def prefetch(self, number: int) -> None:
        """Begin in the background what a later epoch on view ``number`` will wait for; its errors are raised there.

        Worth it where the training runs on another device: on the same cores both slow each other down.
        """
        ...

    def batch(self, rows: Ints, number: int) -> npt.NDArray[Any]:
        """View ``number`` of some rows (b,): float32 (b, *shape of the boundary), or uint8 (b, size, size, channels).

        Raises
        ------
        ImageError
            If an image, which could be decoded before, can't be any more.
        StorageError
            If the store can't be written.
        """
        ...

    def __enter__(self) -> Views: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None: ...


class CachedViews:
    """Views above a cut: each is computed once by the compiled trunk, kept in the store and read from there.

    The views in use are held as mapped tables, which no eviction takes away, be they together larger than the store's
    limit; those let go are the store's to evict, and would be computed again. So the store exceeds its limit by at
    most the views held: ``kept`` of them and one under way.

    Parameters
    ----------
    images:
        The training rows.
    compiled:
        The trunk up to the cut, which has an output ``boundary``.
    augmenter:
        Gives the views.
    kept:
        How many tables are held, at least 1: the policy's number of views. The lowest numbers are let go first.
    open_store:
        Opens the store. Each view opens it anew, so that it lets go of the others.
    progress:
        Where work that the caller waits for is shown.
    """

    def __init__(
        self,
        images: TrainingImages,
        compiled: CompiledTrunk,
        augmenter: Augmenter,
        *,
        kept: int,
        open_store: Callable[[], Store] = Store.default,
        progress: Progress | None = None,
    ) -> None:
        self._images = images
        self._compiled = compiled
        self._augmenter = augmenter
        self._kept = max(1, kept)
        self._open_store = open_store
        self._progress = progress or SilentProgress()
        self._column = compiled.trunk.columns["boundary"]
        self._shape = next(output.shape for output in compiled.trunk.outputs if output.name == "boundary")
        self._tables: dict[int, FeatureTable] = {}
        self._ahead: dict[int, Future[FeatureTable]] = {}
        self._stop = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="views")

    def table(self, number: int) -> FeatureTable:
        """View ``number`` of all training rows, in their order; errors are those of :meth:`Views.batch`."""
        if number in self._tables:
            return self._tables[number]
        future = self._ahead.pop(number, None)
        found = self._compute(number, self._progress) if future is None else future.result()
        while len(self._tables) >= self._kept:
            del self._tables[min(self._tables)]
        self._tables[number] = found
        return found

    def start_epoch(self, number: int, order: Ints, batch_size: int) -> None:
        """Wait until the view is there."""
        self.table(number)

    def prefetch(self, number: int) -> None:
        """Compute a view in the background, after those that were asked for before."""
        if number not in self._tables and number not in self._ahead:
            self._ahead[number] = self._worker.submit(self._compute, number, SilentProgress())

    def batch(self, rows: Ints, number: int) -> npt.NDArray[np.float32]:
        """The boundary of some rows, float32 (b, *shape)."""
        values = self.table(number).rows(rows, self._column, np.float32)
        return values.reshape(len(rows), *self._shape)

    def close(self) -> None:
        """End what is under way within about a batch; what was computed of it stays in the store."""
        self._stop.set()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._tables.clear()
        self._ahead.clear()

    def __enter__(self) -> CachedViews:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _compute(self, number: int, progress: Progress) -> FeatureTable:
        names, hashes = self._images.names, self._images.hashes
        view = self._augmenter.numbered(number)
        with self._open_store() as store:
            return extract(self._read, names, hashes, self._compiled, store, progress, view=view).whole()

    def _read(self, position: int) -> bytes:
        if self._stop.is_set():
            raise _ClosedError("the views are closed")
        return self._images.read(position)


class OnlineViews:
    """Views at cut 0: images are decoded and changed by several threads, in the order of the epoch.

    Parameters
    ----------
    images, augmenter:
        As for :class:`CachedViews`.
    threads:
        By default one a core.
    ahead:
        Batches that are made before they are asked for. On the cores that train, none: there it would only get in the
        training's way.
    """

    def __init__(
        self, images: TrainingImages, augmenter: Augmenter, *, threads: int | None = None, ahead: int = 0
    ) -> None:
        self._images = images
        self._augmenter = augmenter
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(threads or cpu_count(), thread_name_prefix="online-views")
        self._coming: deque[tuple[Ints, int]] = deque()  # of the epoch, not begun
        self._begun: deque[tuple[Ints, int, list[Future[Pixels]]]] = deque()

    def start_epoch(self, number: int, order: Ints, batch_size: int) -> None:
        """Begin with the epoch's first batches; what is left of the last epoch is dropped."""
        self._drop()
        self._coming.extend((order[start : start + batch_size], number) for start in range(0, len(order), batch_size))
        self._fill()

    def prefetch(self, number: int) -> None:
        """Nothing: an epoch never waits for more than its first batch."""

    def batch(self, rows: Ints, number: int) -> Pixels:
        """Pixels of some rows, uint8 (b, size, size, channels); made on the spot if they aren't the next in order."""
        images = self._next(rows, number) or self._begin(rows, number)
        self._fill()
        return np.stack([image.result() for image in images])

    def close(self) -> None:
        """End all work ahead, within about an image a thread."""
        self._drop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> OnlineViews:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _next(self, rows: Ints, number: int) -> list[Future[Pixels]] | None:
        """The batch that was begun first, if it is this one."""
        if self._begun and self._begun[0][1] == number and np.array_equal(self._begun[0][0], rows):
            return self._begun.popleft()[2]
        return None

    def _fill(self) -> None:
        while self._coming and len(self._begun) < self._ahead:
            rows, number = self._coming.popleft()
            self._begun.append((rows, number, self._begin(rows, number)))

    def _drop(self) -> None:
        self._coming.clear()
        for *_, images in self._begun:
            for image in images:
                image.cancel()
        self._begun.clear()

    def _begin(self, rows: Ints, number: int) -> list[Future[Pixels]]:
        view = self._augmenter.numbered(number)
        return [self._pool.submit(self._load, view, row) for row in rows.tolist()]

    def _load(self, view: View, row: int) -> Pixels:
        return view.load(self._images.read(row), self._augmenter.preprocessing, self._images.names[row])


class _ClosedError(Exception):
    """Ends an extraction that nobody waits for any more."""
