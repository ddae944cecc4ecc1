"""A saved model at work: predictions, probabilities, embeddings and scores for images in any form."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.evaluating import Answers, decision_of, scored_part, scores_of, truth_of
from headstart.artifact.inputs import Inputs
from headstart.artifact.saved import SavedModel, read_model
from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import find_backbone
from headstart.errors import ArtifactError, BackboneError, DataError, ImageError, OptionError
from headstart.evaluation.abstention import fit_abstain
from headstart.evaluation.calibration import probabilities as to_probabilities
from headstart.evaluation.costs import Costs
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.extract import embed, probe_trunk
from headstart.runs import find_run
from headstart.tasks import TASKS, Task
from headstart.training.linear import LinearModel

if TYPE_CHECKING:
    from PIL.Image import Image

    OneImage = str | Path | bytes | Image | npt.NDArray[np.generic]

Floats = npt.NDArray[np.float64]
_LOG = logging.getLogger("headstart")


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes
    ----------
    file:
        The image's path, or ``image 3`` for one that came without.
    label:
        The predicted class, or the list of predicted labels; ``None`` where the model abstains or could not look.
    confidence:
        Calibrated probability of the prediction, in 0…1. Where classes were balanced in training, the class named need
        not be the most probable one.
    probabilities:
        One a class; they sum to 1 unless the model is multi-label.
    novelty:
        1 − cosine similarity to the nearest training image, in 0…2 (Sun et al. 2022).
    is_novel:
        Whether that is higher than for 95 % of images like the training set: likely none of the classes.
    abstained:
        Whether the confidence lies below the threshold for the wished error rate.
    error:
        Why the image could not be decoded; then everything else is empty.
    """

    file: str
    label: str | list[str] | None
    confidence: float
    probabilities: dict[str, float]
    novelty: float
    is_novel: bool
    abstained: bool = False
    error: str | None = None


