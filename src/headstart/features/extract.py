"""Images → rows of features: what the store has is read, the rest is decoded and computed, each image once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from headstart.backbones.backbone import Backbone, Segment
from headstart.errors import ImageError, MissingExtraError
from headstart.features.engine import CompiledTrunk, EngineIdentity, cpu_count
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.imaging import DECODE_VERSION, Preprocessing, load_view
from headstart.runs.progress import Progress

Read = Callable[[int], bytes]
Rows = npt.NDArray[np.float32]


class View(Protocol):
    """A way from an image's bytes to the pixels that a trunk takes. Safe in threads, and the same whenever it runs."""

    @property
    def name(self) -> str:
        """What rows of features are kept under: views of one name give equal pixels for equal bytes."""
        ...

    def load(self, data: bytes, preprocessing: Preprocessing, name: str) -> npt.NDArray[np.uint8]:
        """uint8 (size, size, channels); arguments and errors are those of :func:`headstart.imaging.load_view`."""
        ...


@dataclass(frozen=True)
class CleanView:
    """The evaluation view of the weights' preprocessing."""

    name: str = "clean"

    def load(self, data: bytes, preprocessing: Preprocessing, name: str) -> npt.NDArray[np.uint8]:
        """See :func:`headstart.imaging.load_view`."""
        return load_view(data, preprocessing, name)


CLEAN = CleanView()


@dataclass(frozen=True)
class RowContext:
    """Everything, besides the image's bytes, that shapes a row of features; equal contexts give equal rows.

    Attributes
    ----------
    view:
        The name of the :class:`View` of the image: ``clean`` is the evaluation view of the weights' preprocessing.
    batchnorm:
        Whose BatchNorm statistics run: ``source`` are those in the weights.
    """

    decode: int
    preprocessing: Preprocessing
    weights_sha256: str
    start: int
    stop: int
    outputs: tuple[str, ...]
    engine: EngineIdentity
    view: str = CLEAN.name
    batchnorm: str = "source"


@dataclass(frozen=True)
class Extraction:
    """Features of many images.

    Attributes
    ----------
    table:
        One row for each image that could be decoded, in the order of the images.
    failures:
        Position of each image that could not, and why.
    computed:
        Images that went through the trunk, rather than being read from the store.
    """

    table: FeatureTable
    failures: dict[int, str]
    computed: int

    def whole(self) -> FeatureTable:
        """The table of images that could all be decoded before; raises :class:`ImageError` where one can't be now."""
        if self.failures:
            raise ImageError(f"{next(iter(self.failures.values()))} (it could be decoded before)")
        return self.table


@dataclass(frozen=True)
class _Chunk:
    """One batch's outcome: rows of features for ``positions``, and a reason for each image left out."""

    positions: list[int]
    rows: Rows
    failures: dict[int, str] = field(default_factory=dict)


def probe_trunk(backbone: Backbone) -> Segment:
    """The whole backbone with the pooled features of every stage: what all probes, and their models, run.

    The lower stages' features take no further forward pass and let a probe read all stages (Evci et al. 2022).
    """
    last = len(backbone.stages)
    return backbone.trunk(last, pooled=tuple(range(1, last)))


def row_context(compiled: CompiledTrunk, view: View = CLEAN) -> RowContext:
    """The store's context for a view through a compiled trunk."""
    trunk = compiled.trunk
    return RowContext(
        decode=DECODE_VERSION,
        preprocessing=trunk.backbone.preprocessing,
        weights_sha256=trunk.backbone.weights_sha256,
        start=trunk.start,
        stop=trunk.stop,
        outputs=tuple(output.name for output in trunk.outputs),
        engine=compiled.identity,
        view=view.name,
    )


