"""``audit.json`` and ``audit.csv``: what is wrong with the data, row by row, and what was decided about them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headstart.auditing.copies import conflicting_labels, leaks, near_duplicates
from headstart.auditing.file_names import groups_across_splits, possible_groups
from headstart.auditing.findings import Finding
from headstart.auditing.material import Material
from headstart.data import Dataset, LeftOut, Protocol

FILE = "audit.json"
TABLE = "audit.csv"

Detector = Callable[[Material], Iterable[Finding]]

DETECTORS: tuple[Detector, ...] = (
    leaks,
    conflicting_labels,
    groups_across_splits,
    possible_groups,
    near_duplicates,
)
"""What is looked for, the gravest first: the order of kinds in ``audit.json``."""

_COLUMNS = ("kind", "file", "other", "score", "evidence", "action")
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Audit:
    """What is wrong with the data, row by row, and what was decided about them.

    Attributes
    ----------
    images:
        How many are used.
    left_out:
        Files that were found and are not used, and why.
    notes:
        What else a person should know about the data, a sentence each.
    findings:
        By kind, the gravest first, and the worst of each kind first.
    """

    images: int
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


def detect(material: Material) -> tuple[Finding, ...]:
    """What all detectors find."""
    return tuple(finding for detector in DETECTORS for finding in worst_first(detector(material)))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one kind by falling score, those without one last, else in the order in which they were found."""
    return sorted(findings, key=lambda finding: (finding.score is None, -(finding.score or 0.0)))


def audit_of(dataset: Dataset, protocol: Protocol | None = None, findings: tuple[Finding, ...] = ()) -> Audit:
    """The audit of a data set; once its splits have been resolved, a note says which part they play."""
    reason = () if protocol is None else (protocol.reason,)
    return Audit(len(dataset), dataset.left_out, (*dataset.notes, *reason), findings)


def audit_table(audit: Audit) -> str:
    """The findings, and the files that are left out, as CSV; for exact values and odd names see ``audit.json``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for finding in audit.findings:
        score = "" if finding.score is None else f"{finding.score:.4f}"
        cells = (finding.kind, finding.file, finding.other or "", score, finding.evidence, finding.action)
        writer.writerow(_harmless(cell) for cell in cells)
    for entry in audit.left_out:
        writer.writerow(map(_harmless, (f"left_out_{entry.kind}", entry.file, "", "", entry.reason, "")))
    return out.getvalue()


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet runs."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
