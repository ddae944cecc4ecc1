"""The labels of a run that are most worth checking: what the audit suspects, then the surest mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import RunError
from headstart.reporting.labelled_images import LabelledImage
from headstart.reporting.wording import listed, percent

KIND = "suspicious_label"
MOST = 240
"""More are not looked through in one sitting; a fit with the corrections finds what is left."""


@dataclass(frozen=True)
class Suspect:
    """A label to look at.

    Attributes
    ----------
    image:
        Whose label it is.
    reason:
        Why it is thought to be wrong, in words that can follow the label; no full stop.
    audited:
        Whether the audit suspects it; else it is a mistake of the model.
    """

    image: LabelledImage
    reason: str
    audited: bool


def suspects_of(folder: Path, images: Mapping[str, LabelledImage]) -> tuple[Suspect, ...]:
    """At most :data:`MOST` labels of a run, the ones most worth checking first.

    Mistakes on the test's images come after those on others: labels that are corrected because the model missed them
    flatter the test's score.

    Parameters
    ----------
    images:
        Those of the run, by name.

    Raises
    ------
    RunError
        If ``audit.json`` can't be read.
    """
    found = [
        Suspect(images[finding["file"]], _evidence(finding, images[finding["file"]]), audited=True)
        for finding in _findings(folder / "audit.json")
        if finding.get("file") in images
    ]
    audited = {suspect.image.file for suspect in found}
    mistakes = [one for one in images.values() if one.mistaken and one.file not in audited]
    mistakes.sort(key=lambda one: (one.split == "test", -_sureness(one)))
    return (*found, *(Suspect(one, _said(one), audited=False) for one in mistakes))[:MOST]


def _findings(path: Path) -> Iterator[dict[str, Any]]:
    """What the audit says of labels, the worst first."""
    try:
        audit = json.loads(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read ({error}): start the run again") from error
    listed_there = audit.get("findings") if isinstance(audit, dict) else None
    rows = [row for row in listed_there if isinstance(row, dict)] if isinstance(listed_there, list) else []
    rows = [row for row in rows if row.get("kind") == KIND and isinstance(row.get("file"), str)]
    yield from sorted(rows, key=lambda row: -_score(row.get("score")))


def _evidence(finding: Mapping[str, Any], image: LabelledImage) -> str:
    """What the audit says against a label, without the label itself, which is shown beside it."""
    return str(finding.get("evidence", "")).removeprefix(f"labelled {', '.join(image.label)}; ")


def _score(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _sureness(image: LabelledImage) -> float:
    return image.confidence if image.confidence is not None and math.isfinite(image.confidence) else 0.0


def _said(image: LabelledImage) -> str:
    said = f"a model that had not seen it says {listed(image.predicted or ())}"
    return said if image.confidence is None else f"{said}, {percent(_sureness(image))} sure"
