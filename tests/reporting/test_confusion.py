"""The matrix keeps every count, and of many classes those that are confused."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.reporting.confusion import MOST_CLASSES, view_confusion


def test_all_counts_of_few_classes_are_shown_with_their_share_of_the_row() -> None:
    view = view_confusion({"confusion": [[8, 2], [0, 0]]}, ("ants", "bees"))
    assert view is not None
    assert not view.partial
    assert [[cell.count for cell in row.cells] for row in view.rows] == [[8, 2], [0, 0]]
    assert [cell.share for cell in view.rows[0].cells] == [0.8, 0.2]
    assert [cell.share for cell in view.rows[1].cells] == [0.0, 0.0]
    assert [(pair.truth, pair.predicted, pair.count, pair.share) for pair in view.pairs] == [
        ("ants", "bees", 2, "20.0%")
    ]


def test_of_many_classes_the_most_confused_are_shown_and_the_rest_counted() -> None:
    rng = np.random.default_rng(0)
    counts = np.diag(rng.integers(50, 90, 100))
    counts[70, 90], counts[3, 99] = 20, 15
    counts[70, np.delete(np.arange(100), [70, 90])] = 1
    names = tuple(f"class {i}" for i in range(100))
    view = view_confusion({"confusion": counts.tolist()}, names)
    assert view is not None
    assert len(view.rows) == MOST_CLASSES
    assert view.partial
    shown = [row.name for row in view.rows]
    assert {"class 70", "class 90", "class 3", "class 99"} <= set(shown)
    assert shown == sorted(shown, key=names.index)
    for row in view.rows:
        assert (
            sum(cell.count for cell in row.cells) + (row.others or 0)
            == row.total
            == counts[names.index(row.name)].sum()
        )
    assert [(pair.truth, pair.predicted) for pair in view.pairs[:2]] == [
        ("class 70", "class 90"),
        ("class 3", "class 99"),
    ]


@pytest.mark.parametrize("confusion", [None, [], [[1, 2]], [[1, "x"], [2, 3]], [[1, 2, 3]] * 3])
def test_no_matrix_that_fits_is_no_view(confusion: object) -> None:
    assert view_confusion({"confusion": confusion}, ("a", "b")) is None
