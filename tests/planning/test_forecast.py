"""Forecasts of accuracy come from nested sizes, hold what they promise, and hide where nothing can be promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import headstart.planning.forecast as forecast_module
from headstart.backbones.catalogue import find_backbone
from headstart.data import load
from headstart.data.protocol import resolve
from headstart.data.splits import assign, folds
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.planning.forecast import (
    AccuracyForecast,
    LearningCurve,
    forecast_accuracy,
    learning_curve,
)
from headstart.planning.layer_map import map_layers
from headstart.records import from_json, to_json
from headstart.runs import SilentProgress
from headstart.training.examples import Examples, Fold
from headstart.training.gathering import examples_of, extract_all
from headstart.training.strategies import STRATEGIES, Strategy, learn

MakeExamples = Callable[..., Examples]
PROBE = STRATEGIES["linear_probe"]


def _curve(
    exponent: float, *, floor: float = 0.0, level: float = 0.15, sizes: int = 8, rows: int = 400, seed: int = 0
) -> LearningCurve:
    """Mistakes drawn row by row from a power law; hard rows are hard at every size."""
    counts = 320 / np.sqrt(2) ** np.arange(sizes)[::-1]
    errors = floor + (level - floor) * (counts / 320) ** -exponent
    hardness = np.random.default_rng(seed).uniform(size=rows)
    return LearningCurve(counts, (hardness < errors[:, None]).astype(float), np.arange(rows))


def test_a_clean_curve_is_forecast_and_the_interval_holds_the_truth() -> None:
    inside = 0
    for seed in range(30):
        found = forecast_accuracy(_curve(0.4, seed=seed), 400, strategy="linear_probe")
        for one in found.predictions:
            assert one.accuracy is not None
            assert one.ci95 is not None
            assert one.rows == one.factor * 400
            assert one.backtest_error is not None
            assert one.no_change_error is not None
            assert one.backtest_error < one.no_change_error
            inside += one.ci95[0] <= 1 - 0.15 * one.factor**-0.4 <= one.ci95[1]
    assert inside >= 56  # of 60, where 57 are promised


def test_forecasts_beat_no_change_over_many_curves() -> None:
    misses, unchanged = [], []
    for seed in range(20):
        for exponent in (0.25, 0.4):
            found = forecast_accuracy(_curve(exponent, seed=seed), 400, strategy="linear_probe")
            for one in found.predictions:
                assert one.accuracy is not None
                truth = 1 - 0.15 * one.factor**-exponent
                misses.append(abs(one.accuracy - truth))
                unchanged.append(abs(found.accuracy - truth))
    assert np.mean(misses) < 0.5 * np.mean(unchanged)


def test_a_flat_curve_is_hidden_with_its_reason() -> None:
    found = forecast_accuracy(_curve(0.0), 400, strategy="linear_probe")
    assert [one.accuracy for one in found.predictions] == [None, None]
    assert all("no change by" in (one.hidden or "") for one in found.predictions)
    assert "That can't be said" in found.sentence


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        (_curve(0.4, sizes=4), "a curve needs 5"),
        (_curve(0.4, level=0.005), "too few to see that fall"),
    ],
)
def test_too_little_to_see_is_hidden_with_its_reason(curve: LearningCurve, reason: str) -> None:
    found = forecast_accuracy(curve, 400, strategy="linear_probe")
    assert all(reason in (one.hidden or "") and one.accuracy is None and one.ci95 is None for one in found.predictions)
    assert found.law is None
    assert from_json(AccuracyForecast, to_json(found)) == found


def test_five_sizes_are_tested_at_twice_the_data_only() -> None:
    found = forecast_accuracy(_curve(0.4, sizes=5), 400, strategy="linear_probe")
    assert [(one.tested_factor, one.backtests) for one in found.predictions] == [(2, 1), (2, 1)]
    longer = forecast_accuracy(_curve(0.4, sizes=9), 400, strategy="linear_probe")
    assert [(one.tested_factor, one.backtests) for one in longer.predictions] == [(2, 3), (4, 3)]


def test_a_single_group_still_has_an_interval_and_few_groups_a_wide_one() -> None:
    curve = _curve(0.4)
    one, few, many = (
        forecast_accuracy(replace(curve, groups=groups), 400, strategy="probe").predictions[0].ci95
        for groups in (np.zeros(400, np.int64), np.argsort(np.argsort(-curve.wrong.sum(0))) // 50, np.arange(400))
    )
    assert one is not None
    assert few is not None
    assert many is not None
    assert few[1] - few[0] > many[1] - many[0]


def test_training_parts_are_nested_stratified_and_whole_in_their_groups(
    make_examples: MakeExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = np.arange(240) // 2
    examples = make_examples([120, 120], top=0.3, groups=groups)
    seen: list[list[Fold]] = []
    true_logits = forecast_module._logits

    def spy(learned: object, of: Examples, nested: list[Fold], tolerance: float) -> npt.NDArray[np.float64]:
        seen.append(nested)
        return true_logits(learned, of, nested, tolerance)  # type: ignore[arg-type]

    monkeypatch.setattr(forecast_module, "_logits", spy)
    curve = learning_curve(examples, learn(PROBE, examples))
    assert len(curve.sizes) >= 5
    assert (np.diff(curve.sizes) > 0).all()
    assert curve.wrong.shape == (len(curve.sizes), 240)
    previous = list(examples.folds)
    for nested in seen[: len(curve.sizes) - 1]:  # of the first repeat
        for (rows, held), (above, same), (whole, _) in zip(nested, previous, examples.folds, strict=True):
            np.testing.assert_array_equal(held, same)
            assert set(rows) < set(above)
            assert not set(rows) & set(held)
            assert set(np.unique(groups[rows], return_counts=True)[1]) == {2}
            share = examples.targets[rows].mean() - examples.targets[whole].mean()  # type: ignore[operator]
            assert abs(share) <= 2 / len(rows) + 0.02
        previous = nested


def test_the_curve_is_the_same_each_time_ends_at_the_learned_model_and_changes_with_the_seed(
    make_examples: MakeExamples,
) -> None:
    examples = make_examples([60, 60, 60], top=0.4)
    learned = learn(PROBE, examples)
    first, again, other = (learning_curve(examples, learned, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.wrong, again.wrong)
    np.testing.assert_array_equal(first.sizes, again.sizes)
    assert (first.wrong != other.wrong).any()
    predicted = learned.logits.argmax(axis=1)
    np.testing.assert_array_equal(first.wrong[-1], (predicted != examples.targets).astype(float))


@pytest.mark.parametrize(
    "strategy", [STRATEGIES["prototype"], STRATEGIES["linear_probe_all_stages"], replace(PROBE, weighting="balanced")]
)
def test_every_strategy_has_a_curve(make_examples: MakeExamples, strategy: Strategy) -> None:
    examples = make_examples([80, 40, 40], top=0.3, stage=0.2)
    curve = learning_curve(examples, learn(strategy, examples))
    assert len(curve.sizes) >= 4
    assert curve.errors[0] > curve.errors[-1]


def test_multilabel_a_validation_split_and_rare_classes_have_a_curve(make_examples: MakeExamples) -> None:
    multilabel = make_examples([80, 80], top=0.3, task="multilabel")
    assert len(learning_curve(multilabel, learn(PROBE, multilabel)).sizes) >= 5
    examples = make_examples([100, 100, 3], top=0.3)
    given = replace(examples, folds=examples.folds[:1])
    curve = learning_curve(given, learn(PROBE, given))
    assert curve.wrong.shape[1] == len(given.judged)


def test_shuffled_labels_promise_nothing(make_examples: MakeExamples) -> None:
    for seed in range(4):
        examples = make_examples([80, 80, 80], shuffled=True, seed=seed)
        found = forecast_accuracy(learning_curve(examples, learn(PROBE, examples)), len(examples), strategy="probe")
        assert all(one.accuracy is None for one in found.predictions)


def test_data_that_teach_forecast_what_more_of_them_bring(make_examples: MakeExamples) -> None:
    examples = make_examples([30] * 10, top=1.0)
    curve = learning_curve(examples, learn(PROBE, examples))
    found = forecast_accuracy(curve, len(examples), strategy="linear_probe")
    assert from_json(AccuracyForecast, to_json(found)) == found
    assert found.points[-1].error == pytest.approx(1 - found.accuracy)
    assert found.predictions[0].accuracy is not None
    assert "Would more data help?" in found.sentence
    assert "with twice as many images" in found.sentence


@pytest.fixture
def flowers(shared: Path, warm: None) -> tuple[Examples, list[str]]:
    """The development rows of real flowers through the default backbone, with the names of its stages."""
    backbone = find_backbone("bundled/tf_efficientnet_lite0")
    compiled = compile_trunk(probe_trunk(backbone), engine="openvino")
    dataset, table = extract_all(load(shared / "data" / "flowers5"), compiled, SilentProgress(), print)
    resolved, protocol = resolve(dataset, test=None, seed=0)
    examples = examples_of(resolved, table, compiled.trunk.columns, protocol, 0)
    return examples, [stage.name for stage in backbone.stages]


@pytest.mark.real
def test_half_of_real_flowers_forecasts_all_of_them_better_than_no_change_does(
    flowers: tuple[Examples, list[str]],
) -> None:
    """The truth is the error on the same held-out rows once the other half trains as well."""
    examples, _ = flowers
    misses, unchanged = [], []
    for seed in range(3):
        rows = np.flatnonzero(assign(examples.targets, examples.groups, (0.5, 0.5), seed) != 1)
        pairs = folds(examples.targets[rows], examples.groups[rows], 5, seed)
        half = examples.subset(rows, pairs)
        found = forecast_accuracy(learning_curve(half, learn(PROBE, half), seed=seed), len(half), strategy="probe")
        others = np.setdiff1d(np.arange(len(examples)), rows)
        whole = replace(examples, folds=tuple((np.append(rows[a], others), rows[b]) for a, b in pairs))
        truth = np.mean(learn(PROBE, whole).logits[rows].argmax(axis=1) == examples.targets[rows])
        assert found.predictions[0].accuracy is not None
        misses.append(abs(found.predictions[0].accuracy - truth))
        unchanged.append(abs(found.accuracy - truth))
    assert np.mean(misses) < 0.7 * np.mean(unchanged)


@pytest.mark.real
def test_real_flowers_have_a_layer_map_that_rises(flowers: tuple[Examples, list[str]]) -> None:
    examples, names = flowers
    found = map_layers(examples, names)
    assert [stage.name for stage in found.stages] == names
    assert found.transfers_to >= 6
    assert found.stages[-1].accuracy > found.stages[0].accuracy + 0.2
    assert not found.top_is_worse
