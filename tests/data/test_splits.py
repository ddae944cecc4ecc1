"""Splits: groups stay whole, classes keep their shares, and no training part loses a class."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from headstart.data.splits import KEPT, assign, folds, hold_out

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def single_label(draw: st.DrawFn, grouped: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets of any imbalance, with groups of any size."""
    rng = np.random.default_rng(draw(SEEDS))
    rows, classes = draw(st.integers(1, 300)), draw(st.integers(1, 12))
    targets = rng.choice(classes, rows, p=rng.dirichlet(np.full(classes, draw(st.sampled_from([0.2, 1, 10])))))
    groups = rng.integers(0, draw(st.integers(1, 300)), rows) if grouped and draw(st.booleans()) else None
    return np.unique(targets, return_inverse=True)[1], groups


@st.composite
def multi_label(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(draw(SEEDS))
    rows, classes = draw(st.integers(1, 200)), draw(st.integers(1, 10))
    targets = rng.random((rows, classes)) < rng.uniform(0, 0.6, classes)
    return targets, rng.integers(0, draw(st.integers(1, 200)), rows) if draw(st.booleans()) else None


def one_hot(targets: np.ndarray) -> np.ndarray:
    return targets if targets.ndim == 2 else np.eye(targets.max() + 1, dtype=bool)[targets]


@settings(deadline=None, max_examples=150)
@given(st.one_of(single_label(), multi_label()), st.integers(2, 6), SEEDS)
def test_folds_hold_every_row_once_and_never_part_a_group_or_lose_a_class(
    data: tuple[np.ndarray, np.ndarray | None], k: int, seed: int
) -> None:
    targets, groups = data
    pairs = folds(targets, groups, k, seed)
    held_once = np.zeros(len(targets), int)
    groups = np.arange(len(targets)) if groups is None else groups
    labels = one_hot(targets)
    for train, held in pairs:
        assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(len(targets)))
        assert not set(groups[train]) & set(groups[held])
        assert labels[train].any(0)[labels.any(0)].all()
        assert len(held)
        held_once[held] += 1
    assert held_once.max(initial=0) <= 1
    never = np.flatnonzero(held_once == 0)
    if targets.ndim == 1:
        lone = [c for c in np.unique(targets) if len(set(groups[targets == c])) == 1]
        assert set(np.flatnonzero(np.isin(targets, lone))) <= set(never)


@settings(deadline=None, max_examples=150)
@given(st.one_of(single_label(), multi_label()), st.floats(0.05, 0.85), SEEDS)
def test_a_held_out_part_never_parts_a_group_or_takes_a_class(
    data: tuple[np.ndarray, np.ndarray | None], fraction: float, seed: int
) -> None:
    targets, groups = data
    held = hold_out(targets, groups, fraction, seed)
    groups = np.arange(len(targets)) if groups is None else groups
    labels = one_hot(targets)
    assert not set(groups[held]) & set(groups[~held])
    assert labels[~held].any(0)[labels.any(0)].all()


@settings(deadline=None, max_examples=100)
@given(single_label(grouped=False), st.integers(2, 6), SEEDS)
def test_without_groups_every_count_is_right_to_a_row(data: tuple[np.ndarray, None], k: int, seed: int) -> None:
    targets, _ = data
    parts = assign(targets, None, (1 / k,) * k, seed)
    free = parts != KEPT
    assert np.array_equal(~free, np.bincount(targets)[targets] == 1)
    for rows in [free] + [free & (targets == label) for label in np.unique(targets)]:
        counts = np.bincount(parts[rows], minlength=k)
        assert counts.max() - counts.min() <= 1


@settings(deadline=None, max_examples=50)
@given(st.one_of(single_label(), multi_label()), SEEDS)
def test_equal_seeds_give_equal_parts(data: tuple[np.ndarray, np.ndarray | None], seed: int) -> None:
    parts = [assign(*data, (0.5, 0.3, 0.2), seed) for _ in range(2)]
    assert np.array_equal(*parts)


def test_other_seeds_give_other_parts() -> None:
    targets = np.arange(100) % 4
    assert not np.array_equal(hold_out(targets, None, 0.2, 0), hold_out(targets, None, 0.2, 1))
    groups = np.arange(100) // 2
    assert not np.array_equal(hold_out(targets, groups, 0.2, 0), hold_out(targets, groups, 0.2, 1))


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.8])
def test_shares_are_met_for_every_kind_of_data(fraction: float) -> None:
    rng = np.random.default_rng(0)
    classes = rng.choice(5, 3000, p=[0.5, 0.3, 0.1, 0.08, 0.02])
    patients = rng.integers(0, 500, 3000)
    tags = rng.random((3000, 12)) < rng.uniform(0.01, 0.5, 12)
    for targets, groups, tolerance in [
        (classes, None, 0.01),
        (classes, patients, 0.05),
        (classes[patients], patients, 0.05),
        (tags, None, 0.02),
        (tags, patients, 0.08),
    ]:
        held = hold_out(targets, groups, fraction, 0)
        labels = one_hot(targets)
        assert abs(held.mean() - fraction) < 0.01
        shares = labels[held].sum(0) / labels.sum(0)
        assert np.abs(shares - fraction).max() < tolerance + 1 / labels.sum(0).min()


def test_many_small_classes_are_held_in_their_share() -> None:
    assert hold_out(np.repeat(np.arange(1000), 3), None, 0.2, 0).mean() == pytest.approx(0.2, abs=0.001)
    pairs = folds(np.repeat(np.arange(300), 6), np.repeat(np.arange(900), 2), 5, 0)
    assert all(abs(len(held) - 360) <= 4 for _, held in pairs)


@pytest.mark.parametrize("purity", [0.2, 0.8, 1.0])
def test_grouped_folds_are_about_as_even_as_scikit_learns(purity: float) -> None:
    """Even folds have a chi-square near 0; ungrouped folds by chance would have one near 12, the degrees of freedom."""

    def chi_square(targets: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        counts = np.array([np.bincount(targets[held], minlength=4) for _, held in pairs])
        wished = np.bincount(targets, minlength=4) / 5
        return float(((counts - wished) ** 2 / wished).sum())

    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(60), rng.integers(1, 60, 60))
        pure = rng.random(len(groups)) < purity
        targets = np.where(pure, rng.integers(0, 4, 60)[groups], rng.integers(0, 4, len(groups)))
        reference = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(targets, targets, groups)
        found.append([chi_square(targets, pairs) for pairs in (folds(targets, groups, 5, 0), list(reference))])
    ours, theirs = np.median(found, 0)
    assert ours <= 2 * theirs + 0.5


def test_too_few_groups_give_fewer_folds_or_none() -> None:
    targets = np.array([0, 1] * 10)
    assert len(folds(targets, np.arange(20) // 10, 5, 0)) == 2
    assert folds(targets, np.zeros(20, int), 5, 0) == []
    assert folds(np.arange(4), None, 5, 0) == []
    assert folds(np.empty(0, int), None, 5, 0) == []
    assert not hold_out(targets, np.zeros(20, int), 0.2, 0).any()


@pytest.mark.soak
def test_a_hundred_thousand_rows_take_seconds() -> None:
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    folds(rng.integers(0, 100, 100_000), None, 5, 0)
    folds(rng.random((100_000, 40)) < 0.1, None, 5, 0)
    folds(rng.integers(0, 100, 100_000), rng.integers(0, 30_000, 100_000), 5, 0)
    assert time.perf_counter() - start < 30
