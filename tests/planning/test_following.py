"""A run that follows a plan: what the plan says, what the command line may change, and what it may not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import OptionError, RecordError
from headstart.planning import following
from headstart.planning.backbone_choice import entrants_of
from headstart.planning.following import as_planned, followed
from headstart.planning.options import Options
from headstart.planning.plan import Decision, Plan
from headstart.records import to_json


def test_without_a_plan_the_options_are_as_they_were() -> None:
    options = Options(metric="macro_f1", budget="1m")
    assert followed(options) == (options, None)
    with pytest.raises(OptionError, match="unknown metric"):
        followed(Options(metric="luck"))


def test_where_the_options_are_silent_the_plan_counts(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(to_json(plan))
    options, kept = followed(Options(plan=str(path), test=0.2))
    assert options == Options(
        plan=str(path),
        test=0.2,
        metric="macro_f1",
        seed=3,
        backbone="bundled/tf_efficientnet_lite0",
        image_size=96,
        budget="5m",
        quality="fast",
        max_size="20MB",
    )
    assert kept is not None
    assert (options.time().seconds, kept.limits) == (300, options.limits())


def test_wishes_of_the_command_line_come_first_and_the_plan_says_so(plan: Plan) -> None:
    wishes: dict[str, Any] = {"budget": "30s", "quality": "balanced", "max_size": "15MB", "max_latency": "9ms"}
    options, kept = followed(Options(**wishes), plan)
    assert kept is not None
    for name, wish in wishes.items():
        assert (getattr(options, name), getattr(kept, name)) == (wish, wish)


def test_times_of_another_machine_are_not_kept_where_they_are_measured_again(plan: Plan) -> None:
    kept = followed(Options(), plan)[1]
    assert kept is not None
    assert [(rung.strategy, rung.seconds) for rung in kept.rungs] == [
        ("partial", None),
        ("full", None),
        ("progressive", 90.0),  # nobody times it before it is tried
    ]
    assert [rung.epochs for rung in kept.rungs] == [rung.epochs for rung in plan.rungs]


def test_what_another_run_decided_of_its_rungs_is_no_decision_of_this_one(plan: Plan) -> None:
    made = (
        Decision("crop", "fingerprint", "crop", "as the weights expect"),
        Decision("rungs", "empirical", "full", "after the probe: full"),
        Decision("full.epochs", "empirical", "0", "left out: 0 s are left", by_clock=True),
        Decision("full.precision", "empirical", "float32", "the fastest", by_clock=True),
    )
    kept = followed(Options(), dataclasses.replace(plan, decisions=made))[1]
    assert kept is not None
    assert [one.key for one in kept.decisions] == ["crop", "full.precision", "rungs"]
    assert kept.decisions[-1].value == "partial above cut 7, full, progressive"


@pytest.mark.parametrize("short", ["lite0", "bundled/tf_efficientnet_lite0"])
def test_what_the_plan_rests_on_may_be_said_again(plan: Plan, short: str) -> None:
    options, kept = followed(Options(metric="macro_f1", seed=3, backbone=short, image_size=96), plan)
    assert options.backbone == "bundled/tf_efficientnet_lite0"
    assert followed(options, kept) == (options, kept), "done twice, it changes nothing more"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("metric", "log_loss", "--metric log_loss contradicts the plan, whose numbers rest on macro_f1"),
        ("seed", 4, "--seed 4 contradicts the plan, whose numbers rest on 3"),
        ("backbone", "lite1", "--backbone lite1 contradicts the plan, whose numbers rest on bundled/tf_efficientnet_l"),
        ("image_size", 224, "--image-size 224 contradicts the plan, whose numbers rest on 96: leave the option out"),
        ("strategy", "full", "leave out --strategy full"),
        ("backbones", "lite0,lite1", "--backbones compares several"),
    ],
)
def test_a_contradiction_is_refused_with_both_values(plan: Plan, option: str, value: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        followed(dataclasses.replace(Options(), **{option: value}), plan)


def test_a_plan_that_cannot_be_is_refused_and_one_is_read_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(to_json(dataclasses.replace(plan, first="prototype")))
    with pytest.raises(RecordError, match=r"plan.json: first: 'prototype' can't be"):
        followed(Options(plan=str(path)))
    monkeypatch.setattr(following, "read_plan", None)
    assert followed(Options(plan=str(path)), plan)[1] is not None


def test_a_plan_for_another_backbone_is_refused_and_its_crop_counts(plan: Plan) -> None:
    entrants, said = entrants_of(Options(), None, print), list[str]()
    assert as_planned(entrants, plan, said.append).backbones == entrants.backbones
    squashing = as_planned(entrants, dataclasses.replace(plan, crop="squash"), said.append)
    assert squashing.backbones[0].preprocessing.aspect == "squash"
    assert squashing.planned
    basis = "as the plan says: bundled/tf_efficientnet_lite0 at 96 pixels, judged by macro_f1, seed 3"
    assert said == [basis, basis, "as the plan says, images that are not square are squashed, not cut to their middle"]
    with pytest.raises(OptionError, match="of 12 stages, and bundled/tf_efficientnet_lite0 has 9"):
        as_planned(entrants, dataclasses.replace(plan, stages=12), said.append)
