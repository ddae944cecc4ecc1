"""Whether an exported file answers as the saved model does: compared on real images, before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.artifact.evaluating import decision_of
from headstart.artifact.model import Model
from headstart.evaluation.calibration import name_classes
from headstart.evaluation.comparison import paired_difference
from headstart.evaluation.intervals import Interval
from headstart.export.rows import Rows
from headstart.export.timing import Latency, measure
from headstart.runtime import Model as ExportedModel
from headstart.runtime import Prediction
from headstart.runtime.record import Precision
from headstart.tasks import TASKS

Floats = npt.NDArray[np.float64]

AGREEMENT = {"f32": 0.99, "bf16": 0.97, "int8": 0.97}
"""The least share of images (multi-label: of decisions) on which both must say the same."""

COSINE = {"f32": 0.999, "bf16": 0.99, "int8": 0.97}
"""The least median cosine between both embeddings: what wrong preprocessing moves first, labels left alone or not."""

BATCHES = (1, 32)
"""Batch sizes that are timed."""

_WORST = 10


@dataclass(frozen=True)
class Difference:
    """One image on which both differ: the largest difference of a probability, and what each says."""

    file: str
    difference: float
    artifact: str | tuple[str, ...]
    exported: str | tuple[str, ...]


@dataclass(frozen=True)
class Parity:
    """One file in one precision against the saved model in float32.

    Attributes
    ----------
    precision:
        ``f32``, ``bf16`` or, whatever computes the rest, ``int8``; the bars are its.
    computed_in, engine:
        What computed it.
    agreement, agreement_bar:
        Share of images with the same decision, and what is wanted.
    largest_difference, mean_difference:
        Of a probability, over all images and classes.
    cosine, cosine_bar:
        Median cosine similarity of the embeddings, and what is wanted.
    score, artifact_score, exported_score:
        Accuracy; for multi-label the share of right decisions.
    score_difference, score_difference_ci95:
        Exported minus artifact, paired (bootstrap); no interval where both are right on the same images.
    worst:
        The images that differ most.
    faults:
        Why it is below the bar; empty where it is not.
    """

    precision: str
    computed_in: Precision
    engine: str
    agreement: float
    agreement_bar: float
    largest_difference: float
    mean_difference: float
    cosine: float
    cosine_bar: float
    score: str
    artifact_score: float
    exported_score: float
    score_difference: float
    score_difference_ci95: Interval | None
    latency: tuple[Latency, ...]
    worst: tuple[Difference, ...]
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it may be kept."""
        return not self.faults


@dataclass(frozen=True, eq=False)
class Reference:
    """What the saved model says in float32: rows that could be decoded, probabilities (n, C) and embeddings (n, D)."""

    rows: Rows
    probabilities: Floats
    embeddings: npt.NDArray[np.float32]
    thresholds: Floats | None
    task: str
    classes: tuple[str, ...]


def reference_of(model: Model, rows: Rows) -> Reference:
    """Ask the saved model; images that it can't decode are left out."""
    answers = model.predict(list(rows.images))
    kept = rows.select([place for place, answer in enumerate(answers) if answer.error is None])
    probabilities = np.array([list(answer.probabilities.values()) for answer in answers if answer.error is None])
    record = model.record
    embeddings = model.embed(list(kept.images))
    return Reference(kept, probabilities, embeddings, decision_of(record), record.task, record.classes)


