"""Strategies on frozen features: what predicts a row never saw it, and each reads what its name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from headstart.evaluation.calibration import probabilities
from headstart.evaluation.scores import row_log_loss
from headstart.training import strategies as module
from headstart.training.examples import Examples
from headstart.training.linear import Floats
from headstart.training.probe import Penalties, fit
from headstart.training.strategies import STRATEGIES, Learned, Strategy, learn, outputs_of, refit

MakeExamples = Callable[..., Examples]
NAMES = list(STRATEGIES)


def _loss(examples: Examples, learned: Learned) -> float:
    judged = examples.judged
    return float(row_log_loss(examples.targets[judged], probabilities(learned.logits[judged])).mean())


@pytest.mark.parametrize("name", NAMES)
def test_a_rows_logits_do_not_depend_on_the_labels_of_its_fold(
    make_examples: MakeExamples, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """At a given penalty: that one is the only thing that all rows choose together."""
    only = partial(module.choose, penalties=Penalties(strongest=0.01, weakest=0.01))
    monkeypatch.setattr(module, "choose", only)
    examples = make_examples([50, 50, 50], top=0.6, stage=0.6)
    held, others = examples.folds[0][1], examples.folds[1][1]
    targets = examples.targets.copy()
    targets[held] = (targets[held] + 1) % 3
    before = learn(STRATEGIES[name], examples)
    after = learn(STRATEGIES[name], replace(examples, targets=targets))
    np.testing.assert_array_equal(after.logits[held], before.logits[held])
    assert (after.logits[others] != before.logits[others]).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_never_held_out_have_no_logits(make_examples: MakeExamples, name: str) -> None:
    examples = make_examples([30, 30])
    train, held = examples.folds[0]
    learned = learn(STRATEGIES[name], replace(examples, folds=((train, held),)))
    assert np.isfinite(learned.logits[held]).all()
    assert np.isnan(learned.logits[train]).all()


def test_each_strategy_reads_the_outputs_that_it_names(make_examples: MakeExamples) -> None:
    examples = make_examples([60, 60], top=0.0, stage=1.0)
    assert outputs_of(STRATEGIES["linear_probe"], examples.columns) == ("features",)
    assert outputs_of(STRATEGIES["linear_probe_all_stages"], examples.columns) == ("stage_1", "features")
    losses = {name: _loss(examples, learn(STRATEGIES[name], examples)) for name in NAMES}
    assert losses["linear_probe_all_stages"] < 0.35
    assert losses["linear_probe"] > np.log(2) - 0.05
    blind = make_examples([60, 60], top=1.0, stage=0.0)
    assert _loss(blind, learn(STRATEGIES["prototype"], blind)) < 0.5


def test_a_refit_is_the_fit_of_all_rows_with_the_penalty_found_before(make_examples: MakeExamples) -> None:
    examples = make_examples([40, 30])
    learned = learn(STRATEGIES["linear_probe"], examples)
    assert learned.penalty is not None
    wanted = fit(examples.features(("features",)), examples.encoded, learned.penalty, kind="softmax")
    found = refit(learned, examples)
    np.testing.assert_array_equal(found.weights, wanted.weights)
    np.testing.assert_array_equal(found.bias, wanted.bias)
    assert learn(STRATEGIES["prototype"], examples).penalty is None


def test_balanced_classes_find_more_of_the_rare_one(make_examples: MakeExamples) -> None:
    examples = make_examples([300, 25], top=0.5)
    plain = STRATEGIES["linear_probe"]
    balanced = Strategy(plain.name, plain.features, plain.method, "balanced")
    assert balanced.title == "linear_probe, balanced classes"

    def recall(strategy: Strategy) -> Floats:
        decided = learn(strategy, examples).logits.argmax(1)
        return np.array([(decided[examples.targets == k] == k).mean() for k in (0, 1)])

    assert recall(balanced)[1] > recall(plain)[1] + 0.2
    assert refit(learn(balanced, examples), examples).bias[1] > refit(learn(plain, examples), examples).bias[1]


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_do_not_exclude_each_other_are_learned_each_for_itself(
    make_examples: MakeExamples, name: str
) -> None:
    examples = make_examples([50, 50, 50], task="multilabel")
    learned = learn(STRATEGIES[name], examples)
    assert ((learned.logits > 0) == examples.targets).mean() > 0.8
    model = refit(learned, examples)
    assert model.kind == "sigmoid"
    assert model.weights.shape[1] == 2
