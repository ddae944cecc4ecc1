"""The penalty is chosen on unseen rows, along a path that goes as far as the data wants."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from headstart.evaluation.calibration import probabilities
from headstart.training.linear import Floats, fit_path
from headstart.training.probe import Fold, Penalties, balanced_weights, choose, fit


def make(signal: float, rows: int = 150, columns: int = 40, classes: int = 3) -> tuple[Floats, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, columns))
    scores = features[:, :8] @ rng.normal(size=(8, classes)) * signal
    return features, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


def folds_of(rows: int, count: int = 4) -> list[Fold]:
    return list(KFold(count, shuffle=True, random_state=0).split(np.empty(rows)))


def test_losses_and_logits_equal_scikit_learns_on_the_same_folds() -> None:
    features, labels = make(1.0)
    folds = folds_of(len(labels))
    choice = choose(features, np.eye(3)[labels], folds, kind="softmax")
    expected = np.empty((len(labels), 3))
    for train, held in folds:
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(C=1 / (choice.penalty * len(train)), tol=1e-8, max_iter=10_000)
        model.fit(scaler.transform(features[train]), labels[train])
        expected[held] = model.predict_proba(scaler.transform(features[held]))
    np.testing.assert_allclose(probabilities(choice.oof_logits, kind="softmax"), expected, atol=5e-3)
    assert min(choice.losses) == pytest.approx(log_loss(labels, expected), abs=1e-3)
    assert choice.converged


def test_the_chosen_penalty_is_the_least_of_all_tried_and_no_edge() -> None:
    features, labels = make(1.0)
    choice = choose(features, np.eye(3)[labels], folds_of(len(labels)), kind="softmax")
    best = choice.penalties.index(choice.penalty)
    assert choice.losses[best] == min(choice.losses)
    assert 0 < best < len(choice.losses) - 1
    assert list(choice.penalties) == sorted(choice.penalties, reverse=True)
    assert min(choice.losses[best + 1 :]) > choice.losses[best]


def test_a_loose_tolerance_gives_nearly_the_same_probabilities() -> None:
    features, labels = make(1.0)
    tight, loose = (
        choose(features, np.eye(3)[labels], folds_of(len(labels)), kind="softmax", tolerance=tolerance)
        for tolerance in (1e-9, 1e-4)
    )
    assert (tight.oof_logits != loose.oof_logits).any()
    assert loose.losses[0] == pytest.approx(tight.losses[0], abs=2e-2)
    assert min(loose.losses) == pytest.approx(min(tight.losses), abs=2e-2)


def test_pure_noise_ends_the_path_early_at_the_class_frequencies() -> None:
    features, labels = make(0.0)
    choice = choose(features, np.eye(3)[labels], folds_of(len(labels)), kind="softmax")
    assert choice.penalty in choice.penalties[:2]
    assert len(choice.penalties) <= 6
    assert min(choice.losses) == pytest.approx(np.log(3), abs=0.05)


def test_a_clear_signal_takes_the_path_further_than_a_weak_one() -> None:
    chosen = []
    for signal in (0.3, 20.0):
        features, labels = make(signal)
        chosen.append(choose(features, np.eye(3)[labels], folds_of(150), kind="softmax").penalty)
    assert chosen[1] < chosen[0]


def test_separable_classes_end_the_path_once_nothing_is_left_to_gain() -> None:
    labels = np.arange(120) % 3
    features = np.eye(3)[labels] * 10 + np.random.default_rng(0).normal(size=(120, 3)) * 0.01
    choice = choose(features, np.eye(3)[labels], folds_of(120), kind="softmax")
    assert choice.losses[-1] < 1e-3
    assert len(choice.losses) < len(Penalties().grid(3))


def test_rows_never_held_out_have_no_logits() -> None:
    features, labels = make(1.0)
    held = np.arange(100, 150)
    choice = choose(features, np.eye(3)[labels], [(np.arange(100), held)], kind="softmax")
    assert np.isnan(choice.oof_logits[:100]).all()
    assert np.isfinite(choice.oof_logits[held]).all()


def test_a_held_out_row_shapes_nothing_in_its_own_logits() -> None:
    features, labels = make(1.0)
    train, held = np.arange(100), np.arange(100, 150)
    one = Penalties(strongest=1e-3, weakest=1e-3)
    before = choose(features, np.eye(3)[labels], [(train, held)], kind="softmax", penalties=one)
    features[140:] *= 100.0
    labels[140:] = 0
    after = choose(features, np.eye(3)[labels], [(train, held)], kind="softmax", penalties=one)
    np.testing.assert_array_equal(before.oof_logits[100:140], after.oof_logits[100:140])


def test_equal_calls_give_equal_results() -> None:
    features, labels = make(1.0)
    one, other = (choose(features, np.eye(3)[labels], folds_of(150), kind="softmax") for _ in range(2))
    assert (one.penalty, one.losses) == (other.penalty, other.losses)
    np.testing.assert_array_equal(one.oof_logits, other.oof_logits)


def test_a_fold_that_misses_a_class_has_a_finite_loss() -> None:
    features, labels = make(1.0)
    labels = labels % 2
    labels[149] = 2
    folds = [(np.arange(75), np.arange(75, 150)), (np.arange(75, 150), np.arange(75))]
    choice = choose(features, np.eye(3)[labels], folds, kind="softmax")
    assert np.isfinite(choice.losses).all()


def test_several_labels_are_chosen_and_fitted() -> None:
    features, _ = make(1.0)
    targets = (features[:, :4] + np.random.default_rng(1).normal(size=(150, 4)) * 0.3 > 0.5).astype(float)
    choice = choose(features, targets, folds_of(150), kind="sigmoid")
    chance = probabilities(choice.oof_logits, kind="sigmoid")
    assert ((chance > 0.5) == targets).mean() > 0.7
    assert min(choice.losses) == pytest.approx(
        sum(log_loss(targets[:, label], chance[:, label]) for label in range(4)), abs=1e-6
    )


def test_the_refit_is_the_fit_of_all_rows_at_that_penalty() -> None:
    features, labels = make(1.0)
    targets = np.eye(3)[labels]
    weights = balanced_weights(targets)
    refit = fit(features, targets, 0.3, kind="softmax", row_weights=weights)
    (expected,) = fit_path(features, targets, [0.3], kind="softmax", row_weights=weights)
    np.testing.assert_allclose(refit.weights, expected.weights, atol=1e-4)


def test_balanced_weights_equal_scikit_learns() -> None:
    labels = np.array([0, 0, 0, 0, 0, 2, 2, 3])
    np.testing.assert_allclose(balanced_weights(np.eye(5)[labels]), compute_sample_weight("balanced", labels))


def test_balanced_weights_refuse_labels_that_go_together() -> None:
    with pytest.raises(ValueError, match="exclusive"):
        balanced_weights(np.ones((3, 2)))


def test_class_weights_raise_the_recall_of_a_rare_class() -> None:
    features, labels = make(0.5, rows=400, classes=2)
    kept = np.flatnonzero((labels == 0) | (np.arange(400) % 8 == 0))
    features, targets = features[kept], np.eye(2)[labels[kept]]
    recalls = []
    for weights in (None, balanced_weights(targets)):
        choice = choose(features, targets, folds_of(len(kept)), kind="softmax", row_weights=weights)
        recalls.append((choice.oof_logits.argmax(axis=1) == 1)[targets[:, 1] == 1].mean())
    assert recalls[1] > recalls[0]


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ([], "must be folds"),
        ([(np.arange(5), np.arange(0))], "must be folds"),
        ([(np.arange(5), np.arange(4, 8))], "both trained on and held out"),
        ([(np.arange(5), np.arange(5, 8)), (np.arange(5), np.arange(7, 9))], "held out twice"),
    ],
)
def test_folds_that_would_spoil_the_evidence_are_refused(folds: list[Fold], message: str) -> None:
    features, labels = make(1.0)
    with pytest.raises(ValueError, match=message):
        choose(features, np.eye(3)[labels], folds, kind="softmax")


@pytest.mark.parametrize("wrong", [{"factor": 1.0}, {"weakest": 2.0}, {"patience": 0}])
def test_penalties_that_do_not_descend_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="descend"):
        Penalties(**wrong)  # type: ignore[arg-type]
