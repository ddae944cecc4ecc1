"""The deletion curve: a map that points at what counts scores below chance, one that points away from it above."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.explaining.deletion import deletion

SIDE = 70


class _Eye:
    """A trunk whose one feature is how much of a bright square in the upper left corner is still to be seen."""

    batch_size = 4
    trunk = SimpleNamespace(width=1)

    def __call__(self, views: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return (views[:, :20, :20] == 255).mean((1, 2, 3))[:, None].astype(np.float32)


def model() -> Any:
    def probabilities(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.concatenate([1 - rows, rows], axis=1).astype(np.float64)

    return SimpleNamespace(trunk=_Eye(), probabilities=probabilities)


@pytest.fixture
def view() -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(0).integers(0, 100, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:20, :20] = 255
    return pixels


def test_a_map_of_what_counts_scores_below_chance_and_its_opposite_above(view: npt.NDArray[np.uint8]) -> None:
    right = np.zeros((7, 7), np.float32)
    right[:2, :2] = 1
    good, bad = (deletion(model(), view, evidence, target=1) for evidence in (right, -right))
    assert good.auc < 0.2 < good.random_auc - 0.1
    assert bad.auc > good.random_auc + 0.1
    assert good.random_auc == bad.random_auc, "the random maps are the same for both"


def test_the_curve_goes_from_the_whole_view_to_none_of_it(view: npt.NDArray[np.uint8]) -> None:
    found = deletion(model(), view, np.arange(49, dtype=np.float32).reshape(7, 7), target=1)
    assert found.fractions == pytest.approx(np.arange(11) / 10)
    for curve in (found.probabilities, found.random_probabilities):
        assert (curve[0], curve[-1]) == (1.0, 0.0)
        assert (np.diff(curve) <= 1e-9).all()
    assert found.auc == pytest.approx(np.trapezoid(found.probabilities, found.fractions))
    assert found.random_auc == pytest.approx(np.trapezoid(found.random_probabilities, found.fractions))


def test_grain_in_a_map_does_not_make_grain_of_the_holes(view: npt.NDArray[np.uint8]) -> None:
    coarse = np.zeros((7, 7), np.float32)
    coarse[:2, :2] = 1
    fine = np.kron(coarse, np.ones((8, 8), np.float32))
    fine += np.where(np.indices(fine.shape).sum(0) % 2, 5, -5)
    assert deletion(model(), view, fine, 1).auc == pytest.approx(deletion(model(), view, coarse, 1).auc, abs=0.02)


def test_equal_seeds_draw_equal_maps(view: npt.NDArray[np.uint8]) -> None:
    evidence = np.eye(7, dtype=np.float32)
    first, again, other = (deletion(model(), view, evidence, 1, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.auc == other.auc
    assert first.random_auc != other.random_auc
