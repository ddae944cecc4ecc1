"""A data set is cut, narrowed and re-split without losing what belongs together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.data import Dataset, load
from headstart.data.dataset import LeftOut
from headstart.errors import DataError, ImageError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six rows of three classes."""
    for number, label in enumerate("aabbbc"):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{number}.jpg").write_bytes(bytes([number]))
    return load(tmp_path)


def test_rows_are_selected_by_mask_or_position_in_the_order_given(dataset: Dataset) -> None:
    assert dataset.select([5, 0]).files == ["c/5.jpg", "a/0.jpg"]
    assert dataset.select(dataset.targets == 1).files == ["b/2.jpg", "b/3.jpg", "b/4.jpg"]
    assert dataset.select([5, 0]).targets.tolist() == [2, 0]
    assert dataset.select([5]).classes == ("a", "b", "c")
    assert len(dataset.select([])) == 0
    assert dataset.select([]).groups.tolist() == []
    assert not dataset.select([]).has_groups
    assert dataset.select([3]).read(0) == bytes([3])


def test_left_out_rows_are_listed_with_their_reason(dataset: Dataset) -> None:
    reasons = [f"b/2.jpg: can't be decoded ({dataset.files[2]} ends)", "blurred"]
    fewer = dataset.leave_out([2, 4], "undecodable", reasons)
    assert fewer.files == ["a/0.jpg", "a/1.jpg", "b/3.jpg", "c/5.jpg"]
    assert fewer.left_out == (
        LeftOut("b/2.jpg", "undecodable", "can't be decoded (b/2.jpg ends)"),
        LeftOut("b/4.jpg", "undecodable", "blurred"),
    )
    assert len(dataset) == 6
    assert dataset.leave_out([], "undecodable", []) is dataset


def test_a_class_that_loses_all_rows_is_dropped_and_the_last_two_are_not(dataset: Dataset) -> None:
    fewer = dataset.leave_out([5], "undecodable", ["broken"])
    assert fewer.classes == ("a", "b")
    assert fewer.targets.tolist() == [0, 0, 1, 1, 1]
    assert any("'c'" in note for note in fewer.notes)
    with pytest.raises(DataError, match=r"only the class 'b'.*a/0\.jpg"):
        fewer.leave_out([0, 1], "undecodable", ["broken"] * 2)


def test_splits_are_replaced(dataset: Dataset) -> None:
    split = dataset.with_splits(["train", "test", "", "val", "train", "test"])
    assert split.table.column("split").to_pylist() == ["train", "test", None, "val", "train", "test"]
    assert split.splits.tolist() == ["train", "test", "", "val", "train", "test"]
    assert split.test().files == ["a/1.jpg", "c/5.jpg"]
    assert split.development().files == ["a/0.jpg", "b/2.jpg", "b/3.jpg", "b/4.jpg"]
    assert split.with_splits(np.full(6, "val")).splits.tolist() == ["val"] * 6


def test_a_file_that_goes_away_is_an_image_error(dataset: Dataset) -> None:
    Path(dataset.images[1]).unlink()
    with pytest.raises(ImageError, match=r"a/1\.jpg: can't be read"):
        dataset.read(1)
