"""Tables of features give the rows asked for, in the order asked for, from whatever blocks hold them."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.features.table import FeatureTable, grouped

FIRST = np.arange(12, dtype=np.float16).reshape(4, 3)
SECOND = 100 + np.arange(6, dtype=np.float16).reshape(2, 3)


def mixed_table(second: np.ndarray = SECOND) -> FeatureTable:
    return FeatureTable([FIRST, second], np.array([1, 0, 0, 1, 0]), np.array([1, 3, 0, 0, 0]))


def test_rows_come_in_the_order_asked_for_with_repeats() -> None:
    expected = np.stack([SECOND[1], FIRST[3], FIRST[0], SECOND[0], FIRST[0]])
    table = mixed_table()
    assert len(table) == 5
    assert table.width == 3
    np.testing.assert_array_equal(table.array(), expected)
    np.testing.assert_array_equal(table.rows([4, 0, 0, 3]), expected[[4, 0, 0, 3]])
    np.testing.assert_array_equal(table.rows(slice(1, 4)), expected[1:4])
    np.testing.assert_array_equal(table.rows(np.array([True, False, False, True, False])), expected[[0, 3]])


def test_columns_are_those_of_the_slice() -> None:
    table = mixed_table()
    np.testing.assert_array_equal(table.array(slice(1, None)), table.array()[:, 1:])
    np.testing.assert_array_equal(table.rows([2, 3], slice(0, 2)), table.array()[[2, 3], :2])


def test_one_float32_block_makes_every_result_float32() -> None:
    assert mixed_table().rows([0, 1]).dtype == np.float16
    table = mixed_table(SECOND.astype(np.float32) * 1e6)
    assert table.dtype == np.float32
    assert table.rows([1]).dtype == np.float32
    assert table.rows([0])[0, 0] == np.float32(SECOND[1, 0]) * np.float32(1e6)


def test_array_has_the_dtype_asked_for() -> None:
    assert mixed_table().array().dtype == np.float32
    assert mixed_table().array(dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_a_table_from_an_array_gives_its_rows(dtype: type) -> None:
    rows: np.ndarray = np.arange(20).reshape(5, 4).astype(dtype)
    table = FeatureTable.from_array(rows)
    np.testing.assert_array_equal(table.array(), rows)
    np.testing.assert_array_equal(table.rows([4, 1]), rows[[4, 1]])
    assert table.dtype == (np.float16 if dtype is np.float16 else np.float32)


def test_results_are_copies_that_may_be_changed() -> None:
    rows = np.ones((2, 2), np.float32)
    table = FeatureTable.from_array(rows)
    table.array()[:] = 7
    table.rows(slice(None))[:] = 7
    assert (rows == 1).all()


def test_a_table_of_no_rows_is_empty() -> None:
    table = FeatureTable([], np.zeros(0, int), np.zeros(0, int))
    assert table.array().shape == (0, 0)
    assert FeatureTable.from_array(np.zeros((0, 5), np.float32)).array().shape == (0, 5)


def test_an_array_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, width\)"):
        FeatureTable.from_array(np.zeros(3))


def test_grouping_finds_each_index_once() -> None:
    labels = np.array([3, 1, 3, 0, 1])
    assert {label: at.tolist() for label, at in grouped(labels)} == {0: [3], 1: [1, 4], 3: [0, 2]}
    assert list(grouped(labels[:0])) == []
