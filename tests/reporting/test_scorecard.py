"""The tables of scores keep to the records, and stand what is absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.reporting.provenance import MOST_FILES, environment, reserve, view_ladder, view_left_out, view_seconds
from headstart.reporting.scorecard import CLASS_ROWS, class_table, compare_baselines, score_table


def read_metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_every_score_stands_with_its_interval_under_its_split(build_run: Callable[..., Path]) -> None:
    metrics = read_metrics(build_run())
    table = score_table(metrics)
    assert [title for title, _ in table.columns] == ["Test", "Validation"]
    row = next(row for row in table.rows if row.title == "Macro F1")
    for cell, split in zip(row.cells, ("test", "val"), strict=True):
        assert cell.value == f"{metrics['splits'][split]['macro_f1']:.3f}"
        assert cell.interval == "{:.3f} to {:.3f}".format(*metrics["splits"][split]["macro_f1_ci95"])
    assert [row.title for row in table.rows if row.governs] == ["Accuracy"]


def test_bars_of_a_loss_are_scaled_by_the_longest() -> None:
    test = {"n": 100, "log_loss": 0.5, "log_loss_ci95": [0.4, 0.6]}
    baselines = {"majority": {"test_log_loss": 2.0}, "knn": {"test_log_loss": None}, "odd": None}
    found = compare_baselines({"metric": "log_loss", "splits": {"test": test}, "baselines": baselines})
    assert found is not None
    assert found.lower_is_better
    assert [(bar.title, bar.value, bar.share, bar.low, bar.high) for bar in found.bars] == [
        ("This model", "0.500", 0.25, 0.2, 0.3),
        ("Class frequencies alone", "2.000", 1.0, None, None),
    ]


def test_classes_come_weakest_first_and_undefined_ones_last() -> None:
    scores = {"good": {"f1": 0.9, "support": 50}, "none": {"f1": None, "support": 0}, "bad": {"f1": 0.1, "support": 9}}
    table = class_table({"splits": {"test": {"per_class": scores}}}, "test")
    assert [row[0] for row in table.rows] == ["bad", "good", "none"]
    assert [row[1] for row in table.rows] == ["9*", "50", "0*"]
    assert table.rows[2][4] == "–"
    assert table.few


def test_thousands_of_classes_are_cut_and_counted() -> None:
    scores = {f"{i}": {"f1": i / 5000, "support": 20} for i in range(5000)}
    table = class_table({"splits": {"test": {"per_class": scores}}}, "test")
    assert len(table.rows) == CLASS_ROWS
    assert table.left == 5000 - CLASS_ROWS
    assert table.rows[-1][0] == f"{CLASS_ROWS - 1}"


def test_files_left_out_are_counted_by_kind() -> None:
    entries = [{"file": f"{i}.jpg", "kind": "duplicate" if i % 3 else "undecodable", "reason": "x"} for i in range(90)]
    view = view_left_out({"left_out": entries, "notes": ["one"]})
    assert (len(view.rows), view.count, view.notes) == (MOST_FILES, 90, ("one",))
    assert view.kinds == "duplicate 60, can't be decoded 30"


def test_seconds_add_up_to_the_total() -> None:
    view = view_seconds({"total": 4.0, "load": 1.0, "train": 2.0})
    assert view.total == "4.0 s"
    assert [(bar.title, bar.value, bar.share) for bar in view.bars] == [
        ("load", "1.0 s", 0.5),
        ("train", "2.0 s", 1.0),
        ("other", "1.0 s", 0.5),
    ]


def test_only_the_chosen_rung_is_marked() -> None:
    rungs = [
        {"strategy": s, "cut": 9, "score": 0.9, "decision": d}
        for s, d in (("a", "kept"), ("b", "kept"), ("c", "dropped"))
    ]
    view = view_ladder({"metric": "accuracy", "chosen": "b", "rungs": rungs}, 9, {})
    assert [(rung.kept, rung.chosen) for rung in view.rungs] == [(True, False), (True, True), (False, False)]
    assert view.rungs[0].frozen == "9 of 9"
    assert view.unit == "", "nothing was gained or expected"
    told = [{**rung, "reason": "not better than the best before it"} for rung in rungs]
    ladder = {"metric": "accuracy", "chosen": "c", "rungs": told, "reason": "it has the highest expected accuracy"}
    reasons = [rung.reason for rung in view_ladder(ladder, 9, {}).rungs]
    assert reasons[1:] == ["not better than the best before it", "it has the highest expected accuracy"]
    sure = view_ladder({"metric": "accuracy", "chosen": "c", "rungs": rungs}, 9, {})
    assert [rung.chosen for rung in sure.rungs] == [False, False, True], "the cheapest may be taken, not the best"


@pytest.mark.parametrize(
    ("metric", "unit", "gain", "ends"),
    [("accuracy", "points", "+1.2", "−0.3 to +2.7"), ("log_loss", "nats", "+1.2000", "−0.3000 to +2.7000")],
)
def test_a_rung_of_a_climb_is_told_with_its_gain_and_both_times(metric: str, unit: str, gain: str, ends: str) -> None:
    rung = {
        "strategy": "partial above cut 7 at a tenth of its rate",
        "cut": 7,
        "score": 0.9,
        "rows": 1234,
        "ci95": [0.8, 0.95],
        "seconds": 52.1,
        "expected_gain": 0.5,
        "gain": {"mean": 1.2, "sd": 0.8, "ci95": [-0.3, 2.7], "better": 0.93},
        "reason": "+1.2 points over linear_probe",
    }
    ladder = {"metric": metric, "chosen": "linear_probe", "rungs": [rung]}
    view = view_ladder(ladder, 9, {"partial above cut 7": 49.0})
    row = view.rungs[0]
    assert view.unit == unit
    assert (row.gain, row.gain_interval) == (gain, ends)
    assert row.strategy == "partial fine-tuning above cut 7 at a tenth of its rate"
    assert (row.seconds, row.forecast) == ("52 s", "49 s")
    assert row.rows == "1,234 images"
    assert row.reason == "+1.2 points over linear probe"
    assert not row.chosen


def test_the_abstention_rule_is_told_with_its_evidence() -> None:
    rule = {"threshold": 0.88, "wished_error": 0.05, "level": 0.95, "coverage": 0.85, "errors": 3}
    (sentence,) = reserve({"abstain": rule})
    assert (
        "confidence is 0.880 or more, fewer than 5% of its answers are wrong, a bound that holds with 95%" in sentence
    )
    assert sentence.endswith("It would then answer 85.0% of the validation images, 3 of them wrong.")
    assert "too few" in reserve({"abstain": None})[0]
    assert reserve({}) == ()


@pytest.mark.parametrize("key", ["libraries", "versions"])
def test_versions_are_listed_one_by_one(key: str) -> None:
    assert environment({"schema": 1, "python": "3.11", key: {"numpy": "2.4"}}) == (("python", "3.11"), ("numpy", "2.4"))
