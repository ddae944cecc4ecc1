"""Balancing, against problems whose Bayes posterior is known: what it does to logits, and that priors come back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart.errors import OptionError
from headstart.evaluation.calibration import probabilities
from headstart.evaluation.metrics import METRICS
from headstart.training.finetuning.imbalance import METHODS, Balance, Kind, balance_by, choose_balance

COUNTS = (700, 250, 50)
ROWS = sum(COUNTS)
# p(x | y) over five values of x, for each of three classes; p(y) are the shares of COUNTS.
LIKELIHOOD = np.array([[0.5, 0.2, 0.15, 0.1, 0.05], [0.1, 0.2, 0.3, 0.3, 0.1], [0.05, 0.1, 0.15, 0.2, 0.5]])
JOINT = LIKELIHOOD * (np.array(COUNTS) / ROWS)[:, None]
POSTERIOR = (JOINT / JOINT.sum(axis=0)).T


def _drawn(balance: Balance) -> np.ndarray:
    """The joint distribution (x, y) of the rows that training sees."""
    joint = LIKELIHOOD / 3 if balance.method == "sampling" else JOINT
    return joint.T


def _fit_softmax(balance: Balance) -> np.ndarray:
    """The logits (x, class) that minimise the expected training loss, free for every x."""
    joint = _drawn(balance)
    offsets = np.array(balance.loss_offsets or np.zeros(3))
    weights = np.array(balance.loss_weights or np.ones(3))

    def loss(flat: np.ndarray) -> float:
        logits = flat.reshape(5, 3) + offsets
        logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return float(-(joint * weights * logs).sum())

    return np.asarray(minimize(loss, np.zeros(15), tol=1e-14).x.reshape(5, 3))


@pytest.mark.parametrize("method", METHODS)
def test_with_the_offsets_added_logits_mean_the_training_priors(method: str) -> None:
    balance = balance_by(method, COUNTS, "softmax", rows=ROWS)
    logits = _fit_softmax(balance)
    np.testing.assert_allclose(probabilities(logits + balance.prior_offsets), POSTERIOR, atol=2e-4)
    if method != "none":
        assert np.abs(probabilities(logits) - POSTERIOR).max() > 0.1


@pytest.mark.parametrize("method", ["sampling", "weighted_loss", "logit_adjustment"])
def test_before_that_they_mean_equal_priors(method: str) -> None:
    logits = _fit_softmax(balance_by(method, COUNTS, "softmax", rows=ROWS))
    np.testing.assert_allclose(probabilities(logits), (LIKELIHOOD / LIKELIHOOD.sum(axis=0)).T, atol=2e-4)


def test_a_capped_weight_is_undone_as_exactly() -> None:
    counts = (9900, 50, 50)
    balance = balance_by("weighted_loss", counts, "softmax", rows=10_000)
    weights = np.array(balance.loss_weights)
    assert weights.max() / weights.min() == pytest.approx(20)
    assert weights @ counts == pytest.approx(10_000)
    np.testing.assert_allclose(np.exp(-np.array(balance.prior_offsets)), weights)


@pytest.mark.parametrize("method", ["sampling", "weighted_loss", "logit_adjustment"])
def test_decision_offsets_give_the_best_balanced_accuracy(method: str) -> None:
    """Restored priors name the likeliest class; only with the offsets for deciding is the metric served."""
    balance = balance_by(method, COUNTS, "softmax", rows=ROWS)

    def balanced_accuracy(decided: np.ndarray) -> float:
        return float(np.mean([LIKELIHOOD[label][decided == label].sum() for label in range(3)]))

    calibrated = probabilities(_fit_softmax(balance) + balance.prior_offsets)
    served = balanced_accuracy((np.log(calibrated) + balance.decision_offsets).argmax(axis=1))
    every = [balanced_accuracy(np.array(decided)) for decided in np.ndindex(3, 3, 3, 3, 3)]
    assert served == pytest.approx(max(every), abs=1e-9)
    assert balanced_accuracy(calibrated.argmax(axis=1)) < served - 0.05


@pytest.mark.parametrize("method", ["none", "weighted_loss", "logit_adjustment"])
def test_labels_get_their_priors_back(method: str) -> None:
    """One label, true for 8 % of the rows; the logit is free for each of three values of x."""
    given_x, share_x = np.array([0.02, 0.1, 0.3]), np.array([0.6, 0.3, 0.1])
    rows = 10_000
    positive = round(rows * float(given_x @ share_x))
    balance = balance_by(method, [positive], "sigmoid", rows=rows)
    offset = balance.loss_offsets[0] if balance.loss_offsets else 0.0
    weight = balance.loss_weights[0] if balance.loss_weights else 1.0

    def loss(logits: np.ndarray) -> float:
        z = logits + offset
        per_x = weight * given_x * np.logaddexp(0, -z) + (1 - given_x) * np.logaddexp(0, z)
        return float(share_x @ per_x)

    logits = minimize(loss, np.zeros(3), tol=1e-14).x[:, None]
    restored = probabilities(logits + balance.prior_offsets, kind="sigmoid")[:, 0]
    np.testing.assert_allclose(restored, given_x, atol=2e-4)
    if method != "none":
        assert probabilities(logits, kind="sigmoid").max() > 0.7
    assert balance.decision_offsets == (0.0,)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_only_metrics_that_count_classes_alike_are_balanced_for(metric: str, kind: Kind) -> None:
    balance = choose_balance(COUNTS, metric, kind, rows=ROWS)
    wanted = "logit_adjustment" if kind == "softmax" else "weighted_loss"
    assert balance.method == (wanted if metric in ("balanced_accuracy", "macro_f1") else "none")
    assert balance.reason
    if balance.method == "none":
        assert not balance.loss_offsets
        assert not balance.loss_weights
        assert set(balance.prior_offsets) == set(balance.decision_offsets) == {0.0}


def test_nearly_equal_classes_are_left_alone() -> None:
    balance = choose_balance((100, 90, 80), "balanced_accuracy", "softmax", rows=270)
    assert balance.method == "none"
    assert "equally frequent" in balance.reason


def test_a_class_without_rows_is_never_favoured() -> None:
    balance = balance_by("logit_adjustment", (90, 10, 0), "softmax", rows=100)
    assert np.isfinite([*balance.loss_offsets, *balance.prior_offsets, *balance.decision_offsets]).all()
    assert balance.decision_offsets[2] == min(balance.decision_offsets)
    assert np.isfinite(balance_by("weighted_loss", (90, 10, 0), "softmax", rows=100).loss_weights).all()
    assert balance_by("weighted_loss", (0, 100), "sigmoid", rows=100).loss_weights == (20.0, 0.05)


@pytest.mark.parametrize(
    ("counts", "kind", "rows"),
    [((3, 4), "softmax", 8), ((7,), "softmax", 7), ((-1, 8), "softmax", 7), ((9, 1), "sigmoid", 8), ((), "sigmoid", 3)],
)
def test_counts_that_can_not_be_are_refused(counts: tuple[int, ...], kind: Kind, rows: int) -> None:
    with pytest.raises(OptionError, match="counts of classes"):
        choose_balance(counts, "macro_f1", kind, rows=rows)


def test_unknown_names_and_sampling_of_labels_are_refused() -> None:
    with pytest.raises(OptionError, match="metric"):
        choose_balance(COUNTS, "acuracy", "softmax", rows=ROWS)
    with pytest.raises(OptionError, match="smote"):
        balance_by("smote", COUNTS, "softmax", rows=ROWS)
    with pytest.raises(OptionError, match="several labels"):
        balance_by("sampling", COUNTS, "sigmoid", rows=ROWS)
