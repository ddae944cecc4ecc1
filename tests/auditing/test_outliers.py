"""Outliers: strangers are found, singly and in pairs, and an even cloud has none."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.auditing.outliers import outliers
from headstart.auditing.robust import robust_scores


def _cloud(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(count, 30))) + np.repeat(np.eye(2, 30) * 4, count // 2, axis=0)


def _names(count: int) -> list[str]:
    return [str(row) for row in range(count)]


def test_strangers_are_found_even_two_that_are_alike() -> None:
    rows = _cloud(100)
    rows[10] = 0
    rows[10, 20] = 9
    rows[50] = rows[51] = 0
    rows[[50, 51], 25] = 9
    found = outliers(_names(100), rows, np.arange(100))
    assert {one.file for one in found[:3]} == {"10", "50", "51"}
    assert len(found) <= 4
    assert all("unlike all other images" in one.evidence for one in found)
    scores = [one.score or 0 for one in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("count", [20, 50, 200, 1000])
def test_an_even_cloud_has_hardly_any(count: int) -> None:
    assert len(outliers(_names(count), _cloud(count), np.arange(count))) <= max(1, count // 100)


def test_few_images_have_no_bulk() -> None:
    assert outliers(_names(4), np.eye(4), np.arange(4)) == ()


def test_equal_images_and_a_single_group() -> None:
    assert outliers(_names(50), np.ones((50, 8)), np.arange(50)) == ()
    assert outliers(_names(50), _cloud(50), np.zeros(50, int)) == ()


def test_rows_of_one_group_do_not_vouch_for_each_other() -> None:
    rows = _cloud(100)
    rows[90:] = np.eye(30)[5] * 9  # ten frames of one foreign video
    owners = np.arange(100)
    owners[90:] = 90
    frames = {str(row) for row in range(90, 100)}
    assert frames <= {one.file for one in outliers(_names(100), rows, owners)}
    assert not frames & {one.file for one in outliers(_names(100), rows, np.arange(100))}


def test_robust_scores() -> None:
    assert robust_scores([]).tolist() == []
    assert robust_scores([3, 3, 3]).tolist() == [0, 0, 0]
    assert robust_scores([1, np.nan, np.inf, 1]).tolist() == [0, 0, 0, 0]
    normal = np.random.default_rng(0).normal(5, 2, 20_000)
    assert robust_scores(normal).std() == pytest.approx(1, abs=0.03)
    mostly_equal = robust_scores([0] * 9 + [10])
    assert mostly_equal[-1] > 3.5
    assert (mostly_equal[:-1] == 0).all()
