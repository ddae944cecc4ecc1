"""The published scores agree with naive readings of their papers, and survive features of any rank."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from headstart.planning.transferability import h_score, h_score_shrunk, leep, logme, nleep

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Score = Callable[[Floats, Ints], float]
ON_FEATURES: list[Score] = [logme, h_score, h_score_shrunk, nleep]


def _clouds(rows: int, columns: int, classes: int, apart: float = 1.0, seed: int = 0) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = rng.normal(size=(classes, columns)) * apart
    return rng.normal(size=(rows, columns)) @ np.diag(rng.uniform(0.3, 2, columns)) + centres[labels], labels


def _paper_logme(features: Floats, labels: Ints) -> float:
    """You et al. 2021, algorithm 1 with equations 2 and 3, matrices written out."""
    rows, columns = features.shape
    evidences = []
    for label in np.unique(labels):
        y = (labels == label).astype(float)
        alpha = beta = 1.0
        for _ in range(5000):
            a = alpha * np.eye(columns) + beta * features.T @ features
            mean = beta * np.linalg.solve(a, features.T @ y)
            spectrum = np.linalg.eigvalsh(features.T @ features)
            gamma = (beta * spectrum / (alpha + beta * spectrum)).sum()
            residual = ((features @ mean - y) ** 2).sum()
            before, alpha, beta = (alpha, beta), gamma / (mean @ mean), (rows - gamma) / residual
            if np.allclose(before, (alpha, beta), rtol=1e-12):
                break
        a = alpha * np.eye(columns) + beta * features.T @ features
        mean = beta * np.linalg.solve(a, features.T @ y)
        evidences.append(
            rows / 2 * np.log(beta)
            + columns / 2 * np.log(alpha)
            - rows / 2 * np.log(2 * np.pi)
            - beta / 2 * ((features @ mean - y) ** 2).sum()
            - alpha / 2 * mean @ mean
            - np.linalg.slogdet(a)[1] / 2
        )
    return float(np.mean(evidences) / rows)


def test_logme_is_the_maximum_evidence_of_the_paper() -> None:
    for seed, apart in enumerate((1.0, 2.0, 3.0)):  # closer classes drive the paper's iteration to infinity
        features, labels = _clouds(80, 6, 3, apart, seed)
        assert logme(features, labels) == pytest.approx(_paper_logme(features, labels), abs=1e-9)


def test_logme_with_fewer_rows_than_columns_is_the_best_marginal_likelihood_of_the_targets() -> None:
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    features, labels = _clouds(25, 60, 2, 0.3)
    features = features - features.mean(axis=0) + 1.0

    def negative(logarithms: Floats, y: Floats) -> float:
        weight, noise = np.exp(logarithms)
        covariance = noise * np.eye(len(y)) + weight * features @ features.T
        return -float(multivariate_normal.logpdf(y, np.zeros(len(y)), covariance)) / len(y)

    best = []
    for label in (0, 1):
        y = (labels == label).astype(float)
        starts = [(w, v) for w in (-8.0, -4.0, 0.0) for v in (-4.0, -1.0)]
        best.append(max(-minimize(negative, start, args=(y,), method="Nelder-Mead").fun for start in starts))
    assert logme(features, labels) == pytest.approx(np.mean(best), abs=1e-4)


def test_logme_of_features_without_a_word_is_that_of_noise_around_zero() -> None:
    """The evidence of y ~ N(0, s) at the best s: -(log(2 pi mean(y^2)) + 1) / 2."""
    labels = np.arange(40) % 4
    expected = -(np.log(2 * np.pi * 0.25) + 1) / 2
    assert logme(np.zeros((40, 5)), labels) == pytest.approx(expected, abs=1e-6)


def test_logme_of_labels_that_do_not_exclude_each_other_is_the_mean_over_the_labels() -> None:
    features, labels = _clouds(60, 5, 3)
    columns = np.eye(4, dtype=bool)[labels]  # the fourth label has no row and no say
    assert logme(features, columns) == pytest.approx(logme(features, labels), abs=1e-12)


def _paper_h_score(features: Floats, labels: Ints) -> float:
    """Bao et al. 2019, definition 2, covariances written out."""
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    return float(np.trace(np.linalg.pinv(np.cov(features.T, bias=True)) @ np.cov(means.T, bias=True)))


def _paper_h_score_shrunk(features: Floats, labels: Ints) -> float:
    """Ibrahim et al. 2022, equation 5, with scikit-learn's Ledoit-Wolf covariance."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    between = (1 - fitted.shrinkage_) * np.cov(means.T, bias=True)
    return float(np.trace(np.linalg.inv(fitted.covariance_) @ between))


