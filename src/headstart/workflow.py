"""The whole way in one readable line of functions: load → extract → split → climb → refit → test → save → report."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headstart.artifact.saved import FORMAT, Evidence, ModelRecord, SavedModel, image_marks, write_model
from headstart.auditing.audit import audit_of
from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.backbones.entries import listed_licence
from headstart.backbones.licences import Allowed, check_allowed, require_licence
from headstart.backbones.offline import go_offline
from headstart.data import Dataset, Protocol, Source, load, resolve
from headstart.data.splits import folds
from headstart.errors import DataError, MissingExtraError, OptionError
from headstart.evaluation.abstention import fit_abstain
from headstart.evaluation.metrics import METRICS, score
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, EngineName, Say
from headstart.features.extract import Extraction, extract, probe_trunk
from headstart.features.store import Store
from headstart.features.table import FeatureTable
from headstart.planning.judging import (
    TOP,
    Fitted,
    Judged,
    baseline_scores,
    judge_nested,
    judge_test,
    judge_validation,
    refit_best,
)
from headstart.planning.ladder import Climbed, candidates, climb
from headstart.planning.tuning import TunedRung, history_csv, judge_tuned
from headstart.reporting.predictions import predictions_table
from headstart.reporting.report import write_report
from headstart.runs import Progress, Run, SilentProgress, Stopwatch
from headstart.tasks import TASKS
from headstart.training.examples import Examples
from headstart.training.finetuning.presets import find_preset
from headstart.training.novelty import NoveltyReference, fit_novelty
from headstart.training.strategies import FINE_TUNED, STRATEGIES, outputs_of

if TYPE_CHECKING:
    from headstart.training.finetuning.rung import Tuned, Wish

# The error rate that the saved abstention rule is fitted for; any other can be asked for at prediction.
ABSTAIN_ERROR = 0.05
FOLDS = 5
# What is held out to test a fine-tuned model where the data has no split and is small.
HELD_OUT = 0.2
_FINE_TUNING = ("cut", "epochs", "rate", "views", "augment", "batch_size")
# Up to this many images the fits' matrices are too small to gain from several threads on a laptop's cores.
SMALL = 5000

_LOG = logging.getLogger("headstart")


@dataclass(frozen=True)
class Options:
    """What a run is asked for. The same options on the same data give the same metrics.

    Attributes
    ----------
    backbone:
        A name that :func:`headstart.backbones.catalogue.find_backbone` takes.
    strategy:
        ``auto`` races all strategies; or the name of one.
    test:
        The name of a split to test on, or a fraction to hold out; ``None`` lets the data decide
        (:func:`headstart.data.resolve`).
    metric:
        What governs every choice between strategies.
    seed:
        Of splits, folds and bootstraps.
    engine:
        ``auto``, ``openvino`` or ``torch``.
    root:
        What the paths in a table are relative to; by default the table's folder.
    offline:
        Open no socket, as with ``HEADSTART_OFFLINE=1``.
    licence:
        ``permissive`` refuses weights that are known to be for non-commercial use only; ``any`` takes them.
    image_size:
        Side of the square input, in pixels; by default the one the weights were made for.
    channels:
        Channels of the images: 3 is RGB, 1 grey, other numbers need NumPy arrays or multi-band TIFFs.
    cut:
        For ``partial``: the number of stages that stay frozen.
    epochs, rate, batch_size, views, augment:
        Of fine-tuning; :mod:`headstart.training.finetuning.defaults` has what counts where they are ``None``. The rate
        is the highest stage's. ``views`` is how many augmented views of an image are in use at a time.
    """

    backbone: str = DEFAULT_BACKBONE
    strategy: str = "auto"
    test: str | float | None = None
    metric: str = "accuracy"
    seed: int = 0
    engine: EngineName = "auto"
    root: str | None = None
    offline: bool = False
    licence: Allowed = "permissive"
    image_size: int | None = None
    channels: int = 3
    cut: int | None = None
    epochs: int | None = None
    rate: float | None = None
    views: int | None = None
    augment: str | None = None
    batch_size: int | None = None

    def check(self) -> None:
        """Raise :class:`OptionError` for a value that is not known."""
        if self.metric not in METRICS:
            raise OptionError(f"unknown metric {self.metric!r}: choose one of {', '.join(METRICS)}")
        known = ("auto", *STRATEGIES, *FINE_TUNED)
        if self.strategy not in known:
            raise OptionError(f"unknown strategy {self.strategy!r}: choose one of {', '.join(known)}")
        asked = [name for name in _FINE_TUNING if getattr(self, name) is not None]
        if asked and self.strategy not in FINE_TUNED:
            raise OptionError(
                f"{', '.join(asked)} belong to fine-tuning: add --strategy partial, progressive, full or scratch"
            )
        if self.augment is not None:
            find_preset(self.augment)
        if self.engine not in ("auto", "openvino", "torch"):
            raise OptionError(f"unknown engine {self.engine!r}: choose auto, openvino or torch")
        check_allowed(self.licence)

    def wish(self, rows: int) -> Wish:
        """The fine-tuning that is asked for, of so many training rows: fewer than a usual batch make one batch.

        Raises :class:`OptionError` for a value out of its range.
        """
        from headstart.training.finetuning.defaults import AUGMENT
        from headstart.training.finetuning.recipe import Recipe
        from headstart.training.finetuning.rung import Wish
        from headstart.training.finetuning.view_policy import Policy

        policy = None if self.views is None else Policy("rolling", self.views)
        given = (("epochs", self.epochs), ("rate", self.rate), ("batch_size", self.batch_size), ("policy", policy))
        chosen: dict[str, Any] = {name: value for name, value in given if value is not None}
        usual = Recipe(seed=self.seed)
        recipe = dataclasses.replace(usual, **{"batch_size": min(usual.batch_size, rows), **chosen})
        augment = self.augment or AUGMENT
        return Wish(cast("Any", self.strategy), self.cut, augment=augment, recipe=recipe)


def fit(
    source: Source,
    options: Options | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
    deliver: Callable[[Run], None] = lambda run: None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Adapt a pretrained backbone to ``source`` and keep the evidence.

    Parameters
    ----------
    source:
        What :func:`headstart.load` takes: a folder, a table, a zip, a DataFrame, or ``(images, labels)``.
    options:
        What is wanted; see :class:`Options`.
    out:
        The run folder; by default ``runs/<data name>-<n>`` below the current folder.
    progress:
        Where long work is shown; by default nowhere.
    say:
        Called with a line for each thing a person should hear at once; by default it is logged.
    deliver:
        Called when everything is written, and before the run counts as finished: what is killed before its result was
        shown can be run again.
    stop:
        Asked after each step of a training whether to save its state and end; the same call goes on from there.

    Raises
    ------
    headstart.errors.HeadstartError
        With the file or value and the way out. The store keeps every feature computed until then.
    """
    options, progress, clock = options or Options(), progress or SilentProgress(), Stopwatch()
    options.check()
    if options.offline:
        go_offline()
    with clock.section("load"):  # before there is a run folder, so that a wrong name leaves none behind
        dataset = load(source, root=Path(options.root) if options.root else None)
        backbone = _licensed_backbone(options, say)
    if options.strategy in FINE_TUNED:
        with clock.section("fine-tune"):
            _check_fine_tuning(options, backbone, dataset)
    with Run.create(Path(out) if out else None, dataset.name, _request(source, options), seed=options.seed) as run:
        with clock.section("compile"):
            compiled = compile_trunk(probe_trunk(backbone), engine=options.engine, say=say)
        with clock.section("features"):
            dataset, table = extract_all(dataset, compiled, progress, say)
        with clock.section("train"), _blas_threads(len(dataset)):
            dataset, protocol = _protocol(dataset, options)
            examples = examples_of(dataset, table, compiled.trunk.columns, protocol, options.seed)
            strategies = candidates(options.strategy, examples, options.metric)
            climbed = climb(strategies, examples, metric=options.metric, cut=compiled.trunk.stop, seed=options.seed)
        given, grouped, record = protocol.selection == "val", dataset.has_groups, climbed.record
        if options.strategy in FINE_TUNED:
            with clock.section("fine-tune"):
                rung = _fine_tune(run, dataset, backbone, examples, climbed, options, progress, say, stop, given=given)
            compiled, fitted, validation, record = rung.compiled, rung.fitted, rung.validation, rung.record
            read_by_model, tuned = rung.examples, rung.tuned
        else:
            with clock.section("train"), _blas_threads(len(dataset)):
                fitted = refit_best(climbed, examples)
                validation = judge_validation(climbed, examples, grouped=grouped, given=given)
            read_by_model, tuned = examples, None
        with clock.section("evaluate"), _blas_threads(len(dataset)):
            top = read_by_model.features(TOP)
            novelty = fit_novelty(top, examples.encoded, groups=examples.groups, seed=options.seed)
            if protocol.test == "nested":
                tested = judge_nested(strategies, examples, metric=options.metric, seed=options.seed, grouped=grouped)
            else:
                tested = _meet_test(dataset, read_by_model, fitted, frozen=examples, grouped=grouped)
            model = _model(backbone, compiled, dataset, fitted, novelty, validation, options, tuned)
            metrics = _metrics(model.record, dataset, validation, tested, protocol, options)
        with clock.section("save"):
            write_model(run.path("model"), model)
            run.write("audit.json", audit_of(dataset, protocol))
            run.write("ladder.json", record)
            run.write("predictions.parquet", predictions_table(dataset, (validation, tested)))
            run.write("metrics.json", {**metrics, "seconds": clock.seconds(), "seed": options.seed})
        write_report(run.folder, dataset.read_image)
        deliver(run)
        for checkpoint in run.folder.glob("checkpoint-*.pt"):  # nothing will go on from them
            checkpoint.unlink()
        run.finish()
    return run


