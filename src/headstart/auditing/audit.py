"""``audit.json``: the files that were left out, why, and what else a person should know about the data."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.data import Dataset, LeftOut, Protocol


@dataclass(frozen=True)
class Audit:
    """What is wrong with the data, row by row, and what was decided about them."""

    images: int
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def audit_of(dataset: Dataset, protocol: Protocol) -> Audit:
    """The audit of a data set whose splits have been resolved."""
    return Audit(len(dataset), dataset.left_out, (*dataset.notes, protocol.reason))
