"""Why a model answers as it does: the prediction with its map of evidence and its nearest training images."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.inputs import Inputs
from headstart.artifact.model import Model, Prediction, failed
from headstart.data.rows import first_few
from headstart.errors import ImageError, MissingExtraError, OptionError
from headstart.explaining.deletion import Deletion, deletion
from headstart.explaining.evidence import Evidence, Map, Method
from headstart.explaining.neighbours import Neighbour, TrainingImages
from headstart.features.engine import cpu_count
from headstart.files import sha256
from headstart.imaging import load_view

NEIGHBOURS = 5
# The maps of all stages of an image take some MB.
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Explanation:
    """What an answer for one image rests on.

    Attributes
    ----------
    prediction:
        What the model says; where the image could not be decoded its ``error`` says why, and everything else is empty.
    target:
        The class that the map is about; empty for an image that could not be decoded.
    evidence:
        float32 (height, width) over the view that the network saw: how far each position speaks for ``target``, in
        logits, negative where it speaks against it. The mean is :attr:`logit`. ``None`` without a decoded image.
    method:
        ``class_activation`` where that is exact, else ``integrated_gradients``.
    neighbours:
        The training images nearest to it, nearest first.
    """

    prediction: Prediction
    target: str
    evidence: Map | None
    method: Method
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def logit(self) -> float:
        """The logit of ``target``, before the temperature; of exclusive classes, less the mean logit of all."""
        return float("nan") if self.evidence is None else float(self.evidence.mean(dtype=np.float64))


def explain(
    model: Model, image: Any, *, target: str | None = None, training: TrainingImages | None = None
) -> Explanation:
    """Explain a model's answer for one image.

    For many images make one :class:`Explainer`, which compiles the network once.

    Parameters
    ----------
    image:
        One image in any form that :class:`Model` takes.
    target:
        The class whose evidence is wanted; by default the predicted one, of several labels the most probable one.
    training:
        Where neighbours are looked for; see :meth:`TrainingImages.of_run`. By default there are none.

    Raises
    ------
    ImageError
        If the image can't be decoded.
    OptionError
        If the model has no such class.
    BackboneError, MissingExtraError
        If the backbone has no maps, or they need the extra ``explain``.
    """
    found = next(Explainer(model, training=training).stream([image], target=target))
    if found.prediction.error is not None:
        raise ImageError(found.prediction.error)
    return found


class Explainer:
    """Explains the answers of one model. Nothing is compiled before the first image.

    Parameters
    ----------
    training:
        Where neighbours are looked for; without it there are none. It may be set later.
    """

    def __init__(self, model: Model, *, training: TrainingImages | None = None) -> None:
        self.model = model
        self.training = training

    @cached_property
    def evidence(self) -> Evidence:
        """What makes the maps; raises :class:`BackboneError` or :class:`MissingExtraError` where there can be none."""
        return Evidence(self.model)

    def check(self, target: str | None = None) -> None:
        """Raise what :meth:`stream` would: nothing is looked at yet."""
        if target is not None:
            self._number(target)
        _ = self.evidence

    def explain(self, images: Any, *, target: str | None = None, neighbours: int = NEIGHBOURS) -> list[Explanation]:
        """One explanation an image, in order; see :meth:`stream`."""
        return list(self.stream(images, target=target, neighbours=neighbours))

    def stream(self, images: Any, *, target: str | None = None, neighbours: int = NEIGHBOURS) -> Iterator[Explanation]:
        """Explain images one after the other, in memory that does not grow with their number.

        Parameters
        ----------
        images:
            Whatever :class:`Model` takes. Of one that can't be decoded, the explanation's prediction has ``error``.
        target:
            The class whose evidence is wanted; by default each image's predicted one.
        neighbours:
            How many training images are wanted with each.

        Raises
        ------
        OptionError
            If the model has no such class, or the number of neighbours is negative.
        BackboneError, MissingExtraError
            If the backbone has no maps, or they need the extra ``explain``.
        """
        wanted = None if target is None else self._number(target)
        if neighbours < 0:
            raise OptionError(f"{neighbours} neighbours: give 0 or more")
        inputs, evidence = Inputs.of(images), self.evidence
        size = min(self.model.trunk.batch_size, _BATCH)
        batches = (range(start, min(start + size, len(inputs.names))) for start in range(0, len(inputs.names), size))
        threads = cpu_count()
        with ThreadPoolExecutor(threads, thread_name_prefix="explain") as pool:
            while some := list(itertools.islice(batches, 2 * threads)):
                for found in pool.map(lambda batch: self._batch(inputs, batch, evidence, wanted, neighbours), some):
                    yield from found

    def deletion(self, image: Any, explanation: Explanation) -> Deletion:
        """Whether the map of one image matters; see :mod:`headstart.explaining.deletion`. Some 80 forward passes.

        Raises
        ------
        ImageError
            If the image can't be decoded.
        """
        if explanation.evidence is None:
            raise ImageError(explanation.prediction.error or "there is no map of this image")
        inputs = Inputs.of([image])
        view = load_view(inputs.read(0), self.model.record.preprocessing, inputs.names[0])
        return deletion(self.model, view, explanation.evidence, self._number(explanation.target))

    def _batch(
        self, inputs: Inputs, batch: Sequence[int], evidence: Evidence, wanted: int | None, neighbours: int
    ) -> list[Explanation]:
        found, views, kept, hashes = {}, [], [], []
        for position in batch:
            try:
                data = inputs.read(position)
                views.append(load_view(data, self.model.record.preprocessing, inputs.names[position]))
                kept.append(position)
                hashes.append(sha256(data))
            except (ImageError, MissingExtraError) as error:
                nothing = failed(inputs.names[position], str(error))
                found[position] = Explanation(nothing, "", None, evidence.method)
        if views:
            names = [inputs.names[position] for position in kept]
            answers = self._explain_views(np.stack(views), names, hashes, evidence, wanted, neighbours)
            found.update(zip(kept, answers, strict=True))
        return [found[position] for position in batch]

    def _explain_views(
        self,
        views: npt.NDArray[np.uint8],
        names: Sequence[str],
        hashes: Sequence[str],
        evidence: Evidence,
        wanted: int | None,
        neighbours: int,
    ) -> list[Explanation]:
        rows = self.model.trunk(views)
        answers = self.model.predictions_of(names, rows)
        targets = np.array([self._predicted(answer) if wanted is None else wanted for answer in answers])
        maps = evidence(views, targets)
        near: list[tuple[Neighbour, ...]] = [() for _ in names]
        if self.training is not None:
            top = rows[:, self.model.trunk.trunk.columns["features"]]
            near = self.training.nearest(top, hashes, neighbours)
        classes = self.model.classes
        return [
            Explanation(answer, classes[target], one, evidence.method, others)
            for answer, target, one, others in zip(answers, targets, maps, near, strict=True)
        ]

    def _predicted(self, answer: Prediction) -> int:
        """The number of the class that an answer names; of several labels, or none, that of the most probable one."""
        if isinstance(answer.label, str):
            return self.model.classes.index(answer.label)
        return int(np.argmax([answer.probabilities[name] for name in self.model.classes]))

    def _number(self, name: str) -> int:
        classes = self.model.classes
        if name in classes:
            return classes.index(name)
        near = difflib.get_close_matches(name, classes, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {first_few(classes, 10)}"
        raise OptionError(f"the model has no class {name!r}: {hint}")
