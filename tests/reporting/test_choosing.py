"""How a model was chosen is told from the records of the plan and the climb, whatever of them is there."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.reporting.choosing import MOST_DECISIONS, MOST_STEPS, planned_seconds, view_choice


def _stage(number: int, accuracy: float) -> dict[str, Any]:
    return {
        "number": number,
        "name": f"blocks.{number}",
        "width": 8,
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy - 0.1, min(1.2, accuracy + 0.1)],
        "log_loss": 0.5,
        "saved": None,
        "better": True,
    }


LAYERS = {
    "stages": [_stage(1, 0.6), _stage(2, 0.9), _stage(3, 0.95)],
    "rows": 1244,
    "transfers_to": 2,
    "top_is_worse": False,
    "sentence": "features get better up to stage 2 of 3",
}


def _prediction(factor: int, accuracy: float | None) -> dict[str, Any]:
    ends = None if accuracy is None else [accuracy - 0.02, accuracy + 0.02]
    return {"factor": factor, "rows": 244 * factor, "accuracy": accuracy, "ci95": ends, "hidden": None}


def _forecast(*accuracies: float | None) -> dict[str, Any]:
    predictions = [_prediction(factor, one) for factor, one in zip((2, 4), accuracies, strict=True)]
    return {
        "strategy": "linear_probe",
        "accuracy": 0.91,
        "predictions": predictions,
        "sentence": "Would more data help?",
    }


def test_stages_are_bars_and_the_last_that_adds_something_is_marked() -> None:
    found = view_choice({}, {"layers": LAYERS}).layers
    assert found is not None
    assert [bar.title for bar in found.bars] == ["1 blocks.1", "2 blocks.2", "3 blocks.3"]
    assert [bar.own for bar in found.bars] == [False, True, False]
    assert (found.bars[1].value, found.bars[1].share, found.bars[1].low) == ("90.0% (80.0 to 100.0%)", 0.9, 0.8)
    assert found.bars[2].high == 1.0, "a bar ends at 1, whatever the record holds"
    assert found.sentence.startswith("Features get better")
    assert "1,244 images" in found.note


def test_forecasts_are_bars_beside_now_and_hidden_ones_are_left_out() -> None:
    found = view_choice({}, {"forecast": _forecast(0.93, 0.95)}).forecast
    assert found is not None
    assert [(bar.title, bar.detail) for bar in found.bars] == [
        ("now", ""),
        ("twice", "488 images"),
        ("four times", "976 images"),
    ]
    assert "linear probe" in found.note
    one = view_choice({}, {"forecast": _forecast(None, 0.95)}).forecast
    assert one is not None
    assert [bar.title for bar in one.bars] == ["now", "four times"]
    none = view_choice({}, {"forecast": _forecast(None, None)}).forecast
    assert none is not None
    assert (none.bars, none.note, none.sentence) == ((), "", "Would more data help?")


def test_decisions_stand_under_what_they_rest_on_and_say_where_the_clock_decided() -> None:
    decisions = [
        {"key": "partial above cut 7.epochs", "kind": "empirical", "value": "4", "reason": "time", "by_clock": True},
        {"key": "image_size", "kind": "fixed", "value": "224", "reason": "weights", "by_clock": False},
        {"key": "mood", "kind": "whim", "value": "1", "reason": "none"},
    ]
    groups = view_choice({}, {"decisions": decisions}).decisions
    assert [group.title for group in groups] == ["For all data", "Because of what was measured here"]
    assert (groups[0].rows[0].key, groups[0].rows[0].by_clock) == ("image size", False)
    assert (groups[1].rows[0].key, groups[1].rows[0].by_clock) == ("partial fine-tuning above cut 7, epochs", True)


def test_backbones_are_told_with_what_they_cost() -> None:
    entry = {"backbone": "a/b", "image_size": 260, "accuracy": 0.9, "log_loss": 0.25, "size": 19.2e6, "chosen": True}
    decision = {"key": "backbone", "kind": "empirical", "value": "a/b", "reason": "a/b comes first"}
    considered = [{**entry, "latency": 0.0161}, {**entry, "latency": None, "chosen": False}]
    found = view_choice({}, {"considered": considered, "decisions": [decision]}).backbones
    assert found is not None
    assert [bar.detail for bar in found.bars] == [
        "260 pixels, 19.2 MB, 16.1 ms, log-loss 0.250",
        "260 pixels, 19.2 MB, log-loss 0.250",
    ]
    assert [bar.own for bar in found.bars] == [True, False]
    assert found.bars[0].value == "90.0%"
    assert found.sentence == "a/b comes first", "a name keeps its letters"


def test_forecasts_of_seconds_are_found_by_the_name_in_the_ladder() -> None:
    rungs = [
        {"strategy": "partial", "cut": 7, "seconds": 49.0},
        {"strategy": "full", "cut": 0, "seconds": 80.0},
        {"strategy": "partial", "cut": 4, "seconds": None},
    ]
    assert planned_seconds({"rungs": rungs}) == {"partial above cut 7": 49.0, "full": 80.0}


def test_long_records_are_cut() -> None:
    decision = {"key": "k" * 999, "kind": "fixed", "value": "v" * 999, "reason": "r" * 9999}
    view = view_choice({"steps": ["s" * 9999] * 500}, {"decisions": [decision] * 500})
    assert len(view.steps) == MOST_STEPS
    assert len(view.decisions[0].rows) == MOST_DECISIONS
    assert max(map(len, view.steps)) < 700
    assert len(view.decisions[0].rows[0].reason) < 700


@pytest.mark.parametrize("plan", [{}, {"layers": None, "forecast": None}, {"layers": {}, "forecast": 3, "rungs": [1]}])
def test_what_is_not_there_is_not_shown(plan: dict[str, Any]) -> None:
    view = view_choice({}, plan)
    assert (view.reason, view.steps, view.decisions) == ("", (), ())
    assert (view.backbones, view.layers, view.forecast) == (None, None, None)
    assert planned_seconds(plan) == {}