def _licensed_backbone(options: Options, say: Say) -> Backbone:
    """The backbone, if its licence is allowed; one that the catalogue lists is refused before anything is fetched."""
    if listed := listed_licence(options.backbone):
        require_licence(options.backbone, listed, options.licence)
    backbone = find_backbone(options.backbone, size=options.image_size, channels=options.channels)
    if terms := require_licence(backbone.name, backbone.licence, options.licence):
        say(terms)
    return backbone


def _check_fine_tuning(options: Options, backbone: Backbone, dataset: Dataset) -> None:
    """Refuse at once what could only fail later; how many rows train isn't known yet, but fewer than there are."""
    if importlib.util.find_spec("lightning") is None:
        raise MissingExtraError(f"--strategy {options.strategy}", "train")
    from headstart.training.finetuning.rung import check_wish

    check_wish(options.wish(len(dataset)), stages=len(backbone.stages), rows=len(dataset))


def _protocol(dataset: Dataset, options: Options) -> tuple[Dataset, Protocol]:
    """Which rows test: fine-tuning can't be repeated for a nested estimate, so then some are held out."""
    found, protocol = resolve(dataset, test=options.test, seed=options.seed)
    if options.strategy in FINE_TUNED and protocol.test == "nested":
        return resolve(dataset, test=HELD_OUT, seed=options.seed)
    return found, protocol


