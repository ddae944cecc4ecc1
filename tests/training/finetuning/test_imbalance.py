"""Balancing, against problems whose Bayes posterior is known: what it does to logits, and that priors come back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn import metrics as reference

from headstart.errors import OptionError
from headstart.evaluation.calibration import name_classes, probabilities
from headstart.evaluation.metrics import METRICS, score
from headstart.training.finetuning.imbalance import METHODS, Balance, Kind, balance_by, choose_balance

COUNTS = (700, 250, 50)
ROWS = sum(COUNTS)
# p(x | y) over five values of x, for each of three classes; p(y) are the shares of COUNTS.
LIKELIHOOD = np.array([[0.5, 0.2, 0.15, 0.1, 0.05], [0.1, 0.2, 0.3, 0.3, 0.1], [0.05, 0.1, 0.15, 0.2, 0.5]])
JOINT = LIKELIHOOD * (np.array(COUNTS) / ROWS)[:, None]
POSTERIOR = (JOINT / JOINT.sum(axis=0)).T


def _fit_softmax(balance: Balance) -> np.ndarray:
    """The logits (x, class) that minimise the expected training loss, free for every x."""
    joint = JOINT.T
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


@pytest.mark.parametrize("method", ["weighted_loss", "logit_adjustment"])
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


@pytest.mark.parametrize("method", ["weighted_loss", "logit_adjustment"])
def test_a_quarter_of_the_way_is_undone_as_exactly(method: str) -> None:
    balance = balance_by(method, COUNTS, "softmax", rows=ROWS, lean=0.25)
    logits = _fit_softmax(balance)
    np.testing.assert_allclose(probabilities(logits + balance.prior_offsets), POSTERIOR, atol=2e-4)
    tilted = POSTERIOR * (np.array(COUNTS) / ROWS) ** -0.25
    np.testing.assert_allclose(probabilities(logits), tilted / tilted.sum(axis=1, keepdims=True), atol=2e-4)


@pytest.mark.parametrize("method", ["weighted_loss", "logit_adjustment"])
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
    wanted = "logit_adjustment" if (kind, metric) == ("softmax", "balanced_accuracy") else "weighted_loss"
    assert balance.method == (wanted if metric in ("balanced_accuracy", "macro_f1") else "none")
    assert balance.reason
    if balance.method == "none":
        assert not balance.loss_offsets
        assert not balance.loss_weights
        assert set(balance.prior_offsets) == set(balance.decision_offsets) == {0.0}
    assert (balance.thresholds is None) == (balance.method == "none" or kind == "sigmoid")


def _normal_classes(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Three normal classes of priors 0.9, 0.08 and 0.02, and their exact posterior: what training approaches."""
    rng, priors, means = np.random.default_rng(0), np.array([0.9, 0.08, 0.02]), 1.5 * np.eye(3)
    truth = rng.choice(3, rows, p=priors)
    points = rng.normal(size=(rows, 3)) + means[truth]
    return truth, probabilities(points @ means.T - (means**2).sum(axis=1) / 2 + np.log(priors))


@pytest.mark.parametrize(("metric", "gain"), [("balanced_accuracy", 0.15), ("macro_f1", 0.03)])
def test_exact_minimisers_serve_the_metric_better_by_the_thresholds(metric: str, gain: float) -> None:
    truth, chances = _normal_classes(20_000)
    balance = choose_balance(np.bincount(truth).tolist(), metric, "softmax", rows=len(truth))
    assert balance.thresholds is not None
    assert np.mean(balance.thresholds) == pytest.approx(1)
    named = (np.log(chances) + balance.decision_offsets).argmax(axis=1)
    np.testing.assert_array_equal(name_classes(chances, balance.thresholds), named)
    served = score(metric, "classification", truth, chances, balance.thresholds)
    assert served > score(metric, "classification", truth, chances) + gain
    judge = {
        "balanced_accuracy": reference.balanced_accuracy_score(truth, named),
        "macro_f1": reference.f1_score(truth, named, average="macro"),
    }
    assert served == pytest.approx(judge[metric], abs=1e-9)


def test_macro_f1_is_not_given_all_of_the_lean() -> None:
    truth, chances = _normal_classes(20_000)
    full = np.bincount(truth) / len(truth)
    balance = choose_balance(np.bincount(truth).tolist(), "macro_f1", "softmax", rows=len(truth))
    served = score("macro_f1", "classification", truth, chances, balance.thresholds)
    assert served > score("macro_f1", "classification", truth, chances, full) + 0.1


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


def test_unknown_names_are_refused() -> None:
    with pytest.raises(OptionError, match="metric"):
        choose_balance(COUNTS, "acuracy", "softmax", rows=ROWS)
    with pytest.raises(OptionError, match="smote"):
        balance_by("smote", COUNTS, "softmax", rows=ROWS)
