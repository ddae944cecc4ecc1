"""One image looked at by the model of a run: what it says, its map and its nearest training images."""

from __future__ import annotations

import base64
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from headstart.artifact.model import Prediction, open_model
from headstart.data.addresses import Addresses
from headstart.errors import BackboneError, HeadstartError, ImageError, MissingExtraError, RunError
from headstart.explaining.explain import NEIGHBOURS, Explainer, Explanation
from headstart.explaining.neighbours import Neighbour, TrainingImages
from headstart.explaining.overlay import png, render
from headstart.features.engine import Say
from headstart.reporting.pictures import thumbnail
from headstart.ui.runs_folder import state_of

OPEN = 2
"""Models that are kept open: a compiled network takes some hundred MB."""

SHOWN_CLASSES = 8
_SIDE = 640  # pixels of a picture's longer side
_NEIGHBOUR_SIDE = 240


@dataclass(frozen=True)
class SeenNeighbour:
    """A training image like the one that is looked at; ``picture`` is a ``data:`` address, or ``None`` if it is gone.

    ``similarity`` is the cosine of their features.
    """

    file: str
    label: tuple[str, ...]
    similarity: float
    picture: str | None


@dataclass(frozen=True)
class Look:
    """What a page shows of an image.

    Attributes
    ----------
    label:
        What the model says: a class, or any number of labels.
    confidence:
        Of that, 0 to 1; ``None`` where there is none.
    probabilities:
        The most probable classes, the first few, with their probabilities.
    is_novel:
        Whether it is unlike the training images.
    target:
        The class that the map is about.
    picture, map:
        PNG or JPEG as ``data:`` addresses; there is no map where the backbone has none.
    neighbours:
        Nearest first.
    notes:
        Why something is missing.
    """

    label: tuple[str, ...]
    confidence: float | None
    probabilities: tuple[tuple[str, float], ...]
    is_novel: bool
    target: str
    picture: str
    map: str | None
    neighbours: tuple[SeenNeighbour, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Opened:
    state: tuple[int, ...]
    explainer: Explainer
    notes: tuple[str, ...]
    has_maps: bool


class Looker:
    """Looks at images with the models of runs, at one image at a time, so that memory stays bounded.

    Parameters
    ----------
    say:
        Called with what a person at the terminal should hear.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._opened: OrderedDict[Path, _Opened] = OrderedDict()
        self._lock = threading.Lock()
        self._addresses = Addresses()

    def look(self, folder: Path, data: bytes, name: str) -> Look:
        """Look at one image; the first one of a run waits until its model is open.

        Raises
        ------
        ImageError, MissingExtraError
            If the bytes can't be decoded.
        HeadstartError
            If the run's model can't be opened.
        """
        with self._lock:
            picture = thumbnail(data, name, _SIDE)  # first, so that what is no image opens no model
            opened = self._open(folder)
            if not opened.has_maps:
                return self._without_map(opened, data, picture, name)
            (found,) = opened.explainer.explain([data])
            if found.prediction.error is not None or found.evidence is None:
                raise ImageError(f"{name}: {found.prediction.error}".replace("image 0: ", ""))
            overlay = render(data, name, found.evidence, opened.explainer.model.record.preprocessing)
            shown = "data:image/png;base64," + base64.b64encode(png(overlay)).decode("ascii")
            return self._look(found.prediction, picture, opened.notes, found, shown)

    def _open(self, folder: Path) -> _Opened:
        """The model of a run, with its training images; the one that was asked for least recently is closed."""
        state = state_of(folder)
        opened = self._opened.pop(folder, None)
        if opened is None or opened.state != state:
            while len(self._opened) >= OPEN:
                self._opened.popitem(last=False)
            opened = self._opened_anew(folder, state)
        self._opened[folder] = opened
        return opened

    def _opened_anew(self, folder: Path, state: tuple[int, ...]) -> _Opened:
        model = open_model(folder, say=self._say)
        explainer, notes, has_maps = Explainer(model), [], True
        try:
            explainer.check()
        except (BackboneError, MissingExtraError) as error:
            notes.append(f"No map and no neighbours: {error}")
            return _Opened(state, explainer, tuple(notes), has_maps=False)
        try:
            explainer.training = TrainingImages.of_run(folder, model, say=self._say)
        except RunError as error:
            notes.append(f"No neighbours: {error}")
        return _Opened(state, explainer, tuple(notes), has_maps)

    def _without_map(self, opened: _Opened, data: bytes, picture: str, name: str) -> Look:
        (prediction,) = opened.explainer.model.predict([data])
        if prediction.error is not None:
            raise ImageError(f"{name}: {prediction.error}".replace("image 0: ", ""))
        return self._look(prediction, picture, opened.notes, None, None)

    def _look(
        self,
        prediction: Prediction,
        picture: str,
        notes: tuple[str, ...],
        explanation: Explanation | None,
        overlay: str | None,
    ) -> Look:
        label = prediction.label
        ranked = sorted(prediction.probabilities.items(), key=lambda one: -one[1])
        near = () if explanation is None else explanation.neighbours[:NEIGHBOURS]
        return Look(
            label=(label,) if isinstance(label, str) else tuple(label or ()),
            confidence=prediction.confidence if math.isfinite(prediction.confidence) else None,
            probabilities=tuple(ranked[:SHOWN_CLASSES]),
            is_novel=prediction.is_novel,
            target="" if explanation is None else explanation.target,
            picture=picture,
            map=overlay,
            neighbours=tuple(map(self._seen, near)),
            notes=notes,
        )

    def _seen(self, neighbour: Neighbour) -> SeenNeighbour:
        try:
            picture = thumbnail(self._addresses.read(neighbour.image), neighbour.file, _NEIGHBOUR_SIDE)
        except (HeadstartError, OSError):
            picture = None
        label = (neighbour.label,) if isinstance(neighbour.label, str) else tuple(neighbour.label)
        return SeenNeighbour(neighbour.file, label, neighbour.similarity, picture)