def _fine_tune(
    run: Run,
    dataset: Dataset,
    backbone: Backbone,
    examples: Examples,
    climbed: Climbed,
    options: Options,
    progress: Progress,
    say: Say,
    stop: Callable[[], bool],
    *,
    given: bool,
) -> TunedRung:
    """Train above the cut, and take the features of all images through the tuned backbone."""
    from headstart.training.finetuning.rung import Ground, contact_sheet_of, fine_tune
    from headstart.training.finetuning.views import TrainingImages

    started = time.perf_counter()
    development = dataset.select(examples.places)
    images = TrainingImages(development.read, development.files, development.hashes)
    task, metric = examples.task, options.metric

    def value(targets: Any, found: Any) -> float:
        return score(metric, task.name, targets, found, None)

    ground = Ground(backbone, images, examples, metric, value, options.engine, progress, say, run.folder, stop)
    wish = options.wish(len(examples.folds[0][0]))
    tuned = fine_tune(ground, wish, tell=lambda row: say(row.line()))
    for note in tuned.notes:
        say(note)
    run.write("history.csv", history_csv(tuned.history))
    run.write("augmentations.png", contact_sheet_of(ground, wish, tuned))
    compiled = compile_trunk(probe_trunk(backbone.tuned(tuned.weights.tensors)), engine=options.engine, say=say)
    _, table = extract_all(dataset, compiled, progress, say)
    return judge_tuned(
        tuned,
        FINE_TUNED[options.strategy],
        climbed,
        examples,
        compiled,
        table,
        metric=metric,
        seed=options.seed,
        grouped=dataset.has_groups,
        given=given,
        seconds=time.perf_counter() - started,
    )


def _meet_test(dataset: Dataset, examples: Examples, fitted: Fitted, *, frozen: Examples, grouped: bool) -> Judged:
    """The one place where the rows of the test split are looked up, once everything has been chosen."""
    places = np.flatnonzero(dataset.splits == "test")
    test = dataset.select(places)
    return judge_test(fitted, examples, places, test.targets, test.groups if grouped else None, frozen=frozen)


