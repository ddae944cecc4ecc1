"""Equal bytes: one is kept, none is kept, or a leak is told, by their labels and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headstart.data import Dataset, load
from headstart.data.dataset import LeftOut


def load_table(folder: Path, *rows: tuple[str, ...]) -> Dataset:
    """Rows of image (whose first letter are its bytes), label, split and group."""
    lines = [",".join(row) for row in [("image", "label", "split", "group")[: len(rows[0])], *rows]]
    (folder / "t.csv").write_text("\n".join(lines))
    for name, *_ in rows:
        (folder / name).write_text(name[0])
    return load(folder / "t.csv")


def test_of_duplicates_the_first_is_kept(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, ("a1", "x"), ("b1", "y"), ("a2", "x"), ("c1", "y"), ("a3", "x"), ("c1", "y"))
    assert dataset.files == ["a1", "b1", "c1"]
    assert dataset.left_out == (
        LeftOut("a2", "duplicate", "the same bytes as a1"),
        LeftOut("a3", "duplicate", "the same bytes as a1"),
        LeftOut("c1", "duplicate", "the same bytes as c1"),
    )
    assert any("3 files are left out, because another has the same bytes and label" in note for note in dataset.notes)


def test_of_conflicts_none_is_kept(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, ("a1", "x"), ("b1", "y"), ("a2", "y"), ("c1", "x"), ("a3", "x"))
    assert dataset.files == ["b1", "c1"]
    assert {entry.kind for entry in dataset.left_out} == {"conflict"}
    assert [entry.file for entry in dataset.left_out] == ["a1", "a2", "a3"]
    assert "'x' in a1" in dataset.left_out[0].reason
    assert "'y' in a2" in dataset.left_out[0].reason


def test_one_file_with_two_labels_is_a_conflict(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, ("a1", "x"), ("b1", "y"), ("a1", "y"), ("c1", "x"))
    assert dataset.files == ["b1", "c1"]


def test_equals_across_the_users_splits_are_told_and_kept(tmp_path: Path) -> None:
    rows = [("a1", "x", "train"), ("b1", "y", "train"), ("a2", "x", "test"), ("a3", "x", "test"), ("b2", "y", "val")]
    dataset = load_table(tmp_path, *rows, ("c1", "y", "test"))
    assert dataset.files == ["a1", "b1", "a2", "b2", "c1"]
    assert [entry.file for entry in dataset.left_out] == ["a3"]
    (note,) = [note for note in dataset.notes if "more than one split" in note]
    assert note.startswith("2 pictures lie")
    assert "a1 (train) = a2 (test)" in note
    assert dataset.groups[0] == dataset.groups[2] != dataset.groups[1]
    assert dataset.groups[1] == dataset.groups[3]
    assert dataset.has_groups


def test_conflicts_across_splits_are_left_out(tmp_path: Path) -> None:
    rows = [("a1", "x", "train"), ("a2", "y", "test"), ("b1", "x", "train"), ("c1", "y", "test")]
    assert load_table(tmp_path, *rows).files == ["b1", "c1"]


def test_groups_across_the_users_splits_are_told(tmp_path: Path) -> None:
    rows = [("a1", "x", "train", "p1"), ("b1", "y", "test", "p1"), ("c1", "y", "train", "p2"), ("d1", "x", "test", "")]
    (note,) = [note for note in load_table(tmp_path, *rows).notes if "group" in note]
    assert note == "1 group lies in more than one split, which flatters the scores: p1."


def test_rows_are_one_group_through_any_chain_of_groups_and_bytes(tmp_path: Path) -> None:
    rows = [
        ("a1", "x", "train", "p1"),
        ("a2", "x", "val", "p2"),
        ("b1", "y", "train", "p2"),
        ("b2", "y", "test", ""),
        ("c1", "x", "train", ""),
        ("d1", "y", "train", ""),
        ("e1", "y", "test", "p3"),
    ]
    groups = load_table(tmp_path, *rows).groups
    assert groups.dtype == np.int64
    assert len(set(groups[:4].tolist())) == 1
    assert len(set(groups.tolist())) == 4
    assert groups.max() == 3


def test_labels_in_another_order_are_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,labels\na1,x|y\na2,y|x\nb1,y\n")
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).write_text(name[0])
    assert [entry.kind for entry in load(tmp_path / "t.csv").left_out] == ["duplicate"]
