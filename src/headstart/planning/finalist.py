"""The model that is kept: one network, or for the best quality several averaged, and what is saved of it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.artifact.saved import (
    FORMAT,
    Evidence,
    Member,
    MemberRecord,
    ModelRecord,
    SavedModel,
    image_marks,
    write_model,
)
from headstart.data import Dataset
from headstart.evaluation.abstention import fit_abstain
from headstart.evaluation.details import has_thresholds, one_hot
from headstart.evaluation.operating_points import OperatingPoint, fit_points
from headstart.features.engine import CompiledTrunk
from headstart.planning.climbing import Climb
from headstart.planning.fine_tuning import Site
from headstart.planning.judging import TOP, Fitted, Judged, judge_validation, refit_best
from headstart.planning.ladder import Climbed
from headstart.planning.options import Options
from headstart.planning.rule_table import ABSTAIN_ERROR
from headstart.planning.tuning import TunedRung, history_csv
from headstart.runs import Stopwatch
from headstart.tasks import TASKS
from headstart.training.calibrate import Floats
from headstart.training.examples import Examples, Ints
from headstart.training.gathering import extract_all
from headstart.training.novelty import fit_novelty
from headstart.training.strategies import outputs_of

if TYPE_CHECKING:
    from headstart.training.finetuning.wish import Tuned

# Up to this many images the fits' matrices are too small to gain from several threads on a laptop's cores.
SMALL = 5000


@dataclass(frozen=True, eq=False)
class Finalist:
    """A network that is kept: its trunk, head and tuned weights, the rows as it sees them, and who judged it.

    Attributes
    ----------
    others:
        Further networks whose probabilities are averaged with this one's, each with its weight.
    """

    compiled: CompiledTrunk
    fitted: Fitted
    validation: Judged
    read: Examples
    tuned: Tuned | None
    others: tuple[tuple[float, Finalist], ...] = ()

    def predict(self, places: Ints) -> Floats:
        """Calibrated probabilities, float64 (n, C), of some rows of the table."""
        own = (1 - sum(weight for weight, _ in self.others)) * self.fitted.predict(self.read, places)
        return np.asarray(own + sum(weight * other.predict(places) for weight, other in self.others))

    def cut(self) -> int:
        """The stages below it are as pretrained."""
        return self.compiled.trunk.stop if self.tuned is None else self.tuned.cut


def of_probes(climbed: Climbed, compiled: CompiledTrunk, site: Site) -> Finalist:
    """The best probe, fitted on all development rows."""
    validation = judge_validation(climbed, site.examples, grouped=site.dataset.has_groups, given=site.given)
    return Finalist(compiled, refit_best(climbed, site.examples, site.left), validation, site.examples, None)


def of_rung(rung: TunedRung, site: Site, clock: Stopwatch) -> Finalist:
    """A fine-tuned rung, with the features that its network gives to all images; its own files are written."""
    site.run.write("history.csv", history_csv(rung.tuned.history))
    site.run.write("augmentations.png", rung.augmentations())
    with clock.section("features"):
        _, table = extract_all(site.dataset, rung.compiled, site.progress, site.say)
    read = dataclasses.replace(rung.examples, table=table, places=site.examples.places)
    return Finalist(rung.compiled, rung.fitted, rung.validation, read, rung.tuned)


def of_climb(climb: Climb, compiled: CompiledTrunk, site: Site, clock: Stopwatch) -> Finalist:
    """What a climb ended with: a probe, a fine-tuned rung, or an average, whose heaviest member is the first."""
    average = climb.average
    if average is None:
        return of_probes(climb.probes, compiled, site) if climb.chosen is None else of_rung(climb.chosen, site, clock)
    members = [
        of_rung(average.tuned[name], site, clock)
        if name in average.tuned
        else of_probes(climb.probes.choosing(name), compiled, site)
        for name in average.weights
    ]
    weighted = sorted(zip(average.weights.values(), members, strict=True), key=lambda pair: -pair[0])
    first = weighted[0][1]
    return dataclasses.replace(
        first,
        fitted=dataclasses.replace(first.fitted, thresholds=average.thresholds),
        validation=dataclasses.replace(average.validation, thresholds=average.thresholds),
        others=tuple(weighted[1:]),
    )


def save(finalist: Finalist, site: Site, options: Options) -> ModelRecord:
    """Write the artifact into the run, and give its record."""
    return write_model(site.run.path("model"), model_of(finalist, site, options))


def model_of(finalist: Finalist, site: Site, options: Options) -> SavedModel:
    """Everything that goes into the artifact."""
    dataset, backbone, examples = site.dataset, site.backbone, site.examples
    fitted, validation, compiled = finalist.fitted, finalist.validation, finalist.compiled
    with blas_threads(len(dataset)):
        top = finalist.read.features(TOP)
        novelty = fit_novelty(top, examples.encoded, groups=examples.groups, seed=options.seed)
    task = TASKS[dataset.task]
    confidence = task.confidence(validation.probabilities, fitted.thresholds)
    correct = task.correct(validation.targets, validation.probabilities, fitted.thresholds)
    record = ModelRecord(
        format=FORMAT,
        headstart=importlib.metadata.version("headstart"),
        task=dataset.task,
        strategy=fitted.strategy.name,
        metric=options.metric,
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        licence=backbone.licence,
        preprocessing=backbone.preprocessing,
        stages=len(backbone.stages),
        cut=finalist.cut(),
        outputs=outputs_of(fitted.strategy, compiled.trunk.columns),
        classes=dataset.classes,
        temperature=fitted.temperature,
        thresholds=_plain(fitted.thresholds, 1),
        costs=_plain(fitted.thresholds, 2),
        points=points_of(validation, dataset),
        abstain=fit_abstain(confidence, correct, ABSTAIN_ERROR),
        novelty_threshold=novelty.threshold,
        novelty_neighbour=novelty.neighbour,
        novelty_quantile=novelty.quantile,
        engine=compiled.identity,
        versions={name: importlib.metadata.version(name) for name in ("numpy", "openvino", "pillow", "scipy")},
        seed=options.seed,
        members=tuple(_member_record(weight, other) for weight, other in finalist.others),
    )
    evidence = Evidence(confidence, correct, image_marks(dataset.development().hashes))
    members = tuple(Member(other.fitted.head, _tensors(other)) for _, other in finalist.others)
    return SavedModel(record, fitted.head, novelty, evidence, _tensors(finalist), members)


def points_of(validation: Judged, dataset: Dataset) -> tuple[OperatingPoint, ...]:
    """The operating points that the rows which judged a model choose, where decisions are a matter of thresholds."""
    if not has_thresholds(dataset.task, len(dataset.classes)):
        return ()
    truth = one_hot(validation.targets, len(dataset.classes))
    return fit_points(truth, validation.probabilities, dataset.classes)


def _plain(rule: Floats | None, axes: int) -> Any:
    """How probabilities become decisions as tuples, where it is thresholds (1 axis) or costs (2); else ``None``."""
    if rule is None or rule.ndim != axes:
        return None
    return tuple(map(float, rule)) if axes == 1 else tuple(tuple(map(float, row)) for row in rule)


def _member_record(weight: float, member: Finalist) -> MemberRecord:
    fitted, compiled = member.fitted, member.compiled
    outputs = outputs_of(fitted.strategy, compiled.trunk.columns)
    return MemberRecord(weight, fitted.strategy.name, member.cut(), outputs, fitted.temperature, compiled.identity)


def _tensors(finalist: Finalist) -> Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {} if finalist.tuned is None else finalist.tuned.weights.tensors


def blas_threads(rows: int) -> AbstractContextManager[object]:
    """One thread for small linear algebra: beside other work, several threads mostly wait for one another."""
    if rows > SMALL:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")  # type: ignore[no-any-return]
