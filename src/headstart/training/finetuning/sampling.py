"""Which rows each step of an epoch takes, on every process, and how a batch is split where memory is short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.errors import OptionError

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatch:
    """A part of a batch: where it lies, and the share of the batch's rows that it has, in (0, 1]."""

    rows: slice
    share: float


def epoch_order(rows: int, *, seed: int, epoch: int) -> Ints:
    """The order in which an epoch takes all rows: int64 (rows,), a permutation drawn from ``(seed, epoch)`` alone.

    So a resumed epoch needs nothing but its number. Raises :class:`OptionError` where there is no row, or the seed or
    the epoch is negative.
    """
    return _generator(rows, seed, epoch).permutation(rows)


def shard(order: Ints, *, rank: int, world: int) -> Ints:
    """One process's part of an order: every ``world``-th row from ``rank`` on, equally many on all processes.

    When each of them takes batches of B rows, step k of all together takes rows ``k * B * world`` to
    ``(k + 1) * B * world`` of the order, which is what one process with batches of ``B * world`` takes. The order is
    filled up from its beginning to a multiple of ``world``.

    Raises
    ------
    OptionError
        If there is no such process, or no row.
    """
    if not 0 <= rank < world or not len(order):
        raise OptionError(f"{len(order)} rows can't be shared out to process {rank} of {world}")
    equal = -(-len(order) // world) * world
    return np.resize(order, equal)[rank::world]


def batches(order: Ints, size: int) -> list[Ints]:
    """The order in batches of ``size`` rows; the last may be shorter and is kept.

    Raises :class:`OptionError` where ``size`` is not between 1 and the number of rows.
    """
    if not 1 <= size <= len(order):
        raise OptionError(
            f"a batch of {size} does not fit {len(order)} training rows: use --batch-size 1 to {len(order)}"
        )
    return [order[start : start + size] for start in range(0, len(order), size)]


def micro_batches(rows: int, size: int) -> list[MicroBatch]:
    """A batch of ``rows`` in parts of at most ``size``, all but the last of equal size.

    The batch's mean loss is the sum over its parts of ``share`` times the part's mean loss; so are their gradients.

    Raises :class:`OptionError` where one of the numbers is below 1.
    """
    if rows < 1 or size < 1:
        raise OptionError(f"a batch of {rows} rows can't be split into parts of {size}")
    starts = range(0, rows, size)
    return [
        MicroBatch(slice(start, min(start + size, rows)), (min(start + size, rows) - start) / rows) for start in starts
    ]


def halved(size: int) -> int:
    """The size of micro-batches to try after ``size`` did not fit into memory, rounded up.

    Raises :class:`OptionError` at 1, where nothing is left to halve.
    """
    if size <= 1:
        raise OptionError("not even one image at a time fits into memory: use a smaller --image-size or a higher --cut")
    return (size + 1) // 2


def _generator(rows: int, seed: int, epoch: int) -> np.random.Generator:
    if rows < 1 or seed < 0 or epoch < 0:
        raise OptionError(
            f"no order of {rows} rows for seed {seed}, epoch {epoch}: there must be a row, none be negative"
        )
    return np.random.default_rng([seed, epoch])