def _blas_threads(rows: int) -> AbstractContextManager[object]:
    """One thread for small linear algebra: beside other work, several threads mostly wait for one another."""
    if rows > SMALL:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")  # type: ignore[no-any-return]


def _request(source: Source, options: Options) -> dict[str, Any]:
    where = str(Path(source).resolve()) if isinstance(source, str | Path) else "in memory"
    return {"source": where, **dataclasses.asdict(options)}


def extract_all(
    dataset: Dataset, compiled: CompiledTrunk, progress: Progress, say: Say
) -> tuple[Dataset, FeatureTable]:
    """The features of all images that can be decoded, and the data set without the others."""
    with Store.default(say) as store:
        extraction = extract(dataset.read, dataset.files, dataset.hashes, compiled, store, progress)
        _check_decodable(dataset, extraction)
    failures = extraction.failures
    return dataset.leave_out(list(failures), "undecodable", list(failures.values())), extraction.table


def _check_decodable(dataset: Dataset, extraction: Extraction) -> None:
    failures = extraction.failures
    broken = len(failures) + sum(entry.kind == "undecodable" for entry in dataset.left_out)
    total = len(dataset) + len(dataset.left_out)
    if 2 * broken > total:
        example = next(iter(failures.values()), "empty files")
        raise DataError(f"{dataset.name}: {broken} of {total} images can't be decoded, for example {example}")


def examples_of(
    dataset: Dataset, table: FeatureTable, columns: dict[str, slice], protocol: Protocol, seed: int
) -> Examples:
    """The development rows with the folds that judge them; the rows of the test split are left behind here."""
    places = np.flatnonzero(dataset.splits != "test")
    development = dataset.select(places)
    if protocol.selection == "val":
        held = dataset.splits[places] == "val"
        pairs = [(np.flatnonzero(~held), np.flatnonzero(held))]
    else:
        pairs = folds(development.targets, development.groups, FOLDS, seed)
    if not any(len(held) for _, held in pairs):
        raise DataError(
            f"{dataset.name}: too few images are left to hold any out for choices; label more of each class"
        )
    task = TASKS[dataset.task]
    targets, groups = development.targets, development.groups
    return Examples(table, places, columns, targets, len(dataset.classes), groups, tuple(pairs), task)


def _model(
    backbone: Backbone,
    compiled: CompiledTrunk,
    dataset: Dataset,
    fitted: Fitted,
    novelty: NoveltyReference,
    validation: Judged,
    options: Options,
    tuned: Tuned | None,
) -> SavedModel:
    """Everything that goes into the artifact; ``backbone`` is as pretrained."""
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
        cut=compiled.trunk.stop if tuned is None else tuned.cut,
        outputs=outputs_of(fitted.strategy, compiled.trunk.columns),
        classes=dataset.classes,
        temperature=fitted.temperature,
        thresholds=None if fitted.thresholds is None else tuple(map(float, fitted.thresholds)),
        abstain=fit_abstain(confidence, correct, ABSTAIN_ERROR),
        novelty_threshold=novelty.threshold,
        novelty_neighbour=novelty.neighbour,
        novelty_quantile=novelty.quantile,
        engine=compiled.identity,
        versions={name: importlib.metadata.version(name) for name in ("numpy", "openvino", "pillow", "scipy")},
        seed=options.seed,
    )
    fitted_on = image_marks(dataset.development().hashes)
    evidence = Evidence(confidence, correct, fitted_on)
    return SavedModel(record, fitted.head, novelty, evidence, {} if tuned is None else tuned.weights.tensors)


def _metrics(
    record: ModelRecord,
    dataset: Dataset,
    validation: Judged,
    tested: Judged,
    protocol: Protocol,
    options: Options,
) -> dict[str, Any]:
    """``metrics.json``, but for the seconds."""
    task = TASKS[dataset.task]
    return {
        "schema": 1,
        "task": record.task,
        "backbone": record.backbone,
        "licence": record.licence,
        "strategy": record.strategy,
        "cut": record.cut,
        "stages": record.stages,
        "metric": record.metric,
        "engine": record.engine,
        "classes": record.classes,
        "protocol": protocol,
        "splits": {judged.split: judged.scores(task, dataset.classes, options.seed) for judged in (validation, tested)},
        "baselines": baseline_scores(tested, task, options.metric),
        "temperature": record.temperature,
        "abstain": record.abstain,
        "novelty_threshold": record.novelty_threshold,
        "left_out": len(dataset.left_out),
    }
