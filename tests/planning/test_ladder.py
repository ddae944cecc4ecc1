"""The ladder keeps what is better on unseen rows, finds nothing in noise, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.planning.ladder import Climbed, LadderRecord, candidates, climb
from headstart.records import from_json, to_json
from headstart.training.examples import Examples
from headstart.training.strategies import STRATEGIES

MakeExamples = Callable[..., Examples]


def _climb(examples: Examples, metric: str = "accuracy", strategy: str = "auto") -> Climbed:
    return climb(candidates(strategy, examples, metric), examples, metric=metric, cut=9, seed=0)


def test_shuffled_labels_do_not_look_better_than_chance(make_examples: MakeExamples) -> None:
    scores, losses = [], []
    for seed in range(8):
        climbed = _climb(make_examples([50, 50, 50], shuffled=True, seed=seed))
        chosen = next(rung for rung in climbed.record.rungs if rung.strategy == climbed.record.chosen)
        scores.append(chosen.score)
        losses.append(chosen.log_loss)
    assert np.mean(scores) < 1 / 3 + 0.04  # 1,200 rows: three standard errors, the best of three strategies included
    assert np.mean(losses) > np.log(3) - 0.01


@pytest.mark.parametrize(
    ("top", "stage", "best"), [(0.2, 1.0, "linear_probe_all_stages"), (0.9, 0.0, "prototype or linear_probe")]
)
def test_the_better_strategy_wins(make_examples: MakeExamples, top: float, stage: float, best: str) -> None:
    climbed = _climb(make_examples([60, 60, 60], top=top, stage=stage))
    assert climbed.record.chosen in best.split(" or ")
    assert climbed.best.strategy.name == climbed.record.chosen


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "log_loss"])
def test_what_is_chosen_is_kept_and_no_worse_than_what_was_kept_before_it(
    make_examples: MakeExamples, metric: str
) -> None:
    climbed = _climb(make_examples([80, 60, 30], top=0.5, stage=0.5), metric)
    kept = [rung for rung in climbed.record.rungs if rung.decision == "kept"]
    assert kept[-1].strategy == climbed.record.chosen
    scores = [rung.score for rung in kept]
    assert scores == sorted(scores, reverse=metric == "log_loss")
    dropped = [rung for rung in climbed.record.rungs if rung.decision == "dropped"]
    assert all("not better" in rung.reason for rung in dropped)
    assert all(rung.gain_ci95 is not None for rung in climbed.record.rungs[1:])


def test_every_decision_has_its_numbers_and_the_record_can_be_read_back(make_examples: MakeExamples) -> None:
    record = _climb(make_examples([60, 60], top=0.3, stage=1.0)).record
    first, *others = record.rungs
    assert (first.decision, first.reason, first.gain_ci95) == ("kept", "the first rung", None)
    assert [rung.strategy for rung in record.rungs] == list(STRATEGIES)
    for rung in others:
        assert f"accuracy {rung.score:.4f} against" in rung.reason
        assert "log-loss lower by" in rung.reason or "log-loss higher by" in rung.reason
    assert from_json(LadderRecord, to_json(record)) == record


def test_balanced_classes_race_only_where_the_metric_and_the_data_ask(make_examples: MakeExamples) -> None:
    uneven, even = make_examples([60, 20]), make_examples([40, 40])
    for metric in ("balanced_accuracy", "macro_f1"):
        titles = [strategy.title for strategy in candidates("auto", uneven, metric)]
        assert titles[3:] == ["linear_probe, balanced classes", "linear_probe_all_stages, balanced classes"]
        assert len(candidates("auto", even, metric)) == 3
        assert [s.title for s in candidates("linear_probe", uneven, metric)] == [titles[1], titles[3]]
        assert len(candidates("prototype", uneven, metric)) == 1
        assert len(candidates("auto", make_examples([60, 20], task="multilabel"), metric)) == 3
    for metric in ("accuracy", "auroc", "log_loss"):
        assert len(candidates("auto", uneven, metric)) == 3


def test_balanced_classes_can_win_although_their_loss_over_all_rows_is_higher(make_examples: MakeExamples) -> None:
    """What serves rare classes costs log-loss on frequent ones; a metric for rare classes must not be held to that."""
    examples = make_examples([200, 100, 30], top=0.0, stage=0.6)
    record = _climb(examples, "balanced_accuracy", "linear_probe_all_stages").record
    plain, balanced = record.rungs
    assert balanced.score > plain.score + 0.03
    assert balanced.log_loss > plain.log_loss
    assert record.chosen == balanced.strategy
    assert "class-balanced log-loss lower" in balanced.reason
    assert _climb(examples, "accuracy").record.chosen == plain.strategy


def test_a_metric_that_the_rows_leave_undefined_gives_way_to_the_log_loss(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60], top=0.3, stage=1.0)
    train, held = examples.folds[0]
    one_class = replace(examples, folds=((train, held[examples.targets[held] == 0]),))
    record = _climb(one_class, "auroc").record
    assert all(np.isnan(rung.score) for rung in record.rungs)
    chosen = next(rung for rung in record.rungs if rung.strategy == record.chosen)
    assert chosen.log_loss == min(rung.log_loss for rung in record.rungs)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "auroc", "log_loss"])
def test_labels_that_do_not_exclude_each_other_are_raced_too(make_examples: MakeExamples, metric: str) -> None:
    climbed = _climb(make_examples([60, 60, 30], top=0.3, stage=1.0, task="multilabel"), metric)
    assert climbed.record.chosen == "linear_probe_all_stages"
    assert climbed.calibration.thresholds is not None


def test_calibrated_probabilities_are_those_of_the_chosen_rung(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=0.2)
    climbed = _climb(examples)
    chosen = next(rung for rung in climbed.record.rungs if rung.strategy == climbed.record.chosen)
    right = climbed.calibration.probabilities.argmax(1) == examples.targets[examples.judged]
    assert right.mean() == pytest.approx(chosen.score)