def compare(exported: ExportedModel, reference: Reference) -> Parity:
    """Run a loaded export on the same bytes, through its own decoding, and set its answers beside the reference's."""
    rows = reference.rows
    answers = exported.predict(list(rows.images))
    width = len(reference.classes)
    found = np.array([list(answer.probabilities.values()) or [np.nan] * width for answer in answers])
    embeddings = np.array([_row(answer, exported.record.embedding) for answer in answers])
    gap = np.nan_to_num(np.abs(found - reference.probabilities), nan=1.0).max(axis=1)
    same = _decisions(found, reference) == _decisions(reference.probabilities, reference)
    right, wanted = (_right(part, reference) for part in (found, reference.probabilities))
    paired = paired_difference(-right, -wanted, rows.groups)
    interval = None if paired.ci95 is None else (-paired.ci95[1], -paired.ci95[0])
    kind = "int8" if exported.record.weights == "int8" else exported.precision
    agreement, cosine = float(same.mean()), float(np.median(_cosine(embeddings, reference.embeddings)))
    return Parity(
        precision=kind,
        computed_in=exported.precision,
        engine=exported.engine,
        agreement=agreement,
        agreement_bar=AGREEMENT[kind],
        largest_difference=float(gap.max()),
        mean_difference=float(np.nan_to_num(np.abs(found - reference.probabilities), nan=1.0).mean()),
        cosine=cosine,
        cosine_bar=COSINE[kind],
        score="accuracy" if reference.task == "classification" else "right decisions",
        artifact_score=float(wanted.mean()),
        exported_score=float(right.mean()),
        score_difference=float((right - wanted).mean()),
        score_difference_ci95=interval,
        latency=tuple(_time(exported, rows.images, batch) for batch in BATCHES),
        worst=_most_different(gap, found, reference),
        faults=tuple(_faults(agreement, cosine, interval, kind)),
    )


def _faults(agreement: float, cosine: float, interval: Interval | None, kind: str) -> list[str]:
    found = []
    if not agreement >= AGREEMENT[kind]:
        found.append(f"it agrees on {agreement:.1%}, {AGREEMENT[kind]:.0%} are wanted")
    if not cosine >= COSINE[kind]:
        found.append(f"its embeddings have a median cosine of {cosine:.4f}, {COSINE[kind]:g} is wanted")
    if interval is not None and interval[1] < 0:
        found.append(f"its score is lower by {-interval[1]:.3f} to {-interval[0]:.3f}")
    return found


def _decisions(probabilities: Floats, reference: Reference) -> npt.NDArray[Any]:
    """What is decided: class numbers (n,), or booleans (n, C)."""
    thresholds = reference.thresholds
    if reference.task == "classification":
        return np.where(np.isnan(probabilities).any(1), -1, name_classes(probabilities, thresholds))
    return np.asarray(probabilities >= (0.5 if thresholds is None else thresholds))


def _right(probabilities: Floats, reference: Reference) -> Floats:
    """How right each row is, (n,) in 0…1: 1 or 0, or the share of right decisions."""
    hits = _decisions(probabilities, reference) == reference.rows.truth
    return np.asarray(hits.astype(np.float64).reshape(len(hits), -1).mean(axis=1))


def _most_different(gap: Floats, found: Floats, reference: Reference) -> tuple[Difference, ...]:
    task = TASKS[reference.task]
    order = np.argsort(-gap, kind="stable")[:_WORST]
    wanted, said = (
        task.labels(part[order], reference.classes, reference.thresholds) for part in (reference.probabilities, found)
    )
    return tuple(
        Difference(reference.rows.names[place], float(gap[place]), _frozen(a), _frozen(b))
        for place, a, b in zip(order, wanted, said, strict=True)
    )


def _frozen(label: str | Sequence[str]) -> str | tuple[str, ...]:
    return label if isinstance(label, str) else tuple(label)


def _row(answer: Prediction, width: int) -> npt.NDArray[np.float32]:
    return answer.embedding if answer.error is None else np.full(width, np.nan, np.float32)


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Floats:
    """Cosine of each pair of rows, (n,); 0 where one is empty or not finite."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (left * right).sum(1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    return np.where(np.isfinite(found), found, 0.0)


def _time(exported: ExportedModel, images: tuple[bytes, ...], batch: int) -> Latency:
    """With one real image, repeated: the first that can be decoded."""
    image = exported.prepare(images[0])
    prepared = [image] * batch
    return measure(lambda: exported.run(prepared), batch)
