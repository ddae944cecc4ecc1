"""The convex fit equals scikit-learn's optimum and stays sane where scikit-learn gives up."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from headstart.errors import DataError
from headstart.evaluation.calibration import probabilities
from headstart.training.linear import (
    Floats,
    Kind,
    LinearModel,
    column_scale,
    fit_path,
    row_losses,
)

WIDE, TALL = (60, 90), (240, 30)


def make(shape: tuple[int, int], classes: int, seed: int = 0) -> tuple[Floats, np.ndarray]:
    """Correlated features of unlike scales, and noisy, unbalanced classes that depend on them."""
    rng = np.random.default_rng(seed)
    columns = shape[1]
    mixing = rng.normal(size=(columns, columns)) / np.sqrt(columns)
    features = rng.normal(size=shape) @ mixing * rng.uniform(0.1, 10, columns) + rng.normal(size=columns)
    scores = column_scale(features).standardise(features) @ rng.normal(size=(columns, classes))
    scores += rng.gumbel(size=scores.shape) * 2 - np.arange(classes)
    labels = scores.argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return features, labels


def reference(features: Floats, labels: np.ndarray, penalty: float, queries: Floats, weights: Floats) -> Floats:
    """scikit-learn's probabilities for the same objective on standardised features."""
    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=1 / (penalty * weights.sum()), tol=1e-10, max_iter=50_000)
    model.fit(scaler.transform(features), labels, sample_weight=weights)
    return np.asarray(model.predict_proba(scaler.transform(queries)))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [WIDE, TALL], ids=["wide", "tall"])
def test_softmax_equals_scikit_learn(shape: tuple[int, int], classes: int, weighted: bool) -> None:
    features, labels = make(shape, classes)
    queries = make(shape, classes, seed=1)[0]
    weights = np.random.default_rng(2).uniform(0.2, 3, len(labels)) if weighted else np.ones(len(labels))
    penalties = [10.0, 1.0, 0.1, 0.01]
    path = fit_path(
        features, np.eye(classes)[labels], penalties, kind="softmax", row_weights=weights if weighted else None
    )
    for penalty, model in zip(penalties, path, strict=True):
        expected = reference(features, labels, penalty, queries, weights)
        assert model.converged
        np.testing.assert_allclose(probabilities(model.logits(queries), kind="softmax"), expected, atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shape", [WIDE, TALL], ids=["wide", "tall"])
def test_sigmoid_equals_independent_scikit_learn_fits(shape: tuple[int, int], weighted: bool) -> None:
    features, _ = make(shape, 3)
    targets = np.stack([make(shape, 2, seed=seed)[1] for seed in range(3)], axis=1).astype(float)
    queries = make(shape, 3, seed=9)[0]
    weights = np.random.default_rng(2).uniform(0.2, 3, len(targets)) if weighted else np.ones(len(targets))
    (model,) = fit_path(features, targets, [0.05], kind="sigmoid", row_weights=weights if weighted else None)
    chance = probabilities(model.logits(queries), kind="sigmoid")
    for label in range(3):
        expected = reference(features, targets[:, label], 0.05, queries, weights)[:, 1]
        np.testing.assert_allclose(chance[:, label], expected, atol=1e-3)


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=["wide", "tall"])
def test_the_gradient_of_the_stated_objective_vanishes(shape: tuple[int, int]) -> None:
    features, labels = make(shape, 3)
    targets, penalty = np.eye(3)[labels], 0.02
    (model,) = fit_path(features, targets, [penalty], kind="softmax", tolerance=1e-14)
    scale = column_scale(features)
    residual = (probabilities(model.logits(features), kind="softmax") - targets) / len(features)
    slopes = model.weights * scale.deviation[:, None]
    gradient = scale.standardise(features).T @ residual + penalty * slopes
    assert np.abs(gradient).max() < 1e-6
    assert np.abs(residual.sum(axis=0)).max() < 1e-6


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=["wide", "tall"])
def test_float32_products_are_close_enough_to_compare_penalties(shape: tuple[int, int]) -> None:
    features, labels = make(shape, 3)
    arguments = (features.astype(np.float16), np.eye(3)[labels], [1.0, 0.01])
    exact = fit_path(*arguments, kind="softmax")
    quick = fit_path(*arguments, kind="softmax", precision="float32", tolerance=1e-7)
    for one, other in zip(exact, quick, strict=True):
        first, second = (probabilities(model.logits(features), kind="softmax") for model in (one, other))
        np.testing.assert_allclose(first, second, atol=5e-3)


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    features, labels = make(TALL, 4)
    targets = np.eye(4)[labels]
    warm = fit_path(features, targets, [10.0, 1.0, 0.1, 0.003], kind="softmax")[-1]
    (cold,) = fit_path(features, targets, [0.003], kind="softmax")
    first, second = (probabilities(model.logits(features), kind="softmax") for model in (warm, cold))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_equal_calls_give_equal_bits() -> None:
    features, labels = make(WIDE, 3)
    one, other = (fit_path(features, np.eye(3)[labels], [0.1], kind="softmax")[0] for _ in range(2))
    np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(one.bias, other.bias)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_stay_finite_at_a_tiny_penalty(kind: Kind, classes: int) -> None:
    labels = np.repeat(np.arange(classes), 20)
    features = np.eye(classes)[labels] * 5 + np.random.default_rng(0).normal(size=(len(labels), classes)) * 0.1
    (model,) = fit_path(features.astype(np.float32), np.eye(classes)[labels], [1e-9], kind=kind)
    logits = model.logits(features)
    assert model.converged
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) == labels).all()
    assert row_losses(logits, np.eye(classes)[labels], kind).max() < 1e-3


