"""Averages of rungs: convex weights that are optimal on many rows and keep to the single rung on few."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from headstart.errors import DataError
from headstart.planning.averaging import Average, average_rungs, fit_weights
from headstart.tasks import TASKS

Floats = npt.NDArray[np.float64]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _rungs(rows: int, *, margin: float = 1.5, noise: float = 1.0, seed: int = 0) -> tuple[dict[str, Floats], Floats]:
    """Two rungs that know as much, each with noise of its own, and one that knows nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, rows)
    known = margin * np.eye(4)[truth]
    first, second = (_softmax(known + rng.normal(0, noise, (rows, 4))) for _ in range(2))
    return {"a": first, "b": second, "useless": _softmax(rng.normal(0, 2, (rows, 4)))}, truth


def _average(rows: int, *, groups: npt.NDArray[np.int64] | None = None, seed: int = 0, **how: float) -> Average:
    rungs, truth = _rungs(rows, seed=seed, **how)
    found = np.arange(rows) if groups is None else groups
    return average_rungs(rungs, "a", truth, found, TASKS["classification"])


def test_with_many_rows_equals_share_and_the_useless_gets_nothing() -> None:
    average = _average(3000)
    assert average.names == ("a", "b")
    assert average.weights == pytest.approx((0.5, 0.5), abs=0.06)
    assert average.worthwhile
    assert average.saved.mean > 0
    assert "a + " in average.said


def test_with_few_rows_the_single_rung_keeps_most() -> None:
    few = [_average(8, seed=seed) for seed in range(20)]
    assert all(dict(zip(a.names, a.weights, strict=True))["a"] > 0.7 for a in few)
    assert np.mean([a.worthwhile for a in few]) <= 0.25


def test_copies_gain_nothing() -> None:
    rungs, truth = _rungs(500)
    twice = average_rungs({"a": rungs["a"], "b": rungs["a"]}, "a", truth, np.arange(500), TASKS["classification"])
    assert twice.saved.mean == pytest.approx(0, abs=1e-12)
    assert not twice.worthwhile


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(5, 60))
def test_weights_are_those_of_a_general_optimiser(seed: int, members: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    chosen, counts = rng.uniform(0.05, 1, (members, rows)), rng.uniform(0.2, 1, rows)

    def loss(weights: Floats) -> float:
        return -float(counts @ np.log(weights @ chosen) + 20 * np.log(weights[0]))

    found = fit_weights(chosen, counts, 0)
    bound = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    start = np.full(members, 1 / members)
    best = minimize(loss, start, bounds=[(1e-9, 1)] * members, constraints=bound, method="SLSQP")
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0
    assert loss(found) <= best.fun + 1e-3


def test_rows_of_a_group_count_once() -> None:
    rungs, truth = _rungs(30)
    tenfold = {name: np.repeat(rows, 10, axis=0) for name, rows in rungs.items()}
    once = average_rungs(rungs, "a", truth, np.arange(30), TASKS["classification"])
    copied = average_rungs(tenfold, "a", np.repeat(truth, 10), np.repeat(np.arange(30), 10), TASKS["classification"])
    assert copied.weights == pytest.approx(once.weights, abs=1e-5)


def test_judged_rows_had_no_part_in_their_own_weights() -> None:
    rungs, truth = _rungs(60)
    average = average_rungs(rungs, "a", truth, np.arange(60), TASKS["classification"])
    weights = dict(zip(average.names, average.weights, strict=True))
    full = sum(weights.get(name, 0) * rows for name, rows in rungs.items())
    assert not np.allclose(average.probabilities, full)
    np.testing.assert_allclose(average.probabilities.sum(1), 1)


def test_several_labels_a_row() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 3)) < 0.3
    rungs = {name: 1 / (1 + np.exp(-(3 * truth - 1.5 + rng.normal(0, 1, truth.shape)))) for name in ("a", "b")}
    average = average_rungs(rungs, "a", truth, np.arange(2000), TASKS["multilabel"], thresholds=np.full(3, 0.5))
    assert average.weights == pytest.approx((0.5, 0.5), abs=0.2), "labels of a row share its one count"
    assert average.worthwhile


def test_every_rung_must_say_something_of_every_row() -> None:
    rungs, truth = _rungs(20)
    rungs["b"][3] = np.nan
    with pytest.raises(DataError, match="b does not predict every row"):
        average_rungs(rungs, "a", truth, np.arange(20), TASKS["classification"])
