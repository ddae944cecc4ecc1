"""What ``evaluation.json`` adds to the scores: groups and domains, thresholds, operating points and costs, as text."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.reporting.evidence import RunEvidence, Values, interval, mapping, mappings, number, text
from headstart.reporting.wording import count_text, interval_text, percent, shorten

MOST_PARTS = 12
MOST_THRESHOLD_CLASSES = 20
MOST_POINTS = 60

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of text; ``note`` explains it."""

    title: str
    columns: Cells
    rows: tuple[Cells, ...]
    note: str


@dataclass(frozen=True)
class Breakdowns:
    """Tables by what they are for; empty ones are left out."""

    parts: tuple[Table, ...]
    points: Table | None
    thresholds: tuple[Table, ...]
    costs: Table | None


def view_breakdowns(evidence: RunEvidence) -> Breakdowns:
    """The tables of the split that is shown."""
    split = mapping(mapping(evidence.evaluation, "splits"), evidence.shown)
    parts = (_parts(mapping(split, "domains"), "domain"), _parts(mapping(split, "groups"), "group"))
    thresholds = mapping(split, "thresholds")
    tables = (_thresholds(name, mappings(thresholds, name)) for name in list(thresholds)[:MOST_THRESHOLD_CLASSES])
    return Breakdowns(
        tuple(table for table in parts if table is not None),
        _points(mappings(split, "operating_points")),
        tuple(table for table in tables if table.rows),
        _costs(mapping(split, "costs")),
    )


def _parts(found: Values, kind: str) -> Table | None:
    rows = tuple(
        (shorten(text(one, "name")), _count(one, "rows"), percent(number(one, "accuracy")), _ends(one, "accuracy_ci95"))
        for one in mappings(found, "parts")[:MOST_PARTS]
    )
    if not rows:
        return None
    worst, total = mapping(found, "worst"), number(found, "total") or 0
    note = f"The {len(rows)} of {count_text(int(total), kind)} with the lowest accuracy." if total > len(rows) else ""
    if worst:
        verdict = "is worse than all together beyond doubt" if worst.get("below") is True else "may be lowest by chance"
        note += (
            f" “{shorten(text(worst, 'name'))}” {verdict}: {_ends(worst, 'ci95')}, an interval that allows for its "
            f"having been picked out of {_count(worst, 'among')}."
        )
    return Table(f"By {kind}", (kind.capitalize(), "Images", "Accuracy", "95% interval"), rows, note.strip())


def _points(points: tuple[Values, ...]) -> Table | None:
    rows = []
    for one in points[:MOST_POINTS]:
        point, target = mapping(one, "point"), number(mapping(one, "point"), "target")
        threshold = number(point, "threshold")
        if target is None or threshold is None:
            continue
        asked = f"{shorten(text(point, 'fixed'))} {100 * target:.0f}%"
        shares = (_share(mapping(one, name)) for name in ("sensitivity", "specificity"))
        rows.append((shorten(text(point, "positive")), asked, f"{threshold:.3f}", *shares))
    if not rows:
        return None
    note = (
        "Each threshold was chosen on validation images to hold the sensitivity or specificity that is asked for; what "
        "it gives was then measured on the images of this page."
    )
    columns = ("Found class", "Asked for", "Threshold", "Sensitivity", "Specificity")
    return Table("Operating points", columns, tuple(rows), note)


def _thresholds(name: str, found: tuple[Values, ...]) -> Table:
    shown = ("precision", "recall", "specificity", "f1")
    rows = tuple(
        (f"{threshold:g}", *(_share(mapping(mapping(one, "shares"), key)) for key in shown))
        for one in found
        if (threshold := number(one, "threshold")) is not None
    )
    columns = ("Threshold", "Precision", "Recall", "Specificity", "F1")
    return Table(shorten(name), columns, rows, "")


def _costs(found: Values) -> Table | None:
    titles = {
        "decided": "Decisions of least expected cost",
        "most_probable": "Always the most probable class",
        "constant": f"Always {shorten(text(found, 'constant_class'))}",
    }
    rows = []
    for key, title in titles.items():
        mean, ends = number(mapping(found, key), "mean"), interval(mapping(found, key), "ci95")
        if mean is not None:
            rows.append((title, f"{mean:.4g}", "" if ends is None else f"{ends[0]:.4g} to {ends[1]:.4g}"))
    if not rows:
        return None
    return Table("Costs", ("Decisions", "Cost an image", "95% interval"), tuple(rows), "")


def _share(found: Values) -> str:
    value, ends = number(found, "value"), interval(found, "ci95")
    return percent(value) + (f" ({interval_text('accuracy', ends)})" if ends is not None else "")


def _ends(found: Values, key: str) -> str:
    return interval_text("accuracy", interval(found, key))


def _count(found: Values, key: str) -> str:
    value = number(found, key)
    return "–" if value is None else f"{value:,.0f}"
