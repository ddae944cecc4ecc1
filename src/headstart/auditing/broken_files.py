"""Files that can't be used as images, as findings."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.auditing.findings import Finding
from headstart.data import LeftOut

KINDS = {
    "undecodable": "replace it by a whole copy, or remove it; it is not used",
    "unreadable": "make it readable, or remove it; it is not used",
}


def broken_files(left_out: Sequence[LeftOut]) -> tuple[Finding, ...]:
    """The left-out files whose bytes are at fault: truncated, empty, no image, or not to be had."""
    return tuple(
        Finding(entry.file, entry.kind, entry.reason, KINDS[entry.kind]) for entry in left_out if entry.kind in KINDS
    )
