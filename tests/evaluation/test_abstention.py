"""The promise of an abstain rule holds: too many errors among accepted rows happen as rarely as it says."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import DataError, OptionError
from headstart.evaluation.abstention import fit_abstain
from headstart.evaluation.intervals import clopper_pearson_upper
from headstart.records import from_json, to_json


def calibrated(generator, n):
    confidence = 0.5 + 0.5 * generator.beta(3, 1, n)
    return confidence, 1 - confidence


def everywhere_just_too_wrong(generator, n):
    return generator.random(n), np.full(n, 0.0501)


def too_wrong_below_a_half(generator, n):
    confidence = generator.random(n)
    return confidence, np.where(confidence > 0.5, 0.02, 0.3)


def in_steps(generator, n):
    confidence = np.round(generator.random(n), 1)
    return confidence, 0.25 * (1 - confidence)


@pytest.mark.parametrize("world", [calibrated, everywhere_just_too_wrong, too_wrong_below_a_half, in_steps])
@pytest.mark.parametrize("n", [120, 600])
def test_the_promise_is_kept(world, n):
    generator = np.random.default_rng(n)
    sample, rates = world(generator, 100_000)
    broken, repeats = 0, 600
    for _ in range(repeats):
        confidence, rate = world(generator, n)
        rule = fit_abstain(confidence, generator.random(n) >= rate, 0.05)
        broken += rule is not None and rates[sample >= rule.threshold].mean() > 0.05
    assert broken / repeats <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repeats)


def test_the_rule_says_what_it_saw():
    generator = np.random.default_rng(0)
    confidence, rate = too_wrong_below_a_half(generator, 2000)
    correct = generator.random(2000) >= rate
    rule = fit_abstain(confidence, correct, 0.05)
    assert rule is not None
    taken = confidence >= rule.threshold
    assert rule.accepted == taken.sum()
    assert rule.errors == (~correct[taken]).sum()
    assert rule.coverage == rule.accepted / 2000
    assert rule.bound == clopper_pearson_upper(rule.errors, rule.accepted)
    assert rule.bound <= 0.05
    assert 0.35 < rule.coverage < 0.65  # half of the rows are good enough
    assert from_json(type(rule), to_json(rule)) == rule


def test_a_good_model_accepts_everything():
    rule = fit_abstain(np.linspace(0.2, 0.9, 300), np.ones(300, bool), 0.05)
    assert rule is not None
    assert rule.coverage == 1.0
    assert rule.threshold == 0.2


def test_59_faultless_rows_prove_five_percent_and_58_do_not():
    assert fit_abstain(np.arange(58), np.ones(58, bool), 0.05) is None
    rule = fit_abstain(np.arange(59), np.ones(59, bool), 0.05)
    assert rule is not None
    assert rule.accepted == 59


def test_a_hopeless_model_gets_no_rule():
    generator = np.random.default_rng(0)
    assert fit_abstain(generator.random(500), generator.random(500) < 0.6, 0.05) is None
    assert fit_abstain([], [], 0.05) is None


def test_equal_confidences_are_accepted_together():
    confidence = np.repeat([0.9, 0.5], [100, 100])
    correct = np.concatenate([np.ones(100, bool), np.zeros(100, bool)])
    rule = fit_abstain(confidence, correct, 0.05)
    assert rule is not None
    assert rule.accepted == 100
    assert fit_abstain(np.full(200, 0.7), correct, 0.05) is None


def test_the_order_of_rows_does_not_matter():
    generator = np.random.default_rng(2)
    confidence, rate = in_steps(generator, 900)
    correct = generator.random(900) >= rate
    order = generator.permutation(900)
    assert fit_abstain(confidence, correct, 0.1) == fit_abstain(confidence[order], correct[order], 0.1)


@pytest.mark.parametrize(("wished", "level"), [(0.0, 0.95), (1.0, 0.95), (0.05, 1.0), (float("nan"), 0.95)])
def test_rates_outside_zero_and_one_are_refused(wished, level):
    with pytest.raises(OptionError, match="between 0 and 1"):
        fit_abstain([0.5], [True], wished, level)


def test_bad_arrays_are_refused():
    with pytest.raises(DataError, match="pair up"):
        fit_abstain([0.5, 0.6], [True], 0.05)
    with pytest.raises(DataError, match="finite"):
        fit_abstain([float("nan")], [True], 0.05)
