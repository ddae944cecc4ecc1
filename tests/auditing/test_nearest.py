"""The nearest rows: all of them where they are few, nearly all where they are many."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart.auditing import nearest as room
from headstart.auditing.lookalikes import find_lookalikes
from headstart.auditing.nearest import nearest


def _clouds(count: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, count // 20), width))
    rows = centres[rng.integers(len(centres), size=count)] + 0.7 * rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_few_rows_are_compared_one_by_one() -> None:
    rows = _clouds(300, 16)
    products = rows @ rows.T
    np.fill_diagonal(products, -2)
    indices, found = nearest(rows, 4)
    np.testing.assert_array_equal(indices, np.argsort(-products, axis=1)[:, :4])
    np.testing.assert_allclose(found, -np.sort(-products, axis=1)[:, :4], atol=1e-6)


def test_equal_rows_find_each_other_and_never_themselves() -> None:
    rows = np.repeat(_clouds(20, 8), 2, axis=0)
    indices, found = nearest(rows, 1)
    np.testing.assert_array_equal(indices[:, 0], np.arange(40) ^ 1)
    np.testing.assert_allclose(found, 1, atol=1e-5)


def test_where_there_are_too_few_others_the_rest_is_empty() -> None:
    indices, _ = nearest(_clouds(2, 8), 3)
    np.testing.assert_array_equal(indices, [[1, -1, -1], [0, -1, -1]])
    assert (nearest(_clouds(1, 8), 2)[0] == -1).all()


def test_many_rows_find_nearly_all_of_their_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "EXACT_BELOW", 1000)
    monkeypatch.setattr(room, "_CELL", 40)
    rows = _with_copies(4000, 32)
    indices, _ = nearest(rows, 3)
    assert (indices[: len(rows) // 2] == np.arange(len(rows) // 2, len(rows))[:, None]).any(1).mean() > 0.97
    assert (indices != np.arange(len(rows))[:, None]).all()
    again, _ = nearest(rows, 3)
    np.testing.assert_array_equal(indices, again)


def _with_copies(count: int, width: int) -> NDArray[np.float32]:
    """Rows, and behind them for each a copy that is slightly off."""
    rows = _clouds(count // 2, width)
    copies = rows + 0.4 / np.sqrt(width) * np.random.default_rng(1).normal(size=rows.shape)
    both = np.concatenate([rows, copies])
    return (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.soak
def test_a_hundred_thousand_rows_take_minutes() -> None:
    features = _with_copies(100_000, 128)
    pictures = np.random.default_rng(2).normal(size=(100_000, 16, 16)).astype(np.float32)
    started = time.process_time()
    found = find_lookalikes(pictures, features, np.arange(100_000))
    assert time.process_time() - started < 900
    pairs = set(map(tuple, found.pairs[found.by_features].tolist()))
    assert np.mean([(row, row + 50_000) in pairs for row in range(50_000)]) > 0.97
