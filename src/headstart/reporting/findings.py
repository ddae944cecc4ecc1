"""What the audit found, by kind: how often, the worst of each with pictures, and what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from headstart.reporting.audit_list import title_of
from headstart.reporting.evidence import RunEvidence, Values, mappings, text
from headstart.reporting.pictures import SMALL_SIDE, Pictures
from headstart.reporting.wording import TEXT_LENGTH, shorten

MOST_KINDS = 30
EXAMPLES = 6
PICTURED = 3

SUSPICIOUS = "suspicious_label"
CONFLICTING = "conflicting_labels"
SHORTCUT = "shortcut"
LEAK = "leak"
GROUP_LEAK = "group_across_splits"

_HEADINGS = {
    "suspicious_label": "Suspicious labels",
    "outlier": "Unlike the rest of the data",
    "shortcut": "Shortcuts: the label can be told without the object",
    "colour_tells": "Colour tells the classes apart",
    "centre_crop": "Cropping loses a part of the image",
    "similar_class_names": "Class names that are nearly the same",
    "few_images": "Classes with few images",
    "empty_class": "Classes without an image",
    "imbalance": "Classes of very different size",
    "near_constant": "Images that show nothing",
    "upscaled": "Enlarged images",
    "exif_rotated": "Images that are upright only by their EXIF data",
    "grey_among_colour": "Grey images among coloured ones",
    "colour_among_grey": "Coloured images among grey ones",
}


@dataclass(frozen=True)
class FindingRow:
    """One finding, as text, with the picture of its image and of the other one of a pair.

    ``action`` is empty where it is that of the whole group.
    """

    file: str
    other: str
    evidence: str
    action: str
    picture: str | None
    other_picture: str | None


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one kind; ``rows`` are the worst of ``count``; ``action`` is empty where each has its own."""

    title: str
    count: int
    action: str
    rows: tuple[FindingRow, ...]


@dataclass(frozen=True)
class FindingsView:
    """All kinds, the gravest first; ``audited``: whether there was an audit that could find any."""

    groups: tuple[FindingGroup, ...]
    count: int
    audited: bool


def findings_of(audit: Values) -> tuple[Values, ...]:
    """The rows that ``audit.json`` lists under ``findings``."""
    return mappings(audit, "findings")


def of_kind(audit: Values, *kinds: str) -> tuple[Values, ...]:
    """The findings of some kinds, in the order of the audit: the worst of each kind first."""
    return tuple(one for one in findings_of(audit) if text(one, "kind") in kinds)


def heading_of(kind: str) -> str:
    """A kind of finding as a heading."""
    title = shorten(title_of(kind))
    return _HEADINGS.get(kind, title[:1].upper() + title[1:])


def view_findings(evidence: RunEvidence, pictures: Pictures) -> FindingsView:
    """Group the findings of an audit; the first :data:`PICTURED` of a kind get pictures."""
    kinds: defaultdict[str, list[Values]] = defaultdict(list)
    for one in findings_of(evidence.audit):
        kinds[text(one, "kind", "unknown")].append(one)
    shown = list(kinds.items())[:MOST_KINDS]
    named = {text(one, key) for _, found in shown for one in found[:PICTURED] for key in ("file", "other")} - {""}
    where = addresses_of(evidence, named)
    groups = tuple(_group(kind, found, where, pictures) for kind, found in shown)
    return FindingsView(groups, sum(map(len, kinds.values())), "findings" in evidence.audit)


def addresses_of(evidence: RunEvidence, files: set[str]) -> dict[str, str]:
    """Where the bytes of images are, by their names: of the rows that are shown, and of the training images."""
    found = {} if evidence.training is None or not files else evidence.training.addresses(files)
    rows = evidence.predictions
    if rows is not None and files:
        found |= {file: image for file, image in zip(rows.files, rows.images, strict=True) if file in files}
    return found


def _group(kind: str, found: list[Values], where: Mapping[str, str], pictures: Pictures) -> FindingGroup:
    worst = found[:EXAMPLES]
    alike = len({text(one, "action") for one in worst}) == 1
    action = shorten(text(worst[0], "action"), TEXT_LENGTH) if alike else ""
    rows = tuple(_row(one, place < PICTURED, alike, where, pictures) for place, one in enumerate(worst))
    return FindingGroup(heading_of(kind), len(found), action, rows)


def _row(one: Values, pictured: bool, alike: bool, where: Mapping[str, str], pictures: Pictures) -> FindingRow:
    file, other = text(one, "file"), text(one, "other")
    seen, seen_other = (
        pictures(where.get(name), name, SMALL_SIDE) if pictured and name else None for name in (file, other)
    )
    return FindingRow(
        shorten(file, 100),
        shorten(other, 100),
        shorten(text(one, "evidence"), TEXT_LENGTH),
        "" if alike else shorten(text(one, "action"), TEXT_LENGTH),
        seen,
        seen_other,
    )
