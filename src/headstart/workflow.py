"""The whole way in one readable line of functions: load → extract → split → climb → refit → test → save → report."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.artifact.saved import ModelRecord, write_model
from headstart.auditing.audit import FILE as AUDIT
from headstart.auditing.audit import TABLE as AUDIT_TABLE
from headstart.auditing.audit import Audit, audit_of, audit_table, detect
from headstart.auditing.copies import require_no_leaks, without_leaks
from headstart.auditing.cross_fit import cross_fitted
from headstart.auditing.material import Material, examine, ruler
from headstart.auditing.rows import audit_rows
from headstart.backbones.offline import go_offline
from headstart.data import Dataset, Protocol, Source, corrections, load, resolve
from headstart.data.grouping import group_by_name
from headstart.explaining.neighbours import training_table
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk, Say
from headstart.features.extract import probe_trunk
from headstart.planning.ascent import TOO_FEW, can_train, climb_within, draft, look, why_not_climb
from headstart.planning.backbone_choice import BackboneChoice, Chooser, entrants_of
from headstart.planning.command import command_of, request_of
from headstart.planning.decisions import Decider, check_decisions
from headstart.planning.finalist import Finalist, blas_threads, model_of, of_climb, of_probes, of_rung
from headstart.planning.fine_tuning import Site, check_fine_tuning, fine_tune_rung
from headstart.planning.following import as_planned, followed
from headstart.planning.judging import (
    Judged,
    baseline_scores,
    judge_nested,
    judge_test,
    unseen_chances,
)
from headstart.planning.ladder import Climbed, LadderRecord, candidates, climb
from headstart.planning.options import Options
from headstart.planning.plan import Plan
from headstart.planning.rule_table import PROBING
from headstart.planning.same_data import identity_of, require_same_data, require_validation, validation_here
from headstart.planning.surveying import situation_of, timings_of
from headstart.reporting.evaluation_record import evaluation_record
from headstart.reporting.illustrations import illustrator_of
from headstart.reporting.predictions import predictions_table
from headstart.reporting.report import write_report
from headstart.reporting.wording import interval_text, metric_text, score_text
from headstart.runs import Progress, Run, SilentProgress, Stopwatch
from headstart.runs.budget import Countdown, Left, at_least, no_end
from headstart.tasks import TASKS
from headstart.training.examples import Examples
from headstart.training.gathering import examples_of, extract_all
from headstart.training.strategies import FINE_TUNED, Strategy

# Images whose pixels the audit of a fit looks at; `headstart audit` looks at all.
LOOKED_AT = 2000
# What is held out to test a fine-tuned model where the data has no split and is small.
HELD_OUT = 0.2

# Over the budget by more than this share, a run says so.
OVERDRAWN = 0.1

_LOG = logging.getLogger("headstart")


def fit(
    source: Source,
    options: Options | None = None,
    *,
    plan: Plan | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
    deliver: Callable[[Run], None] = lambda run: None,
    stop: Callable[[], bool] = lambda: False,
    countdown: Countdown | None = None,
) -> Run:
    """Adapt a pretrained backbone to ``source`` and keep the evidence.

    Parameters
    ----------
    source:
        What :func:`headstart.load` takes: a folder, a table, a zip, a DataFrame, or ``(images, labels)``.
    options:
        What is wanted; see :class:`Options`.
    plan:
        What to follow, in place of the file that the options name.
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
    countdown:
        Of the budget; by default the options' budget from this moment on. A strategy other than ``auto`` has none.

    Raises
    ------
    headstart.errors.HeadstartError
        With the file or value and the way out. The store keeps every feature computed until then.
    """
    progress, clock = progress or SilentProgress(), Stopwatch()
    options, plan = followed(options or Options(), plan)
    # A strategy that was named is seen through.
    countdown = (countdown or Countdown.from_now(options.time())) if options.strategy == "auto" else None
    if options.offline:
        go_offline()
    with clock.section("load"):  # before there is a run folder, so that a wrong name leaves none behind
        dataset = _loaded(source, options)
        costs = check_decisions(options, dataset)
        entrants = entrants_of(options, countdown, say)
        if plan is not None:
            entrants = as_planned(entrants, plan, say)
    if options.strategy in FINE_TUNED:
        with clock.section("fine-tune"):
            for backbone in entrants.backbones:
                check_fine_tuning(options, backbone, dataset)
    request, command = request_of(source, options, dataset), command_of(source, options)
    with Run.create(Path(out) if out else None, dataset.name, request, seed=options.seed, command=command) as run:
        if options.corrections is not None:  # what is judged next is added to them
            run.write(corrections.FILE, Path(options.corrections).read_bytes())
        material = _material(dataset, options, clock, progress, say)
        dataset = _kept(material, options)
        if plan is not None:
            require_same_data(plan, identity_of(dataset))
            require_validation(plan, validation_here(*_protocol(dataset, options)))
        choice = Chooser(options, _protocol, run, countdown, clock, progress, say).choose(dataset, entrants)
        found = _probe(choice, options, countdown, clock, progress, say)
        dataset, given = found.dataset, found.protocol.selection == "val"
        left = no_end if countdown is None else countdown.remaining
        site = Site(run, dataset, choice.backbone, found.examples, found.climbed, given, progress, say, stop, left=left)
        decider = Decider(options.metric, costs, dataset.classes)
        if countdown is None:
            finalist, record = _as_asked(found, site, decider, options, clock)
        else:
            finalist, record = _climbed(found, choice, site, decider, plan, options, countdown, clock)
        with clock.section("evaluate"), blas_threads(len(dataset)):
            model, tested = model_of(finalist, site, options), _tested(found, finalist, decider, options)
            metrics = _metrics(model.record, dataset, finalist.validation, tested, found.protocol, options)
            details = evaluation_record(dataset, finalist.validation, tested, model.record.points, costs, options.seed)
        with clock.section("audit"), blas_threads(len(dataset)):
            audited = _audited(material, found, choice, progress, say, options.seed)
        with clock.section("save"):
            write_model(run.path("model"), model)
            run.write(AUDIT, audited)
            run.write(AUDIT_TABLE, audit_table(audited))
            run.write("ladder.json", record)
            run.write("training.parquet", training_table(dataset))
            run.write("predictions.parquet", predictions_table(dataset, (finalist.validation, tested)))
            run.write("evaluation.json", details)
            run.write("metrics.json", {**metrics, "seconds": clock.seconds(), "seed": options.seed})
        write_report(run.folder, dataset.read_image, illustrator_of(run.folder, dataset.read_image))
        deliver(run)
        for checkpoint in run.folder.rglob("checkpoint-*.pt"):  # nothing will go on from them
            checkpoint.unlink()
        run.finish()
    if countdown is not None and countdown.until_end() < -OVERDRAWN * (countdown.budget.seconds or 0.0):
        say(f"took {countdown.elapsed():.0f} s, more than the budget of {countdown.budget}: allow more with --budget")
    return run


def _as_asked(
    found: _Probed, site: Site, decider: Decider, options: Options, clock: Stopwatch
) -> tuple[Finalist, LadderRecord]:
    """The one strategy that the options name, and how it came out."""
    if options.strategy not in FINE_TUNED:
        return _best_probe(found, site, decider, clock), found.climbed.record
    with clock.section("fine-tune"):
        rung = fine_tune_rung(site, options, site.run.folder)
        if site.stop():  # nobody asks any more
            raise KeyboardInterrupt
    return decider.of(of_rung(rung, site, clock)), rung.record


def _climbed(
    found: _Probed,
    choice: BackboneChoice,
    site: Site,
    decider: Decider,
    plan: Plan | None,
    options: Options,
    countdown: Countdown,
    clock: Stopwatch,
) -> tuple[Finalist, LadderRecord]:
    """The best model found within the budget; the best probe is saved first, so that there is one from then on."""
    finalist = _best_probe(found, site, decider, clock)
    kept_back = why_not_climb(countdown, nested=found.protocol.test == "nested")
    if kept_back is not None:
        site.say(kept_back.reason)
        record = found.climbed.record
        steps, by_clock = (*record.steps, kept_back.reason), record.by_clock or kept_back.by_clock
        return finalist, dataclasses.replace(record, steps=steps, by_clock=by_clock)
    with clock.section("save"):
        write_model(site.run.path("model"), model_of(finalist, site, options))
        site.say(_usable(finalist, site.dataset, countdown, options))
    with clock.section("climb"):
        climbing = climb_within(site, choice, plan, options, found.compiled, countdown)
    if climbing.leaves(found.climbed):
        finalist = decider.of(of_climb(climbing, found.compiled, site, clock))
    return finalist, climbing.record


def _best_probe(found: _Probed, site: Site, decider: Decider, clock: Stopwatch) -> Finalist:
    with clock.section("train"), blas_threads(len(site.dataset)):
        return decider.of(of_probes(found.climbed, found.compiled, site))


def _tested(found: _Probed, finalist: Finalist, decider: Decider, options: Options) -> Judged:
    """How the finalist, or what led to it, does on rows that chose nothing."""
    grouped = found.dataset.has_groups
    if found.protocol.test != "nested":
        return _meet_test(found.dataset, finalist, frozen=found.examples, grouped=grouped)
    return judge_nested(
        found.strategies, found.examples, metric=options.metric, seed=options.seed, grouped=grouped, decide=decider
    )


def _audited(
    material: Material, found: _Probed, choice: BackboneChoice, progress: Progress, say: Say, seed: int
) -> Audit:
    """What was seen before the training, and what the race of the probes tells of single rows."""
    if found.climbed.record.by_clock and len(found.examples.folds) == 1:
        say("the time was over: only the labels of validation images are checked for mistakes, not those that train")
    rows = audit_rows(
        found.dataset,
        found.examples,
        unseen_chances(found.climbed, found.examples, seed),
        choice.backbone.preprocessing,
        progress=progress,
        seed=seed,
        at_most=LOOKED_AT,
    )
    return audit_of(found.dataset, found.protocol, (*detect(material), *rows))


def _usable(finalist: Finalist, dataset: Dataset, countdown: Countdown, options: Options) -> str:
    """What a person has already, and how long more is looked for."""
    scores = finalist.validation.scores(TASKS[dataset.task], dataset.classes, options.seed, options.metric)
    metric = options.metric if scores.get(options.metric) is not None else "accuracy"
    interval = interval_text(metric, scores[f"{metric}_ci95"])
    until = "it no longer pays"
    if not math.isinf(countdown.until_end()):
        until = f"{time.strftime('%H:%M:%S', time.localtime(time.time() + countdown.until_end()))} at the latest"
    said = f"{metric_text(metric)} {score_text(metric, scores[metric])}" + (f" ({interval})" if interval else "")
    return f"usable now: {said}; improving until {until}; Ctrl-C keeps the best"


def plan(
    source: Source,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
    countdown: Countdown | None = None,
) -> Plan:
    """Say what :func:`fit` would do within a budget, and why; nothing is trained but the probes.

    Parameters
    ----------
    source, options, progress, say, countdown:
        As for :func:`fit`.

    Raises
    ------
    headstart.errors.HeadstartError
        As :func:`fit` does.
    """
    progress = progress or SilentProgress()
    options, _ = followed(options or Options())
    countdown = countdown or Countdown.from_now(options.time())
    dataset, clock = _loaded(source, options), Stopwatch()
    check_decisions(options, dataset)
    entrants = entrants_of(options, countdown, say)
    dataset = _kept(_material(dataset, options, clock, progress, say), options)
    choice = Chooser(options, _protocol, None, countdown, clock, progress, say).choose(dataset, entrants)
    backbone, found = choice.backbone, _probe(choice, options, countdown, clock, progress, say)
    dataset, examples = found.dataset, found.examples
    left = countdown.remaining()  # what follows, a fit does not do, or does as it goes
    situation = situation_of(
        look(dataset, examples, backbone, options, progress, say),
        examples,
        found.climbed,
        backbone,
        given=found.protocol.selection == "val",
        trainable=can_train(),
    )
    kept_back = TOO_FEW if found.protocol.test == "nested" else ""
    tunes = situation.trainable and not kept_back
    timings = timings_of(dataset, examples, backbone, found.compiled) if tunes else {}
    return draft(
        examples,
        found.climbed,
        choice,
        situation,
        timings,
        options,
        countdown.budget,
        spare=math.inf,
        left=lambda: left,
        kept_back=kept_back,
    )


def audit(
    source: Source,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    say: Say = _LOG.warning,
) -> Audit:
    """Say what is wrong with labelled images, row by row; nothing is kept, moved or removed.

    Parameters
    ----------
    source, options, progress, say:
        As for :func:`fit`; of the options only ``root``, ``group_by``, ``channels`` and ``engine`` play a part.

    Raises
    ------
    headstart.errors.HeadstartError
        If the data can't be loaded, or over half of them not decoded.
    """
    options, progress = options or Options(), progress or SilentProgress()
    options.check()
    clock, compiled = Stopwatch(), ruler(options.channels, options.engine, say)
    material = _material(_loaded(source, options), options, clock, progress, say)
    dataset, table = extract_all(material.dataset.with_families(material.families), compiled, progress, say)
    dataset, protocol = resolve(dataset, test=None, seed=options.seed)
    with blas_threads(len(dataset)):
        examples = examples_of(dataset, table, compiled.trunk.columns, protocol, options.seed)
        chances, look = cross_fitted(examples, seed=options.seed), compiled.trunk.backbone.preprocessing
        rows = audit_rows(dataset, examples, chances, look, progress=progress, seed=options.seed)
    return audit_of(dataset, findings=(*detect(material), *rows))


def _loaded(source: Source, options: Options) -> Dataset:
    """The data, with corrected labels, and with the groups that are to be read from file names."""
    root, file = options.root, options.corrections
    dataset = load(source, root=Path(root) if root else None, corrections=Path(file) if file else None)
    return dataset if options.group_by is None else group_by_name(dataset, options.group_by)


def _material(dataset: Dataset, options: Options, clock: Stopwatch, progress: Progress, say: Say) -> Material:
    """What the audit rests on; the features come from the store, or are there for what follows."""
    with clock.section("compile"):
        compiled = ruler(options.channels, options.engine, say)
    with clock.section("features"):
        dataset, table = extract_all(dataset, compiled, progress, say)
    with clock.section("audit"), blas_threads(len(dataset)):
        return examine(dataset, table, compiled.trunk.columns["features"], progress, say)


def _kept(material: Material, options: Options) -> Dataset:
    """The rows to work on, copies of one picture as one group.

    Raises
    ------
    LeakError
        If such copies lie in several of the user's splits, and nothing is said of what to do then.
    """
    if not (options.allow_leaks or options.fix_leaks):
        require_no_leaks(material)
    dataset = material.dataset.with_families(material.families)
    return without_leaks(material, dataset) if options.fix_leaks else dataset


@dataclass(frozen=True, eq=False)
class _Probed:
    """What all strategies begin with: the features of all images, who judges, and the race of the probes."""

    dataset: Dataset
    protocol: Protocol
    compiled: CompiledTrunk
    examples: Examples
    strategies: list[Strategy]
    climbed: Climbed


def _probe(
    choice: BackboneChoice,
    options: Options,
    countdown: Countdown | None,
    clock: Stopwatch,
    progress: Progress,
    say: Say,
) -> _Probed:
    with clock.section("compile"):
        compiled = compile_trunk(probe_trunk(choice.backbone), engine=options.engine, say=say)
    with clock.section("features"):
        dataset, table = extract_all(choice.dataset, compiled, progress, say)
    with clock.section("train"), blas_threads(len(dataset)):
        dataset, protocol = _protocol(dataset, options)
        examples = examples_of(dataset, table, compiled.trunk.columns, protocol, options.seed)
        strategies = candidates(options.strategy, examples, options.metric)
        climbed = climb(
            strategies,
            examples,
            metric=options.metric,
            cut=compiled.trunk.stop,
            seed=options.seed,
            left=_left_to_probe(countdown),
        )
    for step in climbed.record.steps:
        say(step)
    return _Probed(dataset, protocol, compiled, examples, strategies, climbed)


def _left_to_probe(countdown: Countdown | None) -> Left:
    """Tells the seconds that the probes have: a few in all they may always take, as there is no result without one."""
    return no_end if countdown is None else at_least(PROBING, countdown.remaining)


def _protocol(dataset: Dataset, options: Options) -> tuple[Dataset, Protocol]:
    """Which rows test: neither fine-tuning nor a race is repeated for a nested estimate, so then some are held out."""
    found, protocol = resolve(dataset, test=options.test, seed=options.seed)
    if (options.strategy in FINE_TUNED or options.backbones is not None) and protocol.test == "nested":
        found, protocol = resolve(dataset, test=HELD_OUT, seed=options.seed)
    return corrections.with_test_note(found, nested=protocol.test == "nested"), protocol


def _meet_test(dataset: Dataset, finalist: Finalist, *, frozen: Examples, grouped: bool) -> Judged:
    """The one place where the rows of the test split are looked up, once everything has been chosen."""
    places = np.flatnonzero(dataset.splits == "test")
    test = dataset.select(places)
    groups = test.groups if grouped else None
    predicted, thresholds = finalist.predict(places), finalist.fitted.thresholds
    return judge_test(predicted, thresholds, places, test.targets, groups, frozen=frozen)


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
        "members": [{"weight": one.weight, "strategy": one.strategy, "cut": one.cut} for one in record.members],
        "metric": record.metric,
        "engine": record.engine,
        "classes": record.classes,
        "protocol": protocol,
        "splits": {
            judged.split: judged.scores(task, dataset.classes, options.seed, options.metric)
            for judged in (validation, tested)
        },
        "baselines": baseline_scores(tested, task, options.metric),
        "temperature": record.temperature,
        "abstain": record.abstain,
        "novelty_threshold": record.novelty_threshold,
        "left_out": len(dataset.left_out),
    }
