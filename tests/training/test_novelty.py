"""The novelty score finds what is far, and its threshold keeps its promise on rows that are not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from headstart.training.linear import Floats
from headstart.training.novelty import MAX_REFERENCES, draw_references, fit_novelty


def make(rows: int, seed: int = 0, classes: int = 3) -> tuple[Floats, Floats]:
    centres = np.random.default_rng(7).normal(size=(classes, 16)) * 3
    labels = np.arange(rows) % classes
    return centres[labels] + np.random.default_rng(seed).normal(size=(rows, 16)), np.eye(classes)[labels]


@pytest.mark.parametrize("neighbour", [1, 4])
def test_the_score_is_the_cosine_distance_to_the_kth_neighbour(neighbour: int) -> None:
    features, targets = make(90)
    queries = make(20, seed=1)[0]
    reference = fit_novelty(features, targets, seed=0, neighbour=neighbour)
    judge = NearestNeighbors(n_neighbors=neighbour, metric="cosine").fit(features)
    np.testing.assert_allclose(reference.score(queries), judge.kneighbors(queries)[0][:, -1], atol=1e-3)
    np.testing.assert_allclose(reference.score(queries), reference.score(queries * 50), atol=1e-6)


def test_far_rows_are_novel_and_like_rows_mostly_are_not() -> None:
    features, targets = make(300)
    reference = fit_novelty(features, targets, seed=0)
    like = reference.score(make(3000, seed=1)[0]) > reference.threshold
    far = reference.score(np.random.default_rng(5).normal(size=(200, 16)) * 3) > reference.threshold
    assert like.mean() < 0.08
    assert far.mean() > 0.5


def test_on_average_over_training_sets_the_threshold_keeps_its_promise() -> None:
    shares = []
    for seed in range(60):
        features, targets = make(39, seed=seed)
        reference = fit_novelty(features, targets, seed=0)
        shares.append((reference.score(make(300, seed=1000 + seed)[0]) > reference.threshold).mean())
    assert np.mean(shares) <= 0.055


def test_a_row_is_not_compared_with_its_own_group() -> None:
    features, targets = make(60)
    frames, frame_targets = np.repeat(features, 5, axis=0), np.repeat(targets, 5, axis=0)
    frames = frames + np.random.default_rng(2).normal(size=frames.shape) * 0.01
    alone = fit_novelty(features, targets, seed=0).threshold
    blind = fit_novelty(frames, frame_targets, seed=0).threshold
    grouped = fit_novelty(frames, frame_targets, groups=np.repeat(np.arange(60), 5), seed=0).threshold
    assert blind < alone / 10
    assert grouped == pytest.approx(alone, rel=0.3)


def test_a_single_group_counts_as_none() -> None:
    features, targets = make(60)
    one = fit_novelty(features, targets, groups=np.zeros(60, dtype=np.intp), seed=0)
    assert one.threshold == fit_novelty(features, targets, seed=0).threshold


def test_few_rows_give_the_largest_score_as_threshold() -> None:
    features, targets = make(6)
    reference = fit_novelty(features, targets, seed=0)
    distances = NearestNeighbors(n_neighbors=2, metric="cosine").fit(features).kneighbors(features)[0][:, 1]
    assert reference.threshold == pytest.approx(distances.max(), abs=1e-3)


def test_references_are_few_seeded_and_of_every_class() -> None:
    targets = np.eye(3)[[0] * 3000 + [1] * 1499 + [2]]
    drawn = draw_references(targets, MAX_REFERENCES, seed=3)
    assert len(drawn) <= MAX_REFERENCES
    assert len(np.unique(drawn)) == len(drawn)
    assert 4499 in drawn
    assert targets[drawn].mean(axis=0)[0] == pytest.approx(2 / 3, abs=0.01)
    np.testing.assert_array_equal(drawn, draw_references(targets, MAX_REFERENCES, seed=3))
    assert not np.array_equal(drawn, draw_references(targets, MAX_REFERENCES, seed=4))


def test_a_row_with_several_labels_counts_for_its_rarest() -> None:
    targets = np.zeros((100, 2))
    targets[:, 0] = 1
    targets[17, 1] = 1
    assert 17 in draw_references(targets, 10, seed=0)


def test_references_are_stored_small() -> None:
    features, targets = make(90)
    reference = fit_novelty(features.astype(np.float16), targets, seed=0)
    assert reference.features.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(reference.features.astype(float), axis=1), 1.0, atol=1e-3)


def test_one_row_is_no_reference() -> None:
    with pytest.raises(ValueError, match="two rows"):
        fit_novelty(np.ones((1, 4)), np.ones((1, 1)), seed=0)
