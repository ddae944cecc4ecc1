"""The rows most worth a look: labels that the audit doubts, then the mistakes that the model was surest of."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reporting.evidence import RunEvidence, text
from headstart.reporting.findings import SUSPICIOUS, of_kind
from headstart.reporting.mistakes import surest_wrong
from headstart.reporting.wording import TEXT_LENGTH, listed, percent, shorten

MOST = 3


@dataclass(frozen=True)
class RowToCheck:
    """An image, and why to look at it."""

    file: str
    why: str


def rows_to_check(evidence: RunEvidence, most: int = MOST) -> tuple[RowToCheck, ...]:
    """At most ``most`` rows, each image once."""
    found = {
        text(one, "file"): f"suspicious label: {shorten(text(one, 'evidence'), TEXT_LENGTH)}"
        for one in of_kind(evidence.audit, SUSPICIOUS)[:most]
    }
    rows = evidence.predictions
    if rows is not None:
        for row in surest_wrong(rows, 2 * most):
            told = f"labelled {listed(rows.truth[row])}, but the model says {listed(rows.predicted[row])}"
            found.setdefault(rows.files[row], f"{told} and is {percent(float(rows.confidence[row]))} sure")
    return tuple(RowToCheck(shorten(file, 200), why) for file, why in list(found.items())[:most])
