"""Backbones are ranked by what their probes lose on unseen rows, and the ranking says how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from headstart.errors import DataError
from headstart.planning.backbone_ranking import Evidence, Ranking, Scores, gather, rank, sample
from headstart.planning.rule_table import TIED_BELOW
from headstart.records import from_json, to_json
from headstart.training.examples import Examples

MakeExamples = Callable[..., Examples]
EQUAL = Scores(0.0, 1.0, 1.0, None, -1.0)


def _evidence(name: str, mean: float, *, rows: int = 200, noise: float = 0.1, seed: int = 0) -> Evidence:
    rng = np.random.default_rng(seed)
    losses = mean + noise * rng.normal(size=rows) + np.random.default_rng(99).normal(size=rows)  # rows differ alike
    numbers = np.arange(rows)
    return Evidence(name, numbers, losses, losses < 1, numbers, EQUAL)


def test_the_lowest_loss_comes_first_and_a_clear_lead_is_sure() -> None:
    ranking = rank([_evidence("c", 0.9, seed=1), _evidence("a", 0.5, seed=2), _evidence("b", 0.7, seed=3)])
    assert [one.name for one in ranking.backbones] == ["a", "b", "c"]
    assert [one.best for one in ranking.backbones] == [1.0, 0.0, 0.0]
    first, second, _ = ranking.backbones
    assert (first.behind, first.behind_ci95) == (0.0, None)
    assert second.behind_ci95 is not None
    assert second.behind_ci95[0] < 0.2 < second.behind_ci95[1]
    assert "really the best is 100%" in ranking.sentence


def test_probabilities_are_those_of_the_bootstrap_and_add_up_to_one() -> None:
    some = [_evidence(name, 0.5, noise=1.0, seed=seed) for seed, name in enumerate("abcd")]
    ranking = rank(some)
    assert sum(one.best or 0 for one in ranking.backbones) == pytest.approx(1)
    assert ranking == rank(some)
    two = rank([_evidence("a", 0.50, noise=0.5, seed=1), _evidence("b", 0.53, noise=0.5, seed=2)])
    a, b = sorted(two.backbones, key=lambda one: one.name)
    difference = a.log_loss - b.log_loss
    expected = norm.cdf(-difference / (0.5 * np.sqrt(2) / np.sqrt(200)))
    assert a.best == pytest.approx(expected, abs=0.08)


def test_how_sure_is_calibrated_over_many_comparisons_of_equal_backbones() -> None:
    """Of two equal backbones the first is the winner by luck: its probability is spread over a half to one."""
    found = []
    for seed in range(200):
        a, b = (_evidence(name, 0.5, rows=60, noise=1.0, seed=2 * seed + (name == "b")) for name in "ab")
        ranked = rank([a, b])
        found.append(max(one.best or 0 for one in ranked.backbones))
    assert 0.04 < np.mean(np.array(found) > 0.95) < 0.2  # a tenth where probabilities are right


def test_ties_go_by_the_other_scores_and_clear_differences_do_not() -> None:
    better = Scores(0.4, 2.0, 2.0, None, -0.2)
    lower = _evidence("a", 0.5)
    higher = replace(lower, name="b", losses=lower.losses + np.where(np.arange(200) % 2, 0.5, -0.49))
    share = rank([lower, higher]).backbones[0].best
    assert share is not None
    assert 0.5 < share < TIED_BELOW
    assert rank([lower, replace(higher, scores=better)]).backbones[0].name == higher.name
    assert rank([replace(lower, scores=better), higher]).backbones[0].name == lower.name
    assert "no clear winner" in rank([lower, replace(higher, scores=better)]).sentence
    clear = [_evidence("a", 0.5), replace(_evidence("b", 0.9, seed=1), scores=better)]
    assert rank(clear).backbones[0].name == "a"


def test_equal_backbones_keep_their_order_and_share_the_chance() -> None:
    ranking = rank([_evidence("a", 0.5), _evidence("b", 0.5)])
    assert [(one.name, one.best) for one in ranking.backbones] == [("a", 0.5), ("b", 0.5)]


def test_groups_make_it_less_sure() -> None:
    rng = np.random.default_rng(0)
    numbers, groups = np.arange(200), np.repeat(np.arange(10), 20)
    shift = rng.normal(size=10)[groups] * 0.3
    losses = {"a": shift, "b": np.full(200, 0.1)}
    pair = [Evidence(name, numbers, values, values < 1, numbers, EQUAL) for name, values in losses.items()]
    alone = rank(pair).backbones
    together = rank([replace(one, groups=groups) for one in pair]).backbones
    assert max(one.best or 0 for one in together) < max(one.best or 0 for one in alone)
    single = rank([replace(one, groups=np.zeros(200, np.int64)) for one in pair])
    assert all(one.best is None for one in single.backbones)
    assert "can't be said" in single.sentence


def test_backbones_that_saw_other_rows_can_not_be_compared() -> None:
    with pytest.raises(DataError, match="b and a were judged on different images"):
        rank([_evidence("a", 0.5), replace(_evidence("b", 0.5), rows=np.arange(1, 201))])
    with pytest.raises(ValueError, match="no backbone"):
        rank([])


def test_what_is_gathered_prefers_the_features_that_tell_the_classes_apart(make_examples: MakeExamples) -> None:
    weak, strong = (make_examples([40, 40, 40], top=top) for top in (0.2, 1.5))
    source = np.eye(3)[strong.targets.astype(int)] * 0.7 + 0.1
    ranking = rank([gather("weak", weak), gather("strong", strong, source=source)])
    assert [one.name for one in ranking.backbones] == ["strong", "weak"]
    better, worse = (one.scores for one in ranking.backbones)
    assert better.logme > worse.logme
    assert better.leep is not None
    assert worse.leep is None
    assert from_json(Ranking, to_json(ranking)) == ranking


def test_labels_that_do_not_exclude_each_other_are_ranked_by_loss_and_logme(make_examples: MakeExamples) -> None:
    pair = [gather(str(top), make_examples([40, 40], top=top, task="multilabel")) for top in (1.5, 0.1)]
    ranking = rank(pair)
    assert ranking.backbones[0].name == "1.5"
    assert ranking.backbones[0].scores.h_score is None
    assert from_json(Ranking, to_json(ranking)) == ranking


def test_a_sample_is_small_stratified_whole_in_its_groups_and_the_same_for_all(make_examples: MakeExamples) -> None:
    groups = np.repeat(np.arange(60), 10)
    one, other = (make_examples([300, 300], top=top, groups=groups) for top in (0.1, 1.0))
    small, same = sample(one, 200), sample(other, 200)
    np.testing.assert_array_equal(small.places, same.places)
    assert 160 <= len(small) <= 240
    assert set(np.unique(small.groups, return_counts=True)[1]) == {10}
    assert np.bincount(small.targets.astype(int)).min() >= 80
    for (seen, held), (all_seen, all_held) in zip(small.folds, one.folds, strict=True):
        assert set(small.places[seen]) == set(all_seen) & set(small.places)
        assert set(small.places[held]) == set(all_held) & set(small.places)
    assert sample(one, 600) is one
