"""Explanations as files: a picture with its map for each image, and ``explanation.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart import files, records
from headstart.data.trees import read_image_file
from headstart.explaining.deletion import Deletion
from headstart.explaining.explain import NEIGHBOURS, Explainer, Explanation
from headstart.explaining.overlay import png, render
from headstart.runs import Progress, SilentProgress

FILE = "explanation.json"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Explained:
    """One image with what was written of it: its explanation, the name of its picture, and whether its map matters.

    ``map`` and ``deletion`` are ``None`` for an image that could not be decoded.
    """

    explanation: Explanation
    map: str | None = None
    deletion: Deletion | None = None


def write_explanations(
    explainer: Explainer,
    images: Sequence[Path],
    out: Path,
    *,
    target: str | None = None,
    neighbours: int = NEIGHBOURS,
    progress: Progress | None = None,
) -> list[Explained]:
    """Explain images and write ``<image>-map.png`` for each and ``explanation.json`` into a folder.

    Parameters
    ----------
    images:
        Files. Of several with one name, the second is written as ``<image>-2-map.png``.
    out:
        The folder; made where it is missing. Files of these names are replaced.
    target, neighbours:
        As :meth:`Explainer.stream` takes them.

    Raises
    ------
    StorageError
        If a file can't be written.
    headstart.errors.HeadstartError
        As :meth:`Explainer.stream` does.
    """
    found, names = [], _names(images)
    with (progress or SilentProgress()).task("explain", len(images)) as step:
        for path, explanation in zip(
            images, explainer.stream(list(images), target=target, neighbours=neighbours), strict=True
        ):
            found.append(_write(explainer, path, explanation, out / f"{next(names)}-map.png"))
            step()
    record = explainer.model.record
    head = {"schema": SCHEMA, "backbone": record.backbone, "strategy": record.strategy, "classes": record.classes}
    images_plain = [_plain(one) for one in found]
    files.write_atomic(out / FILE, records.to_json({**head, "images": images_plain}))
    return found


def _write(explainer: Explainer, path: Path, explanation: Explanation, to: Path) -> Explained:
    if explanation.evidence is None:
        return Explained(explanation)
    preprocessing = explainer.model.record.preprocessing
    picture = render(read_image_file(path), str(path), explanation.evidence, preprocessing)
    files.write_atomic(to, png(picture))
    return Explained(explanation, to.name, explainer.deletion(path, explanation))


def _names(images: Sequence[Path]) -> Iterator[str]:
    """A name for each image's files, without the suffix, all different."""
    taken: set[str] = set()
    for path in images:
        name, number = path.stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.casefold())
        yield name


def _plain(one: Explained) -> dict[str, Any]:
    explanation = one.explanation
    return {
        **records.to_plain(explanation.prediction),
        "target": explanation.target or None,
        "logit": explanation.logit,
        "map": one.map,
        "method": explanation.method,
        "neighbours": explanation.neighbours,
        "deletion": one.deletion,
    }
