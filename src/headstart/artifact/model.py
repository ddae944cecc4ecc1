"""A saved model at work: predictions, probabilities, embeddings and scores for images in any form."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.saved import SavedModel, read_model
from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import find_backbone
from headstart.data import Dataset, load
from headstart.data.listing import list_images
from headstart.data.rows import first_few
from headstart.data.trees import read_image_file
from headstart.errors import ArtifactError, BackboneError, DataError, ImageError, OptionError
from headstart.evaluation.abstention import fit_abstain
from headstart.evaluation.calibration import probabilities as to_probabilities
from headstart.evaluation.metrics import evaluate
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.extract import embed, probe_trunk
from headstart.imaging import encode
from headstart.runs import find_run
from headstart.tasks import TASKS, Task

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

    def __init__(self, saved: SavedModel, compiled: CompiledTrunk) -> None:
        self._saved = saved
        self._compiled = compiled
        columns = compiled.trunk.columns
        _check_fit(saved, columns)
        self._head_columns = np.r_[tuple(columns[name] for name in saved.record.outputs)]
        self._top_columns = columns["features"]
        self.record = saved.record
        self.classes = saved.record.classes

    @property
    def task(self) -> Task:
        """What kind of classifier this is."""
        return TASKS[self.record.task]

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
        inputs = _Inputs.of(images)
        for positions, rows, failures in embed(inputs.read, inputs.names, self._compiled):
            found = dict(zip(positions, self._predictions(inputs, positions, rows, threshold), strict=True))
            for position in sorted([*positions, *failures]):
                yield found.get(position) or _failed(inputs.names[position], failures[position])

    def predict_proba(self, images: Any) -> Floats:
        """Calibrated probabilities, float64 (n, classes). Raises :class:`ImageError` for an undecodable image."""
        return self._probabilities(self._rows(images))

    def embed(self, images: Any) -> npt.NDArray[np.float32]:
        """The backbone's pooled features, float32 (n, D). Raises :class:`ImageError` for an undecodable image."""
        return self._rows(images)[:, self._top_columns]

    def evaluate(self, source: Any, *, root: Path | None = None, seed: int = 0) -> dict[str, Any]:
        """Score the model on labelled data that :func:`headstart.load` takes.

        Where the data have splits, the one that plays the test is scored: ``test``, else ``val``. Returns the keys of a
        split in ``metrics.json``, and ``left_out``: the number of files that could not be used, and ``fitted_on``: the
        number of images that the model was fitted on, whose scores flatter it.

        Raises
        ------
        DataError
            If the data are of another task or have classes that the model does not know.
        """
        dataset = source if isinstance(source, Dataset) else load(source, root=root)
        tested = next((split for split in ("test", "val") if (dataset.splits == split).any()), "")
        dataset = dataset.select(dataset.splits == tested) if tested else dataset
        truth = self._truth(dataset)
        kept, rows = [], []
        for positions, batch, _ in embed(dataset.read, dataset.files, self._compiled):
            kept += positions
            rows.append(batch)
        if not kept:
            raise DataError(f"{dataset.name}: none of its images can be decoded")
        groups = dataset.groups[kept] if dataset.has_groups else None
        scores = evaluate(
            self.task.name,
            truth[kept],
            self._probabilities(np.concatenate(rows)),
            self.classes,
            groups=groups,
            thresholds=self._thresholds,
            seed=seed,
        )
        return {
            **scores,
            "left_out": len(dataset) - len(kept) + len(dataset.left_out),
            "fitted_on": self._saved.evidence.count_fitted(dataset.hashes),
        }

    @property
    def _thresholds(self) -> Floats | None:
        return None if self.record.thresholds is None else np.array(self.record.thresholds)

    def _truth(self, dataset: Dataset) -> npt.NDArray[np.generic]:
        """The data's targets in the numbering of the model's classes."""
        if dataset.task != self.record.task:
            raise DataError(f"{dataset.name} is for {dataset.task}, the model for {self.record.task}")
        unknown = sorted(set(dataset.classes) - set(self.classes))
        if unknown:
            known = first_few(self.classes, 10)
            raise DataError(
                f"{dataset.name} has classes that the model does not know: {first_few(unknown, 10)}; it knows {known}"
            )
        place = np.array([self.classes.index(name) for name in dataset.classes])
        if self.task.kind == "softmax":
            return np.asarray(place[dataset.targets])
        truth = np.zeros((len(dataset), len(self.classes)), bool)
        truth[:, place] = dataset.targets
        return truth

    def _rows(self, images: Any) -> npt.NDArray[np.float32]:
        inputs = _Inputs.of(images)
        rows = [np.empty((0, self._compiled.trunk.width), np.float32)]
        for _, batch, failures in embed(inputs.read, inputs.names, self._compiled):
            if failures:
                raise ImageError(next(iter(failures.values())))
            rows.append(batch)
        return np.concatenate(rows)

    def _probabilities(self, rows: npt.NDArray[np.float32]) -> Floats:
        logits = self._saved.head.logits(_as_stored(rows)[:, self._head_columns])
        return to_probabilities(logits, self.record.temperature, self.task.kind)

    def _predictions(
        self, inputs: _Inputs, positions: Sequence[int], rows: npt.NDArray[np.float32], threshold: float
    ) -> Iterator[Prediction]:
        probabilities = self._probabilities(rows)
        novelty = self._saved.novelty.score(_as_stored(rows)[:, self._top_columns])
        confidence = self.task.confidence(probabilities, self._thresholds)
        labels = self.task.labels(probabilities, self.classes, self._thresholds)
        for i, position in enumerate(positions):
            abstained = bool(confidence[i] < threshold)
            yield Prediction(
                file=inputs.names[position],
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
    saved, backbone = open_parts(path)
    return Model(saved, compile_trunk(probe_trunk(backbone), engine=engine, say=say))


def open_parts(path: str | Path) -> tuple[SavedModel, Backbone]:
    """What a run folder, or the ``model`` folder in it, holds, and the backbone with the weights that it was fitted on.

    Raises :class:`ArtifactError` and :class:`RunError` as :func:`open_model` does.
    """
    folder = Path(path)
    saved = read_model(folder if (folder / "model.json").is_file() else find_run(folder).path("model"))
    record = saved.record
    backbone = find_backbone(record.backbone, size=record.preprocessing.size, channels=record.preprocessing.channels)
    if backbone.weights_sha256 != record.weights_sha256:
        raise ArtifactError(
            f"{folder}: fitted on weights {record.weights_sha256[:12]}… of {record.backbone}, "
            f"but here they are {backbone.weights_sha256[:12]}…; install the version it was fitted with"
        )
    if backbone.preprocessing != record.preprocessing:
        raise ArtifactError(f"{folder}: {record.backbone} wants another preprocessing here than when it was fitted")
    if saved.tuned:
        try:
            backbone = backbone.tuned(saved.tuned)
        except BackboneError as error:
            raise ArtifactError(f"{folder}: its fine-tuned weights don't fit: {error}") from error
    return saved, backbone


@dataclass(frozen=True)
class _Inputs:
    """Images of any form as names and a way to read their bytes."""

    names: list[str]
    sources: Mapping[int, Any] | Sequence[Any]

    @classmethod
    def of(cls, images: Any) -> _Inputs:
        if isinstance(images, str | Path) and os.path.isdir(images):
            paths = list_images(Path(images))
            if not paths:
                raise DataError(f"{images}: no images in this folder")
            return cls([str(path) for path in paths], paths)
        batch = isinstance(images, np.ndarray) and images.ndim == 4
        several = list(images) if batch or isinstance(images, list | tuple | Iterator) else [images]
        for one in several:
            _check_form(one)
        names = [str(one) if isinstance(one, str | Path) else f"image {i}" for i, one in enumerate(several)]
        return cls(names, several)

    def read(self, position: int) -> bytes:
        one = self.sources[position]
        if isinstance(one, bytes | bytearray):
            return bytes(one)
        if not isinstance(one, str | Path):
            return encode(one, self.names[position])
        return read_image_file(one)


def _check_fit(saved: SavedModel, columns: Mapping[str, slice]) -> None:
    """Raise :class:`ArtifactError` unless the head and the novelty reference read what the backbone gives."""
    unknown = set(saved.record.outputs) - set(columns)
    if unknown or not saved.record.outputs:
        raise ArtifactError(
            f"the model reads {sorted(unknown) or 'nothing'}, which {saved.record.backbone} doesn't give"
        )
    widths = {name: part.stop - part.start for name, part in columns.items()}
    wanted = (sum(widths[name] for name in saved.record.outputs), widths["features"])
    found = (len(saved.head.weights), saved.novelty.features.shape[-1])
    if wanted != found:
        raise ArtifactError(f"the model's tensors are {found} wide, {saved.record.backbone}'s features {wanted}")


def _check_form(one: Any) -> None:
    from PIL.Image import Image

    if not isinstance(one, str | Path | bytes | bytearray | np.ndarray | Image):
        raise OptionError(
            f"a {type(one).__name__} is no image: give a path, a PIL image, a NumPy array, encoded bytes, or a list of "
            "these"
        )


def _as_stored(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round to float16 as the store does, where a row fits, so that a model answers as it was evaluated."""
    with np.errstate(over="ignore"):
        rounded = rows.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded).all(1, keepdims=True), rounded, rows)


def _failed(name: str, reason: str) -> Prediction:
    return Prediction(name, None, float("nan"), {}, float("nan"), is_novel=False, error=reason)
