"""A verdict rests on intervals, names its evidence, and ends in one thing to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headstart.reporting.advice import advise
from headstart.reporting.evidence import Predictions, RunEvidence, Training

FOUND = {
    "n": 400,
    "accuracy": 0.9,
    "accuracy_ci95": [0.87, 0.93],
    "balanced_accuracy": 0.9,
    "per_class": {
        "ants": {"recall": 0.9, "recall_ci95": [0.85, 0.94], "support": 200},
        "bees": {"recall": 0.9, "recall_ci95": [0.84, 0.94], "support": 200},
    },
}


def run(*, audit: Any = None, plan: Any = None, ladder: Any = None, labels: Any = None, **test: Any) -> RunEvidence:
    """A run of ants and bees; ``test`` replaces scores, ``majority``, ``knn`` and ``val`` other keys of its metrics."""
    baselines = {
        "majority": {"test_accuracy": test.pop("majority", 0.5)},
        "knn": {"test_accuracy": test.pop("knn", 0.8)},
    }
    val, protocol = test.pop("val", {}), test.pop("protocol", {})
    metrics = {
        "task": "classification",
        "metric": "accuracy",
        "classes": ["ants", "bees"],
        "splits": {"val": val, "test": FOUND | test},
        "baselines": baselines,
        "protocol": protocol,
    }
    training = None
    if labels is not None:
        names = [str(place) for place in range(len(labels))]
        training = Training(pa.table({"file": names, "image": names, "label": labels, "hash": names}))
    return RunEvidence(
        folder=Path("run"),
        metrics=metrics,
        ladder=ladder or {},
        audit=audit or {},
        run={},
        plan=plan or {},
        evaluation={},
        fingerprint={},
        history=(),
        predictions=None,
        training=training,
        missing=(),
    )


def finding(kind: str, **more: str) -> dict[str, Any]:
    return {"file": "a.jpg", "kind": kind, "evidence": "because of this", "action": "do that", **more}


def test_a_model_that_is_surely_better_can_be_used() -> None:
    advice = advise(run())
    assert advice.answer == "Use it"
    for told in (
        "90.0%",
        "87.0 to 93.0%",
        "always answering the most frequent class (50.0%)",
        "“ants”, with a recall of 90.0%",
    ):
        assert told in advice.why
    assert advice.action == "Try it on images from where it will be used: headstart evaluate RUN NEW_DATA."


@pytest.mark.parametrize(
    ("changes", "answer", "why", "action"),
    [
        ({"accuracy": None}, "Cannot tell", "No test score", "--test 0.2"),
        ({"majority": 0.95}, "Not yet", "no better than always answering", "Let other backbones compete"),
        ({"majority": 0.88}, "Cannot tell", "which the interval does not exclude", "400 can't tell"),
        ({"accuracy_ci95": [0.7, 0.98]}, "Cannot tell", "spans half of the way", "Label 1,200 more test images"),
        ({"knn": 0.95}, "Not yet", "surely better", "Let other backbones compete"),
        ({"knn": 0.92}, "Use it", "whole interval is better", "Try it"),
    ],
)
def test_the_answer_follows_the_intervals(changes: dict[str, Any], answer: str, why: str, action: str) -> None:
    per_class = {} if "knn" in changes or "majority" in changes else FOUND["per_class"]
    advice = advise(run(**changes, per_class=per_class))
    assert advice.answer == answer
    assert why in advice.why
    assert action in advice.action


def test_a_class_that_is_missed_more_often_than_found_is_named_with_how_many_to_label() -> None:
    missed = {"bees": {"recall": 0.3, "recall_ci95": [0.2, 0.42]}, "ants": FOUND["per_class"]["ants"]}
    advice = advise(run(per_class=missed, labels=["ants"] * 90 + ["bees"] * 40))
    assert advice.answer == "Not yet"
    assert "“bees” is missed more often than found: its recall is 30.0% (20.0 to 42.0%)" in advice.why
    assert advice.action == "Label 25 more of “bees” (it has 40 to learn from).", "up to the median of the classes"
    level = advise(run(per_class=missed, labels=["ants"] * 40 + ["bees"] * 40))
    assert level.action.startswith("Label 40 more of “bees”"), "twice as many, where it is level"
    unsure = {**missed, "bees": {"recall": 0.45, "recall_ci95": [0.3, 0.6]}}
    assert advise(run(per_class=unsure)).answer == "Use it", "half may be found"


def test_a_leak_comes_before_every_score() -> None:
    advice = advise(run(audit={"findings": [finding("leak"), finding("suspicious_label")]}, majority=0.95))
    assert advice.answer == "Cannot tell"
    assert "1 image that it learnt from has a copy among those that judge it" in advice.why
    assert "--fix-leaks" in advice.action
    groups = advise(run(audit={"findings": [finding("group_across_splits")] * 3}))
    assert "3 groups of images lie among those that judge it" in groups.why
    assert "move each of these groups" in groups.action


def test_a_leak_that_was_mended_is_none() -> None:
    mended = dataclasses.replace(run(audit={"findings": [finding("leak")]}), run={"request": {"fix_leaks": True}})
    assert advise(mended).answer == "Use it"


def test_a_shortcut_that_does_as_well_makes_a_good_score_doubtful() -> None:
    cue = finding("shortcut", evidence="image size tells 99 % of the labels")
    advice = advise(run(audit={"findings": [{**cue, "score": 0.88}]}))
    assert advice.answer == "Cannot tell"
    assert "Image size tells 99 % of the labels." in advice.why
    assert advice.action == "Do that."
    weaker = advise(run(audit={"findings": [{**cue, "score": 0.86}]}))
    assert weaker.answer == "Use it"
    assert weaker.cautions == ("It may use a shortcut. Image size tells 99 % of the labels.",)


def test_cheap_steps_come_before_dear_ones() -> None:
    suspicious = {"findings": [finding("suspicious_label")] * 12}
    steps = {"steps": ["the time is too short"], "by_clock": True}
    core = {"steps": ["a fit tries more, within its --budget, with an extra"], "by_clock": False}
    prediction = {"factor": 2, "rows": 488, "accuracy": 0.96, "ci95": [0.94, 0.98]}
    plan = {"forecast": {"accuracy": 0.9, "predictions": [prediction]}}
    assert "12 suspicious labels" in advise(run(audit=suspicious, ladder=steps, plan=plan)).action
    assert "with a larger --budget" in advise(run(ladder=steps, plan=plan)).action
    assert "--budget" not in advise(run(ladder=core)).action, "more time alone changes nothing there"
    assert advise(run(plan=plan)).action == (
        "Label 244 more images: twice as many should bring 96.0% (94.0 to 98.0%) after 90.0% now."
    )
    doubtful = {"forecast": {"accuracy": 0.95, "predictions": [prediction]}}
    assert "Try it on images" in advise(run(plan=doubtful)).action, "the forecast's interval holds no gain too"


def test_a_test_that_is_surely_harder_than_the_folds_is_held_against_it() -> None:
    val = {"accuracy": 0.97, "accuracy_ci95": [0.95, 0.99]}
    advice = advise(run(val=val, protocol={"test": "given"}))
    assert advice.answer == "Not yet"
    assert "97.0% (95.0 to 99.0%) on the images that it was chosen by" in advice.why
    assert "headstart gap DATA --split" in advice.action
    assert advise(run(val=val, protocol={"test": "held_out"})).answer == "Use it", "there it is the luck of the draw"
    near = {"accuracy": 0.94, "accuracy_ci95": [0.92, 0.96]}
    assert advise(run(val=near, protocol={"test": "given"})).answer == "Use it"


def test_for_a_metric_that_falls_lower_is_better() -> None:
    scores = {"log_loss": 0.2, "log_loss_ci95": [0.15, 0.3]}
    evidence = run(**scores)
    baselines = {"majority": {"test_log_loss": 0.69}, "knn": {"test_log_loss": 0.4}}
    good = dataclasses.replace(evidence, metrics={**evidence.metrics, "metric": "log_loss", "baselines": baselines})
    assert advise(good).answer == "Use it"
    baselines = {"majority": {"test_log_loss": 0.1}}
    poor = dataclasses.replace(evidence, metrics={**evidence.metrics, "metric": "log_loss", "baselines": baselines})
    assert advise(poor).answer == "Not yet"


def test_what_to_keep_in_mind_is_said_besides() -> None:
    names, truth = tuple("abcd") * 100, (("ants",),) * 400
    found = (("ants",),) * 360 + (("bees",),) * 40
    rows = Predictions("test", names, names, truth, found, np.full(400, 0.99), None)
    worst = {"worst": {"name": "night", "accuracy": 0.5, "ci95": [0.4, 0.6], "below": True}}
    evidence = dataclasses.replace(
        run(n=80), predictions=rows, evaluation={"splits": {"test": {"domains": worst, "groups": None}}}
    )
    sure, few, part = advise(evidence).cautions
    assert "more sure of itself than it should be: on average it claims 99.0% and is right in 90.0%" in sure
    assert few.startswith("80 images are few")
    assert "the domain “night”: 50.0% (40.0 to 60.0%)" in part
    honest = dataclasses.replace(evidence, predictions=dataclasses.replace(rows, confidence=np.full(400, 0.9)))
    assert not any("sure of itself" in one for one in advise(honest).cautions)
