"""The rules of a plan: what follows from the data and from what was measured, each with its reason."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import RecordError
from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.drafting import Wanted, draft_plan
from headstart.planning.empirical_rules import Timing, cuts_of, expected_gains, rungs_rule
from headstart.planning.fingerprint_rules import crop_rule, metric_rule, tuning_rule, validation_rule
from headstart.planning.forecast import AccuracyForecast
from headstart.planning.layer_map import LayerMap, StageProbe
from headstart.planning.outlook import Outlook
from headstart.planning.plan import DataIdentity, Decision, Plan, check_plan
from headstart.planning.rule_table import DEALS, LEAST_EPOCHS, TIME_SAFETY
from headstart.planning.situation import ProbeScore, Situation
from headstart.planning.time_forecast import Rates, Work
from headstart.records import from_json, to_json
from headstart.runs.budget import Budget
from headstart.training.finetuning.defaults import EPOCHS
from headstart.training.finetuning.recipe import Recipe


def _gap(total: float, early: float, late: float) -> DomainGap:
    parts = (Estimate(value, 0.005) for value in (total, early, (early + late) / 2, late))
    return DomainGap("mine", None, *parts, 192, None)


def _situation(**changes: Any) -> Situation:
    usual = Situation(
        task="classification",
        rows=280,
        classes=7,
        class_min=35,
        class_median=40.0,
        class_max=45,
        groups=280,
        validation_rows=0,
        gap=_gap(0.39, 0.3, 0.4),
        probe=ProbeScore(0.81, 0.6, 280, 0.16, 1.9, 0.05, 0.81),
        crop_loss=0.1,
        stages=9,
        image_size=224,
        aspect="crop",
        trainable=True,
    )
    return dataclasses.replace(usual, **changes)


def _timing(step: float = 100.0) -> Timing:
    """An epoch on 220 rows, with 60 held: 3 s."""
    work = Work(train_rows=220, held_rows=60, embedded=400, views=8, epochs=EPOCHS, judgings=EPOCHS + 3)
    return Timing(Rates(2.0, 400.0, step, 75.0, 400.0), work)


TIMINGS = {7: _timing(), 4: _timing(50.0), 0: _timing(25.0)}


@pytest.mark.parametrize("aspect", ["crop", "squash"])
def test_the_crop_of_a_plan_is_what_the_backbone_does(aspect: Any) -> None:
    crop, decision = crop_rule(_situation(crop_loss=0.7, aspect=aspect))
    assert crop == decision.value == aspect
    assert decision.numbers["crop_loss"] == 0.7


def test_rare_classes_bring_a_hint_and_leave_the_metric_alone() -> None:
    rare = _situation(class_min=5, class_max=60)
    hint = metric_rule("accuracy", rare)
    assert (hint.value, hint.numbers["imbalance"]) == ("accuracy", 12.0)
    assert "12.0 times" in hint.reason
    assert "--metric balanced_accuracy" in hint.reason
    assert "--metric" not in metric_rule("macro_f1", rare).reason
    assert "--metric" not in metric_rule("accuracy", _situation()).reason


def test_the_users_split_judges_where_there_is_one_and_few_rows_are_said_to_be_few() -> None:
    for own, rows, method, few in ((250, 1000, "split", False), (49, 280, "split", True), (0, 1200, "folds", False)):
        found, decision = validation_rule(_situation(validation_rows=own, rows=rows, groups=rows))
        assert (found.method, found.repeats, decision.kind) == (method, 1, "fingerprint")
        assert ("fewer than the 200" in decision.reason) == few
    assert "of 56 images" in validation_rule(_situation(rows=280, groups=280))[1].reason


def test_groups_are_what_counts() -> None:
    found, decision = validation_rule(_situation(rows=5000, groups=100))
    assert (found.method, found.grouped) == ("repeated_folds", True)
    assert "of 20 groups" in decision.reason
    assert "stay together" in decision.reason


def test_few_rows_are_said_to_be_dealt_several_times() -> None:
    for rows, groups, times in ((199, 199, DEALS), (200, 200, 1), (5000, 199, DEALS), (5000, 200, 1)):
        found, decision = validation_rule(_situation(rows=rows, groups=groups))
        assert (found.method, found.repeats) == (("repeated_folds", DEALS) if times > 1 else ("folds", 1))
        assert (f"dealt {times} times" in decision.reason) == (times > 1)
        assert decision.numbers["deals"] == times
    own = validation_rule(_situation(rows=100, groups=100, validation_rows=30))[0]
    assert (own.method, own.repeats) == ("split", 1)


def test_the_reason_reads_as_advice() -> None:
    top = tuning_rule(_situation(gap=_gap(0.1, 0.02, 0.2)))[1].reason
    assert top.startswith(
        "some images a class (40 in the middle, 280 in all), partly like those of the source (gap 0.10)"
    )
    assert "the first layers fit, the middle fit only in part, the last do not fit" in top
    few = tuning_rule(_situation(class_median=10))[1].reason
    assert few.startswith("few images a class")
    many = tuning_rule(_situation(class_median=300))[1].reason
    assert many.startswith("many images a class")
    assert "not measured" in tuning_rule(_situation(gap=None))[1].reason
    unsure = dataclasses.replace(_gap(0.1, 0.02, 0.2), images=4)
    reason = tuning_rule(_situation(gap=unsure, rows=4))[1].reason
    assert "4 in all), too few to say how like the source's they are: " in reason


def test_what_fine_tuning_is_expected_to_add_is_what_the_rungs_say_whatever_the_gap() -> None:
    for gap in (_gap(0.02, 0.02, 0.02), _gap(0.4, 0.4, 0.4), None):
        situation = _situation(gap=gap)
        best = max(expected_gains(situation, cuts_of(9)).values(), key=lambda gain: gain.points)
        reason = tuning_rule(situation)[1].reason
        assert reason.endswith(
            f"from size and probe, fine-tuning is expected to add up to {best.points:.1f} points (full)"
        )
        assert f"full ({best.points:+.1f}" in rungs_rule(situation, {}, math.inf)[1][0].reason
    solved = _situation(probe=ProbeScore(1.0, 0.01, 280, 0.16, 1.9, 0.01, 1.0))
    assert tuning_rule(solved)[1].reason.endswith("fine-tuning is expected to add nothing")
    assert tuning_rule(_situation(probe=None))[1].reason.endswith(" rungs are tried from the top down")


def test_nothing_is_tuned_where_it_cannot_be_or_could_not_be_judged() -> None:
    wanted, decision = tuning_rule(_situation(trainable=False))
    assert not wanted
    assert "headstart[train]" in decision.reason
    wanted, decision = tuning_rule(_situation(class_median=2.0, class_min=2, rows=14))
    assert not wanted
    assert "few images a class" in decision.reason
    assert tuning_rule(_situation())[0]
    judged = validation_rule(_situation(class_median=2.0, class_min=2, rows=14, groups=14))[1].reason
    assert judged == "probes are judged on 5 stratified folds, dealt 3 times, as 14 images are few"


@pytest.mark.parametrize(
    ("stages", "cuts"), [(9, (7, 4, 0)), (12, (10, 6, 0)), (4, (2, 0)), (3, (1, 0)), (2, (0, 1)), (1, (0,))]
)
def test_cuts(stages: int, cuts: tuple[int, ...]) -> None:
    assert cuts_of(stages) == cuts


def test_with_time_every_rung_is_planned_in_full() -> None:
    rungs, decisions = rungs_rule(_situation(), TIMINGS, math.inf)
    assert [(rung.cut, rung.epochs, rung.views) for rung in rungs] == [
        (7, EPOCHS, 4),
        (4, EPOCHS, 4),
        (0, EPOCHS, None),
    ]
    assert [rung.strategy for rung in rungs] == ["partial", "partial", "full"]
    assert not any(decision.by_clock for decision in decisions)
    assert all(rung.gain is not None and rung.gain.points > 0 for rung in rungs)
    assert decisions[0].numbers["full.gain"] == rungs[2].gain.points  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.floats(-10, 1000))
def test_what_is_planned_fits_into_the_time(seconds: float) -> None:
    rungs, decisions = rungs_rule(_situation(), TIMINGS, seconds)
    assert TIME_SAFETY * sum(rung.seconds or 0 for rung in rungs) <= max(seconds, 0) + 1e-6
    assert all(LEAST_EPOCHS <= (rung.epochs or 0) <= EPOCHS for rung in rungs)
    shortened = {rung.name for rung in rungs if rung.epochs != EPOCHS}
    left_out = {name for name in ("partial above cut 7", "partial above cut 4", "full") if name not in
                {rung.name for rung in rungs}}  # fmt: skip
    by_clock = {decision.key.removesuffix(".epochs") for decision in decisions if decision.by_clock}
    assert by_clock == shortened | left_out


def test_a_short_budget_shortens_the_first_and_leaves_out_the_rest() -> None:
    rungs, decisions = rungs_rule(_situation(), TIMINGS, 45.0)
    assert [rung.cut for rung in rungs] == [7]
    assert LEAST_EPOCHS <= (rungs[0].epochs or 0) < EPOCHS
    reasons = {decision.key: decision.reason for decision in decisions}
    assert "which the time left holds; 12 would be usual" in reasons["partial above cut 7.epochs"]
    assert reasons["full.epochs"].startswith("left out: 4 epochs take about")
    none, decisions = rungs_rule(_situation(), TIMINGS, 0.0)
    assert none == ()
    assert decisions[0].value == "none"
    needed = min(found.numbers["seconds"] for found in decisions[1:]) * TIME_SAFETY
    assert f"--budget with about {math.ceil(needed)} s more would let the shortest be tried" in decisions[0].reason


def test_a_cut_that_was_not_timed_is_planned_without_a_forecast() -> None:
    rungs, _ = rungs_rule(_situation(), {}, 10.0)
    assert [rung.seconds for rung in rungs] == [None, None, None]


def test_before_the_probe_no_gain_is_claimed() -> None:
    assert expected_gains(_situation(probe=None), (7, 4)) == {}
    assert list(expected_gains(_situation(), (7, 4))) == [7, 4]


WANTED = Wanted("bundled/tf_efficientnet_lite0", "accuracy", Budget.minutes(2), "balanced", None, None, 0)


def _draft(situation: Situation, seconds: float = 90.0) -> Plan:
    return draft_plan(WANTED, DataIdentity("mine", 280, 7, "0" * 64), situation, TIMINGS, seconds)


def test_what_lies_ahead_is_in_the_draft_or_why_it_is_not() -> None:
    stages = tuple(StageProbe(n, f"s{n}", 8, 0.5, (0.4, 0.6), 0.7, None, True) for n in range(1, 10))
    layers = LayerMap(stages, 280, 5, False, "up to stage 5")
    forecast = AccuracyForecast("linear_probe", 0.9, (), None, (), "hardly")
    why = Decision("layer map and forecast", "empirical", "left out", "too few images")
    data = DataIdentity("mine", 280, 7, "0" * 64)
    made = draft_plan(WANTED, data, _situation(), TIMINGS, 90.0, outlook=Outlook(layers, forecast))
    assert (made.layers, made.forecast) == (layers, forecast)
    left = draft_plan(WANTED, data, _situation(), TIMINGS, 90.0, outlook=Outlook(None, None, (why,)))
    assert (left.layers, left.forecast) == (None, None)
    assert why in left.decisions
    assert why not in made.decisions


def test_a_draft_is_a_plan_that_can_be_read_with_a_reason_for_every_decision() -> None:
    plan = _draft(_situation())
    assert from_json(Plan, to_json(plan)) == plan
    check_plan(plan)
    assert (plan.budget, plan.first, plan.crop) == ("2m", "linear_probe", "crop")
    kinds = [decision.kind for decision in plan.decisions]
    assert kinds == sorted(kinds, key=["fixed", "fingerprint", "empirical"].index), "kept apart, in this order"
    assert all(decision.reason and decision.value for decision in plan.decisions)
    keys = [decision.key for decision in plan.decisions]
    assert len(set(keys)) == len(keys)
    assert {"first", "image_size", "crop", "metric", "validation", "tuning", "rungs", "rate", "augment"} <= set(keys)


def test_what_keeps_a_fit_at_its_probes_is_the_reason_in_the_plan() -> None:
    data = DataIdentity("mine", 280, 7, "0" * 64)
    plan = draft_plan(WANTED, data, _situation(), TIMINGS, 90.0, kept_back="too few images")
    told = {decision.key: decision for decision in plan.decisions}
    assert _draft(_situation()).rungs != ()
    assert plan.rungs == ()
    assert (told["tuning"].value, told["tuning"].reason) == ("no", "too few images")
    assert not [key for key in told if key.startswith("rungs")]
    missing = draft_plan(WANTED, data, _situation(trainable=False), {}, 90.0, kept_back="too few images")
    assert "headstart[train]" in {decision.key: decision.reason for decision in missing.decisions}["tuning"]


def test_fixed_rules_know_what_fine_tuning_does() -> None:
    plan = _draft(_situation(), math.inf)
    assert plan.rungs[0].views == Recipe().policy.views
    assert plan.rungs[0].rate == Recipe().rate


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 4, "classes": 2, "class_min": 2, "class_median": 2.0, "class_max": 2, "groups": 4},
        {"rows": 3000, "classes": 1000, "class_min": 3, "class_median": 3.0, "class_max": 3, "groups": 3000},
        {"stages": 1},
        {"groups": 1},
        {"probe": ProbeScore(1.0, 0.0, 1, 1.0, 0.0, math.inf, 1.0), "gap": None},
    ],
)
def test_odd_data_still_has_a_plan(changes: dict[str, Any]) -> None:
    check_plan(_draft(_situation(**changes)))


def test_what_cannot_be_wanted_is_refused() -> None:
    wanted = dataclasses.replace(WANTED, metric="luck", max_size="10MB")
    with pytest.raises(RecordError, match="metric: unknown metric 'luck'"):
        draft_plan(wanted, DataIdentity("mine", 280, 7, "0" * 64), _situation(), {}, 10.0)