def test_two_exclusive_classes_share_one_logit_evenly() -> None:
    features, labels = make(WIDE, 2)
    (model,) = fit_path(features, np.eye(2)[labels], [0.1], kind="softmax")
    np.testing.assert_allclose(model.weights[:, 0], -model.weights[:, 1])


def test_a_constant_column_has_no_say_even_where_it_moves_later() -> None:
    features, labels = make(TALL, 3)
    features[:, 4] = 0.1
    features[:, 5] = 3000.0
    (model,) = fit_path(features.astype(np.float16), np.eye(3)[labels], [0.01], kind="softmax")
    moved = features.copy()
    moved[:, [4, 5]] += 100.0
    np.testing.assert_allclose(model.logits(moved), model.logits(features), atol=1e-6)


def test_a_column_of_rounding_noise_does_not_explode() -> None:
    features, labels = make(TALL, 3)
    features /= features.std(axis=0)
    quiet = features.copy()
    quiet[:, 0] = np.random.default_rng(0).normal(size=len(quiet)) * 1e-6
    (model,) = fit_path(quiet, np.eye(3)[labels], [0.01], kind="softmax")
    moved = quiet.copy()
    moved[:, 0] += 0.01  # ten thousand of its deviations, a hundredth of the other columns'
    assert np.abs(model.logits(moved) - model.logits(quiet)).max() < 1.0


def test_only_constant_columns_leave_the_class_frequencies() -> None:
    targets = np.eye(2)[[0, 0, 0, 1]]
    (model,) = fit_path(np.ones((4, 3), dtype=np.float16), targets, [0.1], kind="softmax")
    np.testing.assert_allclose(probabilities(model.logits(np.ones((1, 3))), kind="softmax"), [[0.75, 0.25]], atol=1e-6)


def test_folding_of_standardisation_changes_nothing() -> None:
    features, _ = make(TALL, 2)
    scale = column_scale(features)
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(features.shape[1], 3)), rng.normal(size=3)
    folded = scale.fold(weights, bias, "softmax")
    np.testing.assert_allclose(folded.logits(features), scale.standardise(features) @ weights + bias, atol=1e-9)


@pytest.mark.parametrize("present", [[0, 2, 3], [1, 3], [2]])
def test_a_class_without_rows_is_finite_and_improbable(present: list[int]) -> None:
    features, labels = make(WIDE, len(present))
    targets = np.eye(4)[np.asarray(present)[labels]]
    (model,) = fit_path(features, targets, [0.1], kind="softmax")
    chance = probabilities(model.logits(features), kind="softmax")
    missing = np.setdiff1d(np.arange(4), present)
    assert np.isfinite(model.bias).all()
    assert (model.weights[:, missing] == 0).all()
    assert (chance[:, missing].mean(axis=0) < 1.5 / len(features)).all()
    assert (chance[:, missing].mean(axis=0) > 0.1 / len(features)).all()
    assert np.isin(chance.argmax(axis=1), present).all()
    (alone,) = fit_path(features, targets[:, present], [0.1], kind="softmax")
    np.testing.assert_allclose(model.weights[:, present], alone.weights)


def test_a_label_that_none_or_all_rows_have_is_finite_and_sure() -> None:
    features, labels = make(WIDE, 2)
    targets = np.stack([np.zeros(60), labels, np.ones(60)], axis=1)
    (model,) = fit_path(features, targets, [0.1], kind="sigmoid")
    chance = probabilities(model.logits(features), kind="sigmoid")
    assert np.isfinite(model.bias).all()
    np.testing.assert_allclose(chance[:, 0], 0.5 / 61)
    np.testing.assert_allclose(chance[:, 2], 1 - 0.5 / 61)


def test_one_row_can_be_fitted() -> None:
    (model,) = fit_path(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]), [0.1], kind="softmax")
    assert model.logits(np.array([[5.0, 6.0]])).argmax() == 1


def test_features_that_are_not_finite_name_the_row() -> None:
    features, labels = make(WIDE, 2)
    features[7, 3] = np.nan
    with pytest.raises(DataError, match="row 7"):
        fit_path(features, np.eye(2)[labels], [0.1], kind="softmax")


@pytest.mark.parametrize(
    ("targets", "weights", "penalty", "message"),
    [
        (np.full((3, 2), 0.6), None, 0.1, "sum to 1"),
        (np.array([[2.0, -1.0]] * 3), None, 0.1, r"0\.\.1"),
        (np.eye(2), None, 0.1, "don't fit"),
        (np.eye(3), np.zeros(3), 0.1, "row weights"),
        (np.eye(3), np.array([1.0, -1.0, 1.0]), 0.1, "row weights"),
        (np.eye(3), None, 0.0, "penalty"),
    ],
)
def test_wrong_arguments_are_refused(targets: Floats, weights: Floats | None, penalty: float, message: str) -> None:
    features = np.random.default_rng(0).normal(size=(3, 4))
    with pytest.raises(ValueError, match=message):
        fit_path(features, targets, [penalty], kind="softmax", row_weights=weights)


def test_probabilities_and_losses_survive_huge_logits() -> None:
    logits = np.array([[1e4, -1e4, 0.0]])
    targets = np.array([[0.0, 1.0, 0.0]])
    for kind in ("softmax", "sigmoid"):
        assert np.isfinite(probabilities(logits, kind=kind)).all()
        assert np.isfinite(row_losses(logits, targets, kind)).all()


def test_logits_do_not_depend_on_the_chunks_of_rows() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 8)).astype(np.float16)
    model = LinearModel(rng.normal(size=(8, 3)), rng.normal(size=3), "softmax")
    np.testing.assert_allclose(model.logits(features)[4990:], model.logits(features[4990:]), rtol=1e-12)
