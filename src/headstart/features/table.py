"""Many rows of features in a wanted order, gathered from mapped segments or from an array in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class FeatureTable:
    """N rows of features of one width; nothing is read before it is asked for.

    Parameters
    ----------
    blocks:
        Arrays (n_b, width) of float16 or float32, mapped or in memory.
    block, position:
        (N,) integers: row ``i`` of the table is ``blocks[block[i]][position[i]]``. One row may appear often.
    """

    def __init__(self, blocks: Sequence[NDArray[Any]], block: NDArray[Any], position: NDArray[Any]) -> None:
        self._blocks = tuple(blocks)
        self._block = block
        self._position = position

    @classmethod
    def from_array(cls, rows: NDArray[Any]) -> FeatureTable:
        """A table of the rows of an array (N, width), which is not copied if it is float16 or float32."""
        rows = np.asarray(rows)
        if rows.ndim != 2:
            raise ValueError(f"expected rows (N, width), got an array of shape {rows.shape}")
        if rows.dtype not in (np.float16, np.float32):
            rows = rows.astype(np.float32)
        return cls([rows], np.zeros(len(rows), np.int32), np.arange(len(rows)))

    def __len__(self) -> int:
        return len(self._block)

    @property
    def width(self) -> int:
        """The number of features of a row; 0 for a table that was asked for no rows."""
        return int(self._blocks[0].shape[1]) if self._blocks else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 if any row needs it, else float16."""
        return np.dtype(np.float32 if any(block.itemsize > 2 for block in self._blocks) else np.float16)

    def rows(
        self,
        indices: NDArray[Any] | Sequence[int] | slice,
        columns: slice | None = None,
        dtype: DTypeLike | None = None,
    ) -> NDArray[Any]:
        """Copy some rows.

        Parameters
        ----------
        indices:
            Which rows, in this order; what NumPy takes as an index of the first axis.
        columns:
            Which features; all where ``None``.
        dtype:
            Of the result; the table's own where ``None``.

        Returns
        -------
        ndarray (len(indices), number of columns)
        """
        block, position = self._block[indices], self._position[indices]
        columns = columns or slice(None)
        width = len(range(*columns.indices(self.width)))
        out = np.empty((len(block), width), self.dtype if dtype is None else dtype)
        for number, at in grouped(block):
            source = self._blocks[number][:, columns]
            _copy(source, position[at], out, at)
        return out

    def array(self, columns: slice | None = None, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Copy all rows into one array (N, number of columns)."""
        return self.rows(slice(None), columns, dtype)


def grouped(labels: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each value of ``labels`` (n,) with the ascending indices where it stands."""
    order = np.argsort(labels, kind="stable")
    values, starts = np.unique(labels[order], return_index=True)
    for value, at in zip(values, np.split(order, starts[1:]), strict=True) if len(values) else ():
        yield int(value), at


def _copy(source: NDArray[Any], take: NDArray[Any], out: NDArray[Any], put: NDArray[Any]) -> None:
    if _is_run(take) and _is_run(put):  # a plain copy needs no array in between
        out[put[0] : put[-1] + 1] = source[take[0] : take[-1] + 1]
    else:
        out[put] = source[take]


def _is_run(indices: NDArray[Any]) -> bool:
    return bool(indices[-1] - indices[0] == len(indices) - 1 and (np.diff(indices) == 1).all())