class Model:
    """A saved model. Made by :func:`headstart.open`.

    Every method takes one image (path, PIL image, array, or encoded bytes), a folder, or a list, tuple or iterator of
    images. Arrays are uint8, uint16, or floats in 0..1, of shape (H, W) or (H, W, 3 or 4), RGB, or (H, W, C) for a
    model of C channels; with one axis more they are several images. Anything else is an :class:`OptionError`.
    """

    def __init__(self, saved: SavedModel, compiled: CompiledTrunk, *members: CompiledTrunk) -> None:
        record = saved.record
        self._saved = saved
        self._compiled = compiled
        self._top_columns = compiled.trunk.columns["features"]
        left = 1 - sum(member.weight for member in record.members)
        self._voices = [_Voice(compiled, record.outputs, saved.head, record.temperature, left)]
        for of, member, trunk in zip(record.members, saved.members, members, strict=True):
            self._voices.append(_Voice(trunk, of.outputs, member.head, of.temperature, of.weight))
        for voice in self._voices:
            voice.check(record.backbone)
        _check_novelty(saved, compiled)
        self._together = _Together(compiled, *members) if members else compiled
        self.record = record
        self.classes = record.classes

    @property
    def task(self) -> Task:
        """What kind of classifier this is."""
        return TASKS[self.record.task]

    @property
    def saved(self) -> SavedModel:
        """What was saved: head, novelty reference, evidence."""
        return self._saved

    @property
    def trunk(self) -> CompiledTrunk:
        """The backbone that runs, with the features of all stages in a row: :attr:`Segment.columns` says where.

        Of a model that averages several networks their rows lie one after the other, in the order of the record.
        """
        return self._together

    def predictions_of(self, names: Sequence[str], rows: npt.NDArray[np.float32]) -> list[Prediction]:
        """Predictions from rows (n, width) that :attr:`trunk` gave for images of these names."""
        return list(self._predictions(names, rows, 0.0))

    def probabilities(self, rows: npt.NDArray[np.float32]) -> Floats:
        """Calibrated probabilities, float64 (n, classes), from rows (n, width) that :attr:`trunk` gave."""
        if not len(rows):
            return np.empty((0, len(self.classes)))
        ends = np.cumsum([voice.compiled.trunk.width for voice in self._voices])[:-1]
        parts = np.split(rows, ends, axis=1)
        said = [voice.weighted(part) for voice, part in zip(self._voices, parts, strict=True)]
        return np.asarray(np.sum(said, axis=0))

    def predict(self, images: Any, *, max_error: float | None = None) -> list[Prediction]:
        """One prediction an image, in order; an image that can't be decoded gives one with ``error`` set.

        Parameters
        ----------
        max_error:
            A wished error rate in (0, 1): the model abstains (``label`` is ``None``) where it is not sure enough for
            that rate, as far as the rows that it had not seen in training can tell.

        Raises
        ------
        OptionError
            If no confidence is high enough for that error rate on this model's evidence.
        """
        return list(self.stream(images, max_error=max_error))

    def stream(self, images: Any, *, max_error: float | None = None) -> Iterator[Prediction]:
        """Like :meth:`predict`, one at a time, in memory that does not grow with the number of images."""
        threshold = self._abstain_threshold(max_error)
        inputs = Inputs.of(images)
        for positions, rows, failures in embed(inputs.read, inputs.names, self._together):
            named = [inputs.names[position] for position in positions]
            found = dict(zip(positions, self._predictions(named, rows, threshold), strict=True))
            for position in sorted([*positions, *failures]):
                yield found.get(position) or failed(inputs.names[position], failures[position])

    def predict_proba(self, images: Any) -> Floats:
        """Calibrated probabilities, float64 (n, classes). Raises :class:`ImageError` for an undecodable image."""
        return self.probabilities(self._rows(images, self._together))

    def embed(self, images: Any) -> npt.NDArray[np.float32]:
        """The backbone's pooled features, float32 (n, D). Raises :class:`ImageError` for an undecodable image."""
        return self._rows(images, self._compiled)[:, self._top_columns]

    def evaluate(self, source: Any, *, root: Path | None = None, seed: int = 0) -> dict[str, Any]:
        """Score the model on labelled data that :func:`headstart.load` takes.

        Where the data have splits, the one that plays the test is scored: ``test``, else ``val``. Returns the keys of a
        split in ``metrics.json``, and ``left_out``: the number of files that could not be used, ``fitted_on``: the
        number of images that the model was fitted on, whose scores flatter it, and ``details``: the keys of a split in
        ``evaluation.json``.

        Raises
        ------
        DataError
            If the data are of another task or have classes that the model does not know.
        """
        return scores_of(self.answers(source, root=root), self.record, seed)

    def answers(self, source: Any, *, root: Path | None = None) -> Answers:
        """What the model says of the labelled images that :meth:`evaluate` scores; errors as there."""
        dataset = scored_part(source, root)
        truth = truth_of(dataset, self.record)
        kept, rows = [], []
        for positions, batch, _ in embed(dataset.read, dataset.files, self._together):
            kept += positions
            rows.append(batch)
        if not kept:
            raise DataError(f"{dataset.name}: none of its images can be decoded")
        return Answers(
            dataset.select(kept),
            truth[kept],
            self.probabilities(np.concatenate(rows)),
            left_out=len(dataset) - len(kept) + len(dataset.left_out),
            fitted_on=self.count_fitted(dataset.hashes),
        )

    def probabilities_of(self, views: npt.NDArray[np.uint8]) -> Floats:
        """Calibrated probabilities (n, C) of images as the network sees them: uint8 (n, size, size, channels)."""
        return self.probabilities(self._together(views))

    def count_fitted(self, hashes: Sequence[str]) -> int:
        """How many images with these SHA-256 (hexadecimal) the model was fitted on."""
        return self._saved.evidence.count_fitted(hashes)

    def deciding_by(self, costs: Costs, where: str = "the costs") -> Model:
        """The same model, which takes the decisions of least expected cost.

        Parameters
        ----------
        costs:
            Of this model's classes.
        where:
            What errors call them: the file's name.

        Raises
        ------
        OptionError
            If the costs are of other classes, or the model gives an image several labels.
        """
        if self.task.kind == "sigmoid":
            raise OptionError(f"{where}: costs are for one class an image, and this model gives several labels")
        costs.check(self.classes, where)
        found = copy.copy(self)
        matrix = costs.among(self.classes)
        found.record = dataclasses.replace(self.record, costs=tuple(tuple(map(float, row)) for row in matrix))
        return found

    def _rows(self, images: Any, compiled: CompiledTrunk) -> npt.NDArray[np.float32]:
        inputs = Inputs.of(images)
        rows = []
        for _, batch, failures in embed(inputs.read, inputs.names, compiled):
            if failures:
                raise ImageError(next(iter(failures.values())))
            rows.append(batch)
        return np.concatenate(rows) if rows else np.empty((0, compiled.trunk.width), np.float32)

    def _predictions(
        self, names: Sequence[str], rows: npt.NDArray[np.float32], threshold: float
    ) -> Iterator[Prediction]:
        probabilities = self.probabilities(rows)
        novelty = self._saved.novelty.score(_as_stored(rows)[:, self._top_columns])
        confidence = self.task.confidence(probabilities, decision_of(self.record))
        labels = self.task.labels(probabilities, self.classes, decision_of(self.record))
        for i, name in enumerate(names):
            abstained = bool(confidence[i] < threshold)
            yield Prediction(
                file=name,
                label=None if abstained else labels[i],
                confidence=float(confidence[i]),
                probabilities=dict(zip(self.classes, map(float, probabilities[i]), strict=True)),
                novelty=float(novelty[i]),
                is_novel=bool(novelty[i] > self.record.novelty_threshold),
                abstained=abstained,
            )

    def _abstain_threshold(self, max_error: float | None) -> float:
        if max_error is None:
            return 0.0
        if not 0 < max_error < 1:
            raise OptionError(f"the wished error rate must lie between 0 and 1, not be {max_error}")
        if self.record.costs != self._saved.record.costs:
            raise OptionError("how often decisions by these costs are wrong was not measured: leave out max_error")
        evidence = self._saved.evidence
        rule = fit_abstain(evidence.confidence, evidence.correct, max_error)
        if rule is None:
            raise OptionError(
                f"the {len(evidence.correct)} rows of evidence can't bound the error at {max_error:g} for any "
                "threshold: wish for a higher rate, or label more images"
            )
        return rule.threshold