def extract(
    read: Read,
    names: Sequence[str],
    hashes: Sequence[str],
    compiled: CompiledTrunk,
    store: Store,
    progress: Progress,
    *,
    view: View = CLEAN,
) -> Extraction:
    """Features of images, through the store.

    Parameters
    ----------
    read:
        Gives the bytes of the image at a position; called from several threads. May raise :class:`ImageError`.
    names, hashes:
        One a position: what an error message calls the image, and the SHA-256 of its bytes.
    view:
        Of the images; by default the evaluation view.

    Raises
    ------
    StorageError
        If the store can't be written, for example on a full disk.
    """
    context = row_context(compiled, view)
    missing = _first_of_each(store.missing(context, hashes), hashes)
    failures: dict[int, str] = {}
    with progress.task("features", total=len(missing)) as step, store.writer(context, compiled.trunk.width) as writer:
        for chunk in _stream(read, names, missing, compiled, view):
            writer.add([hashes[position] for position in chunk.positions], chunk.rows)
            failures.update(chunk.failures)
            step(len(chunk.positions) + len(chunk.failures))
    failures = _spread(failures, hashes)
    kept = [hashes[position] for position in range(len(hashes)) if position not in failures]
    return Extraction(store.table(context, kept), failures, len(missing) - len(failures))


def embed(
    read: Read, names: Sequence[str], compiled: CompiledTrunk
) -> Iterator[tuple[list[int], Rows, dict[int, str]]]:
    """Features of images without the store, batch by batch in order: positions, rows, and failures by position."""
    for chunk in _stream(read, names, range(len(names)), compiled, CLEAN):
        yield chunk.positions, chunk.rows, chunk.failures


def rows_of(views: npt.NDArray[np.uint8], compiled: CompiledTrunk) -> Rows:
    """The features (n, width) of decoded views (n, size, size, channels), in as many threads as there are cores."""
    batches = [views[start : start + compiled.batch_size] for start in range(0, len(views), compiled.batch_size)]
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="features") as pool:
        rows = list(pool.map(compiled, batches))
    return np.concatenate(rows) if rows else np.empty((0, compiled.trunk.width), np.float32)


def _stream(
    read: Read, names: Sequence[str], positions: Sequence[int], compiled: CompiledTrunk, view: View
) -> Iterator[_Chunk]:
    """Decode and run batches in as many threads as there are cores, in order, with a bounded number under way.

    Each thread decodes a batch and then runs it: decoding overlaps inference, and pictures wait nowhere.
    """
    threads = cpu_count()
    starts = range(0, len(positions), compiled.batch_size)
    with ThreadPoolExecutor(threads, thread_name_prefix="features") as pool:
        waiting: deque[Future[_Chunk]] = deque()
        try:
            for start in starts:
                batch = positions[start : start + compiled.batch_size]
                waiting.append(pool.submit(_decode_and_run, read, names, batch, compiled, view))
                if len(waiting) > 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode_and_run(
    read: Read, names: Sequence[str], batch: Sequence[int], compiled: CompiledTrunk, view: View
) -> _Chunk:
    views, kept, failures = [], [], {}
    for position in batch:
        try:
            views.append(view.load(read(position), compiled.trunk.backbone.preprocessing, names[position]))
            kept.append(position)
        except (ImageError, MissingExtraError) as error:
            failures[position] = str(error)
    rows = compiled(np.stack(views)) if views else np.empty((0, compiled.trunk.width), np.float32)
    return _Chunk(kept, rows, failures)


def _first_of_each(positions: Iterable[int], hashes: Sequence[str]) -> list[int]:
    """Of positions with equal bytes only the first, so that no image is computed twice."""
    first = {hashes[position]: position for position in reversed(list(positions))}
    return sorted(first.values())


def _spread(failures: dict[int, str], hashes: Sequence[str]) -> dict[int, str]:
    """Every position whose bytes equal those of a failed one failed as well."""
    reasons = {hashes[position]: reason for position, reason in failures.items()}
    return {position: reasons[digest] for position, digest in enumerate(hashes) if digest in reasons}
