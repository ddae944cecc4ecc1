"""What the detectors of an audit look at: the images that can be decoded, their features, and copies among them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.auditing.comparison import Copy
from headstart.auditing.near_duplicates import find_copies
from headstart.auditing.thumbnails import thumbnails_of
from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.data import Dataset
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.extract import probe_trunk
from headstart.features.table import FeatureTable
from headstart.runs.progress import Progress


@dataclass(frozen=True, eq=False)
class Material:
    """A data set as it is before anything is split or moved.

    Attributes
    ----------
    dataset:
        Its rows can be decoded; its splits are the user's.
    table, columns:
        The features of its rows, and which of them are the top ones. They are always those of the default backbone, so
        that the same images are found, and the same rows held out, whatever a run is trained on.
    copies:
        Pairs of rows that show one picture; all of its copies are connected by them.
    """

    dataset: Dataset
    table: FeatureTable
    columns: slice
    copies: tuple[Copy, ...]

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """The top features, float32 (n, width)."""
        return self.table.array(self.columns, np.float32)

    @cached_property
    def families(self) -> NDArray[np.int64]:
        """Numbers int64 (n,), equal for the rows that show one picture: the first row of each family."""
        first = np.arange(len(self.dataset))

        def head(row: int) -> int:
            while first[row] != row:
                row = int(first[row])
            return row

        for copy in self.copies:
            low, high = sorted(head(row) for row in copy.rows)
            first[high] = low
        return np.array([head(row) for row in range(len(first))], np.int64)


def ruler(channels: int, engine: EngineName, say: Say) -> CompiledTrunk:
    """The trunk whose features an audit rests on."""
    return compile_trunk(probe_trunk(find_backbone(DEFAULT_BACKBONE, channels=channels)), engine=engine, say=say)


def examine(dataset: Dataset, table: FeatureTable, columns: slice, progress: Progress, say: Say) -> Material:
    """Look for copies.

    Parameters
    ----------
    dataset:
        Rows that can be decoded.
    table, columns:
        Their features by the :func:`ruler`.
    """
    features = table.array(columns, np.float32)
    similar = find_copies(dataset, thumbnails_of(dataset, progress, say), features, progress)
    hashes = dataset.hashes
    others = (copy for copy in similar if hashes[copy.rows[0]] != hashes[copy.rows[1]])
    return Material(dataset, table, columns, (*_equal_bytes(hashes), *others))


def _equal_bytes(hashes: list[str]) -> list[Copy]:
    """Each row with the bytes of an earlier one, with that one."""
    first: dict[str, int] = {}
    pairs = ((first.setdefault(digest, row), row) for row, digest in enumerate(hashes))
    return [Copy((earlier, row), 1.0, "the same bytes") for earlier, row in pairs if earlier != row]
