"""What an answer rests on, for a page: a map over the image and the training images that are most like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import HeadstartError
from headstart.reporting.pictures import SIDE, Read, jpeg

if TYPE_CHECKING:
    from headstart.explaining.explain import Explainer, Explanation

NEAREST = 3


@dataclass(frozen=True)
class Wanted:
    """An image, by the address of its bytes, and the class whose evidence is wanted; ``""``: the predicted one."""

    image: str
    target: str


@dataclass(frozen=True)
class Near:
    """A training image; ``similarity`` is the cosine of the two images' features, −1 to 1."""

    file: str
    image: str
    labels: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class Illustration:
    """A map of what speaks for ``target``, as a ``data:`` address, and the nearest training images, nearest first."""

    target: str = ""
    map: str | None = None
    near: tuple[Near, ...] = ()


@dataclass(frozen=True)
class Illustrations:
    """One for each image that was wanted; ``note`` says why there are none, or no neighbours."""

    each: tuple[Illustration, ...]
    note: str = ""
    exact: bool = True


Illustrate = Callable[[Sequence[Wanted]], Illustrations]


def without(reason: str) -> Illustrate:
    """No illustrations, and why."""
    return lambda wanted: Illustrations(tuple(Illustration() for _ in wanted), reason)


def illustrator_of(folder: Path, read: Read) -> Illustrate:
    """Illustrations by the model of a run. Whatever keeps it from them becomes a note, never an error.

    Parameters
    ----------
    read:
        Gives the bytes of an image by its address; one for which it raises has no illustration.
    """

    def illustrate(wanted: Sequence[Wanted]) -> Illustrations:
        if not wanted:
            return Illustrations(())
        try:
            explainer, note = _explainer(folder)
            found = _explained(explainer, wanted, read)
        except (HeadstartError, OSError) as error:
            return without(f"There are no maps and no nearest training images: {error}.")(wanted)
        return Illustrations(found, note, explainer.evidence.method == "class_activation")

    return illustrate


def _explainer(folder: Path) -> tuple[Explainer, str]:
    """What explains, and why it knows no training images, where it doesn't."""
    from headstart.artifact.model import open_model
    from headstart.errors import BackboneError
    from headstart.explaining.explain import Explainer
    from headstart.explaining.neighbours import TrainingImages

    def ignore(line: str) -> None:
        """What a person should know of the engine was said when the model was made."""

    model = open_model(folder / "model", say=ignore)
    if model.record.members:
        raise BackboneError("the model averages several networks, whose maps are of different positions")
    explainer = Explainer(model)
    explainer.check()
    try:
        explainer.training = TrainingImages.of_run(folder, model, say=ignore)
    except HeadstartError as error:
        return explainer, f"There are no nearest training images: {error}."
    return explainer, ""


def _explained(explainer: Explainer, wanted: Sequence[Wanted], read: Read) -> tuple[Illustration, ...]:
    """Images of one target are explained together."""
    found = [Illustration() for _ in wanted]
    for target in dict.fromkeys(one.target for one in wanted):
        data: dict[int, bytes] = {}
        for place, one in enumerate(wanted):
            if one.target == target:
                try:
                    data[place] = read(one.image)
                except (HeadstartError, OSError):  # the page says that the image is gone
                    continue
        known = target if target in explainer.model.classes else None
        explanations = explainer.stream(list(data.values()), target=known, neighbours=NEAREST)
        for (place, picture), explanation in zip(data.items(), explanations, strict=True):
            found[place] = _illustration(explainer, picture, explanation)
    return tuple(found)


def _illustration(explainer: Explainer, picture: bytes, explanation: Explanation) -> Illustration:
    from headstart.explaining.overlay import render

    if explanation.evidence is None:
        return Illustration()
    preprocessing = explainer.model.record.preprocessing
    drawn = render(picture, "image", explanation.evidence, preprocessing, side=SIDE)
    near = tuple(
        Near(one.file, one.image, (one.label,) if isinstance(one.label, str) else tuple(one.label), one.similarity)
        for one in explanation.neighbours
    )
    return Illustration(explanation.target, jpeg(drawn), near)
