"""Decisions that follow from what the data is: counts, balance, groups, shapes and the domain gap."""

from __future__ import annotations

from typing import Literal

from headstart.planning.domain_gap import DomainGap
from headstart.planning.empirical_rules import cuts_of, expected_gains, rung_in_full
from headstart.planning.gap_reading import level_of, which_fit
from headstart.planning.plan import Decision, Validation
from headstart.planning.prior import TABLE, PriorTable
from headstart.planning.refolding import deals_for
from headstart.planning.rule_table import (
    ENOUGH_VALIDATION_ROWS,
    FEW_PER_CLASS,
    FOLDS,
    IMBALANCED,
    LEAST_PER_CLASS,
    MANY_PER_CLASS,
)
from headstart.planning.situation import Situation

_LIKE = {"fits": "like", "partly": "partly like", "far": "unlike"}


def crop_rule(situation: Situation) -> tuple[Literal["crop", "squash"], Decision]:
    """How images that are not square become square, unless :mod:`headstart.planning.long_images` has decided it."""
    lost = {"crop_loss": situation.crop_loss}
    if situation.aspect == "squash":
        return "squash", Decision("crop", "fingerprint", "squash", "the weights were made for squashed images", lost)
    reason = f"a centre crop cuts off {situation.crop_loss:.0%} of the typical image, as the weights expect"
    return "crop", Decision("crop", "fingerprint", "crop", reason, lost)


def metric_rule(metric: str, situation: Situation) -> Decision:
    """The metric is the person's; where classes are far from equally frequent, a hint which one counts them alike."""
    numbers = {"imbalance": situation.imbalance}
    if situation.imbalance < IMBALANCED or situation.task != "classification":
        return Decision("metric", "fingerprint", metric, "asked for, or the usual one", numbers)
    times = f"the most frequent class has {situation.imbalance:.1f} times the images of the least frequent"
    hint = "it counts rare classes as much as frequent ones"
    if metric == "accuracy":
        hint = "if rare classes matter as much, take --metric balanced_accuracy"
    return Decision("metric", "fingerprint", metric, f"{times}: {hint}", numbers)


def validation_of(rows: int, groups: int, *, given: bool) -> Validation:
    """What judges the rungs: the user's own split where one is given, else folds, dealt several times where few."""
    if given:
        return Validation("split", 1, 1, groups < rows)
    times = deals_for(groups)
    return Validation("repeated_folds" if times > 1 else "folds", FOLDS, times, groups < rows)


def validation_rule(situation: Situation) -> tuple[Validation, Decision]:
    """What judges the rungs, and why."""
    found = validation_of(situation.rows, situation.groups, given=situation.validation_rows > 0)
    numbers = {"rows": float(situation.rows), "validation_rows": float(situation.validation_rows)}
    together = " (images of a group stay together)" if situation.grouped else ""
    if situation.validation_rows:
        held, value = situation.validation_rows, "split"
        reason = f"your validation split has {held} images"
    else:
        kind, units = ("groups", situation.groups) if situation.grouped else ("images", situation.rows)
        held, times = units // FOLDS, found.repeats
        numbers["deals"] = float(times)
        several = f", dealt {times} times, as {units} {kind} are few" if times > 1 else ""
        value = f"{FOLDS} folds" + (f", {times} times" if times > 1 else "")
        reason = f"probes are judged on {FOLDS} stratified folds{several}"
        if _can_train_stages(situation):
            reason += f"; rungs that train stages on the first fold, of {held} {kind}"
    few = f": fewer than the {ENOUGH_VALIDATION_ROWS} that a choice wants, so the prior has its say"
    reason += together + (few if held < ENOUGH_VALIDATION_ROWS and _can_train_stages(situation) else "")
    return found, Decision("validation", "fingerprint", value, reason, numbers)


def tuning_rule(situation: Situation, *, table: PriorTable = TABLE) -> tuple[bool, Decision]:
    """Whether rungs that train stages can be tried at all, with the cell of the field's matrix and what is expected."""
    numbers = {"rows": float(situation.rows), "class_median": situation.class_median}
    numbers |= _gap_numbers(situation.gap)
    cell = f"{_size(situation)}{_similarity(situation.gap)}"
    if not situation.trainable:
        reason = f'{cell}; what trains stages is not installed: pip install "headstart[train]"'
        return False, Decision("tuning", "fingerprint", "no", reason, numbers)
    if not _can_train_stages(situation):
        reason = f"{cell}: a fold could hold no image of a typical class back, so nothing would say whether it helped"
        return False, Decision("tuning", "fingerprint", "no", reason, numbers)
    layers = which_fit(situation.gap) if situation.gap else ""
    reason = f"{cell}: {'; '.join(filter(None, (layers, _expected(situation, table))))}"
    return True, Decision("tuning", "fingerprint", "yes", reason, numbers)


def _can_train_stages(situation: Situation) -> bool:
    """Whether rungs that train stages can be tried: what they need is installed, and a fold can judge them."""
    return situation.trainable and situation.class_median >= LEAST_PER_CLASS


def _size(situation: Situation) -> str:
    typical = situation.class_median
    word = "few" if typical < FEW_PER_CLASS else "many" if typical >= MANY_PER_CLASS else "some"
    return f"{word} images a class ({typical:g} in the middle, {situation.rows} in all)"


def _similarity(gap: DomainGap | None) -> str:
    if gap is None:
        return ", how like the source's they are was not measured"
    found = level_of(gap)
    if found is None:
        return ", too few to say how like the source's they are"
    return f", {_LIKE[found]} those of the source (gap {gap.total.value:.2f})"


def _expected(situation: Situation, table: PriorTable) -> str:
    """What the prior expects of the most promising cut; how far the domain is has no part in it."""
    gains = expected_gains(situation, cuts_of(situation.stages), table=table)
    if not gains:
        return "rungs are tried from the top down"
    cut, best = max(gains.items(), key=lambda item: item[1].points)
    points = f"{max(best.points, 0.0):.1f}"
    most = "nothing" if points == "0.0" else f"up to {points} points ({rung_in_full(cut).name})"
    return f"from size and probe, fine-tuning is expected to add {most}"


def _gap_numbers(gap: DomainGap | None) -> dict[str, float]:
    if gap is None:
        return {}
    parts = {"total": gap.total, "early": gap.early, "middle": gap.middle, "late": gap.late}
    return {f"gap_{name}": part.value for name, part in parts.items()}
