"""Baselines equal their textbook definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from headstart.evaluation.calibration import probabilities
from headstart.training import neighbours
from headstart.training.baselines import (
    NEIGHBOUR_COUNTS,
    VOTE_TEMPERATURE,
    KNearest,
    class_frequencies,
    fit_knearest,
    fit_prototype,
    majority,
)
from headstart.training.linear import Floats, Kind
from headstart.training.neighbours import nearest, unit_rows


def make(rows: int = 120, classes: int = 3, spread: float = 1.0) -> tuple[Floats, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    return rng.normal(size=(classes, 10))[labels] + rng.normal(size=(rows, 10)) * spread, labels


def halves(rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(0).permutation(rows)
    first, second = order[: rows // 2], order[rows // 2 :]
    return [(first, second), (second, first)]


def test_majority_predicts_the_most_frequent_class_with_its_share() -> None:
    chance = majority(np.eye(3)[[0] * 60 + [1] * 40], 5, "softmax")
    assert chance.shape == (5, 3)
    np.testing.assert_allclose(chance.sum(axis=1), 1.0)
    np.testing.assert_allclose(chance[0], [0.6, 0.4, 0.0], atol=0.01)
    assert (chance > 0).all()


def test_frequencies_of_labels_stand_alone() -> None:
    share = class_frequencies(np.array([[1.0, 0.0, 1.0]] * 50), "sigmoid")
    np.testing.assert_allclose(share, [50.5 / 51, 0.5 / 51, 50.5 / 51])


@pytest.mark.parametrize("count", [1, 5, 20])
def test_votes_equal_scikit_learns_weighted_cosine_neighbours(count: int) -> None:
    features, labels = make()
    queries = features[:50] + np.random.default_rng(1).normal(size=(50, 10))
    targets = np.eye(3)[labels]
    frequencies = class_frequencies(targets, "softmax")
    model = KNearest(unit_rows(features), targets, frequencies, count)
    judge = KNeighborsClassifier(
        count, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / VOTE_TEMPERATURE)
    ).fit(features, labels)
    expected = (count * judge.predict_proba(queries) + frequencies) / (count + 1)
    np.testing.assert_allclose(model.probabilities(queries), expected, atol=1e-4)


def test_labels_are_voted_on_one_by_one() -> None:
    features, _ = make()
    targets = (np.random.default_rng(1).random((120, 4)) < 0.3).astype(float)
    together = KNearest(unit_rows(features), targets, class_frequencies(targets, "sigmoid"), 5)
    for label in range(4):
        column = targets[:, [label]]
        alone = KNearest(unit_rows(features), column, class_frequencies(column, "sigmoid"), 5)
        np.testing.assert_allclose(
            together.probabilities(features)[:, label], alone.probabilities(features)[:, 0], rtol=1e-12
        )


@pytest.mark.parametrize("spread", [0.3, 1.5, 100.0])
def test_the_count_with_the_least_out_of_fold_log_loss_is_chosen(spread: float) -> None:
    features, labels = make(spread=spread)
    targets = np.eye(3)[labels]
    losses = []
    for count in NEIGHBOUR_COUNTS:
        chance = np.empty((120, 3))
        for train, held in halves(120):
            frequencies = class_frequencies(targets[train], "softmax")
            model = KNearest(unit_rows(features[train]), targets[train], frequencies, count)
            chance[held] = model.probabilities(features[held])
        losses.append(log_loss(labels, chance))
    chosen = fit_knearest(features, targets, halves(120), kind="softmax").neighbours
    assert chosen == NEIGHBOUR_COUNTS[int(np.argmin(losses))]


def test_few_rows_limit_the_neighbours() -> None:
    features, labels = make(rows=8, classes=2)
    model = fit_knearest(features, np.eye(2)[labels], halves(8), kind="softmax")
    assert model.neighbours <= 4
    assert model.probabilities(features).shape == (8, 2)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_neighbours_separate_what_is_separate(kind: Kind) -> None:
    features, labels = make(spread=0.1)
    model = fit_knearest(features.astype(np.float16), np.eye(3)[labels], halves(120), kind=kind)
    assert (model.probabilities(features).argmax(axis=1) == labels).all()


def test_neighbours_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit_rows(make()[0])
    whole = nearest(rows, rows, 7)
    monkeypatch.setattr(neighbours, "CHUNK_SIMILARITIES", 500)
    pieces = nearest(rows, rows, 7)
    np.testing.assert_array_equal(whole[1], pieces[1])
    np.testing.assert_allclose(whole[0], pieces[0], atol=1e-6)


def test_unit_rows_survive_zeros_and_the_largest_float16() -> None:
    rows = unit_rows(np.array([[0, 0, 0], [65504, 65504, 0], [6e-8, 0, 0]], dtype=np.float16))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [0, 1, 1], rtol=1e-5)


def test_more_neighbours_than_references_are_refused() -> None:
    rows = unit_rows(make()[0])
    with pytest.raises(ValueError, match="121 neighbours"):
        nearest(rows, rows, 121)


def test_the_prototype_equals_scikit_learns_nearest_centroid() -> None:
    features, labels = make(spread=2.0)
    scaler = StandardScaler().fit(features)
    judge = NearestCentroid().fit(scaler.transform(features), labels)
    queries = features + np.random.default_rng(1).normal(size=features.shape)
    model = fit_prototype(features, np.eye(3)[labels], kind="softmax")
    np.testing.assert_array_equal(model.logits(queries).argmax(axis=1), judge.predict(scaler.transform(queries)))


def test_a_label_is_given_where_the_mean_with_it_is_nearer_than_the_one_without() -> None:
    features, labels = make(spread=2.0)
    scaled = StandardScaler().fit_transform(features)
    targets = np.stack([labels == 0, labels != 1], axis=1).astype(float)
    logits = fit_prototype(features, targets, kind="sigmoid").logits(features)
    for label in range(2):
        chosen = targets[:, label] == 1
        with_it, without = scaled[chosen].mean(axis=0), scaled[~chosen].mean(axis=0)
        nearer = np.square(scaled - with_it).sum(axis=1) < np.square(scaled - without).sum(axis=1)
        np.testing.assert_array_equal(logits[:, label] > 0, nearer)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_class_without_a_row_never_wins(kind: Kind) -> None:
    features, labels = make()
    model = fit_prototype(features, np.eye(4)[labels], kind=kind)
    assert np.isfinite(model.bias).all()
    assert (probabilities(model.logits(features), kind=kind)[:, 3] < 0.05).all()
