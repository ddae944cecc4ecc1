"""What copies mean: near-duplicates, conflicting labels, leaks; and how leaks are refused or mended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from headstart.auditing.comparison import Copy
from headstart.auditing.copies import (
    conflicting_labels,
    leaks,
    near_duplicates,
    require_no_leaks,
    without_leaks,
)
from headstart.auditing.material import Material
from headstart.data import resolve
from headstart.errors import DataError, LeakError

MakeMaterial = Callable[..., Material]
ROWS = [
    ("a1", "x", "train", ""),
    ("a2", "x", "train", ""),
    ("b1", "y", "train", ""),
    ("b2", "y", "test", ""),
    ("c1", "x", "val", ""),
    ("c2", "y", "val", ""),
    ("d1", "x", "test", ""),
    ("e1", "y", "train", ""),
    ("f1", "x", "train", ""),
]


def _copy(first: int, second: int, agreement: float = 0.9, how: str = "") -> Copy:
    return Copy((first, second), agreement, how)


def test_a_pair_is_one_kind_of_finding_or_another(make_material: MakeMaterial) -> None:
    material = make_material(ROWS, [_copy(0, 1, 0.95, "cropped"), _copy(2, 3), _copy(4, 5)])
    (near,), (conflict,), (leak,) = (list(find(material)) for find in (near_duplicates, conflicting_labels, leaks))
    assert (near.kind, near.file, near.other, near.score) == ("near_duplicate", "a2", "a1", 0.95)
    assert "cropped" in near.evidence
    assert (conflict.file, conflict.other) == ("c2", "c1")
    assert "labelled 'y' and 'x'" in conflict.evidence
    assert (leak.file, leak.other) == ("b1", "b2")
    assert "in train, and a copy of it in test" in leak.evidence


def test_a_copy_of_a_copy_leaks_too(make_material: MakeMaterial) -> None:
    material = make_material(ROWS, [_copy(0, 1), _copy(1, 6)])
    found = list(leaks(material))
    assert [(finding.file, finding.other, finding.score) for finding in found] == [
        ("a1", "d1", None),
        ("a2", "d1", 0.9),
    ]
    assert "a copy of a copy" in found[0].evidence


def test_what_judges_stays_and_all_that_is_judged_goes(make_material: MakeMaterial) -> None:
    material = make_material(ROWS, [_copy(0, 4), _copy(4, 6), _copy(2, 5)])
    with pytest.raises(
        LeakError, match=r"3 images have a copy in another split.*: a1 = d1, b1 = c2, c1 = d1\."
    ) as error:
        require_no_leaks(material)
    assert error.value.exit_code == 3
    assert "--fix-leaks" in str(error.value)
    kept = without_leaks(material, material.dataset)
    assert kept.files == ["a2", "b2", "c2", "d1", "e1", "f1"]
    assert {(entry.file, entry.kind) for entry in kept.left_out} == {("a1", "leak"), ("b1", "leak"), ("c1", "leak")}
    assert "d1" in {entry.file: entry.reason for entry in kept.left_out}["a1"]


def test_without_splits_or_on_one_side_nothing_leaks(make_material: MakeMaterial) -> None:
    material = make_material([(name, label, "", group) for name, label, _, group in ROWS], [_copy(0, 1), _copy(2, 3)])
    require_no_leaks(material)
    assert without_leaks(material, material.dataset) is material.dataset
    some = [(name, label, split if split == "train" else "", group) for name, label, split, group in ROWS]
    require_no_leaks(make_material(some, [_copy(0, 6)]))


def test_labels_in_another_order_do_not_conflict(make_material: MakeMaterial) -> None:
    rows = [("a1", "x|y", "", ""), ("a2", "y|x", "", ""), ("b1", "y", "", ""), ("b2", "x|y", "", "")]
    material = make_material(rows, [_copy(0, 1), _copy(2, 3)], column="labels")
    assert [finding.file for finding in conflicting_labels(material)] == ["b2"]
    assert [finding.file for finding in near_duplicates(material)] == ["a2"]


def test_a_class_that_lives_on_leaks_alone_is_an_error(make_material: MakeMaterial) -> None:
    rows = [("a1", "x", "train", ""), ("b1", "y", "train", ""), ("b2", "y", "test", ""), ("a2", "x", "train", "")]
    kept = without_leaks(material := make_material(rows, [_copy(1, 2)]), material.dataset)
    assert kept.files == ["a1", "b2", "a2"]
    with pytest.raises(DataError, match="no images for training of 'y'"):
        resolve(kept, test=None, seed=0)


def test_families_join_users_groups(make_material: MakeMaterial) -> None:
    rows = [
        ("a1", "x", "", "p1"),
        ("a2", "x", "", "p1"),
        ("b1", "y", "", "p2"),
        ("b2", "y", "", ""),
        ("c1", "x", "", ""),
    ]
    material = make_material(rows, [_copy(1, 2), _copy(3, 4)])
    np.testing.assert_array_equal(material.families, [0, 1, 1, 3, 3])
    dataset = material.dataset.with_families(material.families)
    np.testing.assert_array_equal(dataset.groups, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(dataset.select([4, 2, 3]).groups, [1, 0, 1])
    assert not make_material(rows[3:]).dataset.has_groups
