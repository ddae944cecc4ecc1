"""The ladder keeps what is better on unseen rows, finds nothing in noise, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from headstart.data.splits import folds
from headstart.planning.ladder import Climbed, LadderRecord, candidates, climb, race
from headstart.planning.refolding import deal_again, dealt
from headstart.planning.rule_table import DEALS, ENOUGH_VALIDATION_ROWS
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


def test_a_probe_that_time_does_not_hold_is_left_out_and_the_first_never_is(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=0.2, stage=1.0)
    strategies = candidates("auto", examples, "accuracy")
    found = climb(strategies, examples, metric="accuracy", cut=9, seed=0, left=lambda: 0.0)
    assert list(found.tried) == ["prototype", "linear_probe"]
    assert found.record.by_clock
    assert found.record.steps[-1].startswith("linear_probe_all_stages is left out: it would take about ")
    whole = climb(strategies, examples, metric="accuracy", cut=9, seed=0, left=lambda: 3600.0)
    assert whole.record.chosen == "linear_probe_all_stages"
    assert (whole.record.by_clock, whole.record.steps) == (False, ())


@pytest.mark.parametrize("deals", [1, 3])
def test_an_accuracy_has_its_rows_and_an_interval_that_holds_it(make_examples: MakeExamples, deals: int) -> None:
    examples = make_examples([80, 80, 80] if deals == 1 else [20, 20, 20], top=0.4)
    for rung in _climb(examples).record.rungs:
        assert rung.rows == len(examples)
        assert rung.ci95 is not None
        assert rung.ci95[0] < rung.score < rung.ci95[1]
    assert all(rung.ci95 is None for rung in _climb(examples, "macro_f1").record.rungs)


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
    examples = make_examples([70, 70, 70], top=0.2)
    climbed = _climb(examples)
    chosen = next(rung for rung in climbed.record.rungs if rung.strategy == climbed.record.chosen)
    right = climbed.calibration.probabilities.argmax(1) == examples.targets[examples.judged]
    assert right.mean() == pytest.approx(chosen.score)


@pytest.mark.parametrize(("metric", "task"), [("accuracy", "classification"), ("macro_f1", "multilabel")])
def test_few_rows_are_judged_by_the_mean_over_several_deals_of_their_folds(
    make_examples: MakeExamples, metric: str, task: str
) -> None:
    examples = make_examples([40, 40, 40], top=0.3, stage=0.3, task=task)
    strategies = candidates("auto", examples, metric)
    climbed = climb(strategies, examples, metric=metric, cut=9, seed=0)
    deals = dealt(examples, 0)
    apart = [race(strategies, [deal], metric=metric, cut=9, seed=0) for deal in deals]
    assert len(apart) == DEALS
    for number, rung in enumerate(climbed.record.rungs):
        title = rung.strategy
        scores = [one.record.rungs[number].score for one in apart]
        assert len(set(scores)) > 1 or title == "prototype"
        assert rung.score == pytest.approx(np.mean(scores))
        np.testing.assert_allclose(
            climbed.scores[title].losses, np.mean([one.scores[title].losses for one in apart], axis=0)
        )
        assert rung.log_loss == pytest.approx(climbed.scores[title].losses.mean())
        own, of_first = climbed.tried[title], apart[0].tried[title]
        np.testing.assert_array_equal(own[0].logits, of_first[0].logits)
        np.testing.assert_array_equal(own[1].probabilities, of_first[1].probabilities)
        temperatures = [one.tried[title][1].temperature for one in apart]
        assert min(temperatures) <= own[1].temperature <= max(temperatures)
        assert own[0].penalty in [one.tried[title][0].penalty for one in apart]
    assert f"dealt {DEALS} times" in climbed.record.notes[0]


def test_with_several_deals_the_score_depends_less_on_their_luck(make_examples: MakeExamples) -> None:
    examples = make_examples([25, 25, 25], top=0.3, stage=0.3)
    strategies = candidates("linear_probe", examples, "accuracy")

    def deviation(times: int) -> float:
        return float(np.std([_score(deal_again(_redealt(examples, seed), times, seed)) for seed in range(8)]))

    def _score(deals: tuple[Examples, ...]) -> float:
        return race(strategies, deals, metric="accuracy", cut=9, seed=0).record.rungs[0].score

    assert deviation(5) < 0.75 * deviation(1)


def test_many_rows_and_a_validation_split_of_the_users_are_judged_once(make_examples: MakeExamples) -> None:
    many = make_examples([ENOUGH_VALIDATION_ROWS // 2] * 2)
    few = make_examples([20, 20])
    given = replace(few, folds=few.folds[:1])
    assert dealt(many, 0) == (many,)
    assert dealt(given, 0) == (given,)
    for examples in (many, given):
        assert not _climb(examples).record.notes
    grouped = make_examples([300, 300], groups=np.arange(600) // 6)
    assert len(dealt(grouped, 0)) == DEALS


def test_every_deal_keeps_groups_together_and_the_first_is_what_rungs_above_are_judged_on(
    make_examples: MakeExamples,
) -> None:
    examples = make_examples([60, 60], groups=np.arange(120) // 4)
    deals = dealt(examples, 7)
    assert deals[0] is examples
    held = set()
    for deal in deals:
        held.add(tuple(np.sort(deal.folds[0][1])))
        for seen, out in deal.folds:
            assert not np.intersect1d(examples.groups[seen], examples.groups[out]).size
    assert len(held) == len(deals)
    again = dealt(examples, 7)
    for one, other in zip(deals, again, strict=True):
        np.testing.assert_array_equal(one.folds[0][1], other.folds[0][1])
    neighbour = {tuple(np.sort(deal.folds[0][1])) for deal in dealt(_redealt(examples, 8), 8)[1:]}
    assert not neighbour & held


def test_a_row_that_only_some_deals_hold_out_is_judged_by_those(make_examples: MakeExamples) -> None:
    examples = make_examples([30, 30], top=0.3, stage=0.3)
    (seen, held), *others = dealt(examples, 0)[1].folds
    kept = replace(examples, folds=((np.append(seen, held[0]), held[1:]), *others))
    strategies = candidates("linear_probe", examples, "accuracy")
    both = race(strategies, [examples, kept], metric="accuracy", cut=9, seed=0).scores["linear_probe"]
    alone = race(strategies, [examples], metric="accuracy", cut=9, seed=0).scores["linear_probe"]
    assert np.isfinite(both.losses).all()
    assert both.losses[held[0]] == alone.losses[held[0]]
    assert np.isnan(
        race(strategies, [kept, examples], metric="accuracy", cut=9, seed=0).scores["linear_probe"].losses[held[0]]
    )


def _redealt(examples: Examples, seed: int) -> Examples:
    return replace(examples, folds=tuple(folds(examples.targets, examples.groups, 5, seed)))


def test_a_path_of_penalties_ends_with_the_time_and_says_so(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60, 60], top=0.2, stage=1.0)
    probe = [STRATEGIES["linear_probe"]]
    whole = climb(probe, examples, metric="accuracy", cut=9, seed=0)
    found = climb(probe, examples, metric="accuracy", cut=9, seed=0, left=lambda: 0.0)
    assert (found.best.penalty or 0) > (whole.best.penalty or 0), "the strongest is tried first"
    assert found.best.out_of_time
    assert found.record.by_clock
    assert found.record.steps == ("linear_probe: the time was over before weaker penalties could be tried",)
    assert not whole.best.out_of_time