def open_model(path: str | Path, *, engine: EngineName = "auto", say: Say = _LOG.warning) -> Model:
    """Open a run folder, or the ``model`` folder in it.

    Raises
    ------
    ArtifactError
        If it is incomplete, altered or of a newer format, or the backbone's weights here are not those it was
        fitted on.
    RunError
        If the path is neither a finished run nor a model.
    """
    saved, networks = open_parts(path)
    return Model(saved, *(compile_trunk(probe_trunk(network), engine=engine, say=say) for network in networks))


def open_parts(path: str | Path) -> tuple[SavedModel, tuple[Backbone, ...]]:
    """What a run folder, or the ``model`` folder in it, holds, and its networks: the backbone with the weights that the
    head was fitted on, and those of an average's further members.

    Raises :class:`ArtifactError` and :class:`RunError` as :func:`open_model` does.
    """
    folder = Path(path)
    saved = read_model(folder if (folder / "model.json").is_file() else find_run(folder).path("model"))
    record = saved.record
    wanted = record.preprocessing
    backbone = find_backbone(record.backbone, size=wanted.size, channels=wanted.channels).taking(wanted.aspect)
    if backbone.weights_sha256 != record.weights_sha256:
        raise ArtifactError(
            f"{folder}: fitted on weights {record.weights_sha256[:12]}… of {record.backbone}, "
            f"but here they are {backbone.weights_sha256[:12]}…; install the version it was fitted with"
        )
    if backbone.preprocessing != wanted:
        raise ArtifactError(f"{folder}: {record.backbone} wants another preprocessing here than when it was fitted")
    networks = []
    for weights in (saved.tuned, *(member.tuned for member in saved.members)):
        try:
            networks.append(backbone.tuned(weights) if weights else backbone)
        except BackboneError as error:
            raise ArtifactError(f"{folder}: its fine-tuned weights don't fit: {error}") from error
    return saved, tuple(networks)


class _Together:
    """Several compiled trunks that look at the same views: their rows stand side by side."""

    def __init__(self, *trunks: CompiledTrunk) -> None:
        self._trunks = trunks
        self.trunk, self.identity = trunks[0].trunk, trunks[0].identity
        self.batch_size = min(trunk.batch_size for trunk in trunks)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.concatenate([trunk(images) for trunk in self._trunks], axis=1)


@dataclass(frozen=True, eq=False)
class _Voice:
    """One network of a model: what it computes, what its head reads, and how much it counts."""

    compiled: CompiledTrunk
    outputs: tuple[str, ...]
    head: LinearModel
    temperature: float
    weight: float

    def weighted(self, rows: npt.NDArray[np.float32]) -> Floats:
        """Its part of the probabilities (n, C), from the rows that its trunk gave."""
        columns = np.r_[tuple(self.compiled.trunk.columns[name] for name in self.outputs)]
        logits = self.head.logits(_as_stored(rows)[:, columns])
        return self.weight * to_probabilities(logits, self.temperature, self.head.kind)

    def check(self, backbone: str) -> None:
        """Raise :class:`ArtifactError` unless the head reads what the trunk gives."""
        columns = self.compiled.trunk.columns
        unknown = set(self.outputs) - set(columns)
        if unknown or not self.outputs:
            raise ArtifactError(f"the model reads {sorted(unknown) or 'nothing'}, which {backbone} doesn't give")
        wanted = sum(columns[name].stop - columns[name].start for name in self.outputs)
        if wanted != len(self.head.weights):
            raise ArtifactError(f"the model's head is {len(self.head.weights)} wide, {backbone}'s features {wanted}")


def _check_novelty(saved: SavedModel, compiled: CompiledTrunk) -> None:
    """Raise :class:`ArtifactError` unless the novelty reference has the features that the backbone gives."""
    top = compiled.trunk.columns["features"]
    if saved.novelty.features.shape[-1] != top.stop - top.start:
        raise ArtifactError(
            f"the model's novelty reference is {saved.novelty.features.shape[-1]} wide, "
            f"{saved.record.backbone}'s features {top.stop - top.start}"
        )


def _as_stored(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round to float16 as the store does, where a row fits, so that a model answers as it was evaluated."""
    with np.errstate(over="ignore"):
        rounded = rows.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded).all(1, keepdims=True), rounded, rows)


def failed(name: str, reason: str) -> Prediction:
    """The answer for an image that can't be decoded."""
    return Prediction(name, None, float("nan"), {}, float("nan"), is_novel=False, error=reason)
