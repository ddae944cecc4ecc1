"""The text of ``headstart explain``: one line an image, and where the pictures are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.explaining.explain import Explanation
from headstart.explaining.writing import Explained

_OUT = Console(highlight=False, emoji=False)


def show_explanations(found: Sequence[Explained], out: Path) -> None:
    """A table of the images, with what its columns mean."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("image", "prediction", "map for"):
        table.add_column(title, overflow="fold")
    for title in ("map", "random"):
        table.add_column(title, justify="right")
    table.add_column("most like it")
    for one in found:
        table.add_row(*map(escape, _cells(one)))
    _OUT.print(table)
    if any(one.deletion for one in found):
        _OUT.print(
            "map, random: how probable the class stays, on average, while the image is painted over, what the map "
            "shows first, or anything first. Where the map's is lower, the answer rests on what it shows.",
            soft_wrap=True,
        )
    if any(one.explanation.neighbours for one in found):
        _OUT.print("most like it: the classes of the training images that are nearest in features", soft_wrap=True)
    _OUT.print(f"pictures and explanation.json are in {escape(str(out))}", soft_wrap=True)


def _cells(one: Explained) -> tuple[str, ...]:
    explanation, prediction = one.explanation, one.explanation.prediction
    name = Path(prediction.file).name
    if prediction.error is not None or one.deletion is None:
        return name, "not decoded", "", "", "", ""
    label = prediction.label
    labels = label if isinstance(label, str) else ", ".join(label or ["(no label)"])
    areas = f"{one.deletion.auc:.2f}", f"{one.deletion.random_auc:.2f}"
    return name, f"{labels} {prediction.confidence:.2f}", explanation.target, *areas, _neighbours(explanation)


def _neighbours(explanation: Explanation) -> str:
    """``4 ants, 1 bees``."""
    labels = [one.label if isinstance(one.label, str) else ", ".join(one.label) for one in explanation.neighbours]
    return ", ".join(f"{count} {label}" for label, count in Counter(labels).most_common()) or "–"