@pytest.mark.parametrize(("rows", "columns"), [(90, 7), (30, 50)])
def test_h_scores_are_those_of_the_papers(rows: int, columns: int) -> None:
    for seed in range(3):
        features, labels = _clouds(rows, columns, 3, 0.5, seed)
        assert h_score_shrunk(features, labels) == pytest.approx(_paper_h_score_shrunk(features, labels), rel=1e-9)
        if rows > columns:
            assert h_score(features, labels) == pytest.approx(_paper_h_score(features, labels), rel=1e-9)


def test_h_score_knows_its_bounds() -> None:
    features, labels = _clouds(90, 7, 3)
    assert 0 < h_score(features, labels) < 2
    assert h_score(np.eye(3)[labels], labels) == pytest.approx(2)  # the classes themselves: C - 1
    wide, few = _clouds(20, 50, 4)
    assert h_score(wide, few) == pytest.approx(3)  # as many directions as rows fit anything; shrinking sees through it
    assert h_score_shrunk(wide, few) < 2.9


def _paper_leep(source: Floats, labels: Ints) -> float:
    """Nguyen et al. 2020, section 3, loop for loop."""
    rows, classes = source.shape
    total = 0.0
    joint = np.zeros((int(labels.max()) + 1, classes))
    for i in range(rows):
        joint[labels[i]] += source[i] / rows
    for i in range(rows):
        total += np.log(sum(joint[labels[i], z] / joint[:, z].sum() * source[i, z] for z in range(classes)))
    return float(total / rows)


def test_leep_is_that_of_the_paper_and_knows_its_bounds() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    source = rng.dirichlet(np.ones(5), size=60)
    assert leep(source, labels) == pytest.approx(_paper_leep(source, labels), abs=1e-12)
    assert leep(np.eye(3)[labels], labels) == pytest.approx(0)  # source classes that are the labels
    assert leep(np.full((60, 5), 0.2), labels) == pytest.approx(-np.log(3))  # that say nothing: minus the entropy
    never = np.hstack([source, np.zeros((60, 2))])  # source classes that nothing belongs to
    assert leep(never, labels) == pytest.approx(leep(source, labels))


def test_leep_of_hard_source_classes_is_minus_the_conditional_entropy() -> None:
    rng = np.random.default_rng(1)
    labels, source = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    counts = np.zeros((3, 4))
    np.add.at(counts, (labels, source), 1)
    entropy = -(counts * np.log(counts / counts.sum(axis=0))).sum() / 200
    assert leep(np.eye(4)[source], labels) == pytest.approx(-entropy)


def test_nleep_tells_clear_clusters_from_labels_that_mean_nothing() -> None:
    features, labels = _clouds(300, 8, 3, apart=12.0)
    assert nleep(features, labels) == pytest.approx(0, abs=1e-6)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert nleep(features, shuffled) == pytest.approx(-np.log(3), abs=0.06)
    assert nleep(features, labels, seed=3) == nleep(features, labels, seed=3)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_better_separated_classes_score_higher(score: Score) -> None:
    found = [score(*_clouds(120, 10, 4, apart)) for apart in (0.0, 0.5, 1.5)]
    assert found == sorted(found)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_only_the_directions_count_and_not_their_names_or_unit(score: Score) -> None:
    features, labels = _clouds(90, 6, 3)
    rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]
    expected = score(features, labels)
    assert score(37.0 * features @ rotation, labels) == pytest.approx(expected, rel=1e-6)
    assert score(features, 10 * labels + 3) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("score", ON_FEATURES)
@pytest.mark.parametrize(
    "case",
    ["doubled", "constant column", "all constant", "fewer rows than columns", "a class of one", "one class", "huge"],
)
def test_every_shape_of_features_has_a_finite_score(score: Score, case: str) -> None:
    features, labels = _clouds(40, 6, 3)
    expected = score(features, labels)
    if case == "doubled":
        features = np.hstack([features, features])
    elif case == "constant column":
        features = np.hstack([features, np.full((40, 1), 1e3)])
    elif case == "all constant":
        features = np.full((40, 6), 0.1)
    elif case == "fewer rows than columns":
        features, labels = _clouds(9, 300, 3)
    elif case == "a class of one":
        labels = np.where(np.arange(40) == 7, 5, 0)
    elif case == "one class":
        labels = np.zeros(40, np.int64)
    elif case == "huge":
        features = features * 1e8
    found = score(features, labels)
    assert np.isfinite(found)
    if case == "huge" or (case == "doubled" and score is not h_score_shrunk):
        assert found == pytest.approx(expected, rel=1e-6)
    if case == "constant column" and score in (h_score, nleep):
        assert found == pytest.approx(expected, rel=0.05)
    if case in ("all constant", "one class") and score in (h_score, h_score_shrunk):
        assert found == pytest.approx(0, abs=1e-9)


def test_features_of_half_precision_are_scored_in_double() -> None:
    features, labels = _clouds(40, 6, 3)
    halves = features.astype(np.float16)
    for score in ON_FEATURES:
        assert score(halves, labels) == score(halves.astype(np.float64), labels)  # type: ignore[arg-type]
