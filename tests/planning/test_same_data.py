"""A plan is for certain images: others are refused, in words that say what differs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headstart.data import Dataset, load, resolve
from headstart.errors import OptionError
from headstart.planning.fingerprint_rules import validation_rule
from headstart.planning.plan import Plan, Validation
from headstart.planning.same_data import identity_of, require_same_data, require_validation, validation_here
from headstart.planning.situation import Situation


def _dataset(labels: str = "aaabbb", *, name: str = "scans", **columns: list[Any]) -> Dataset:
    """A row a letter, of the class that the letter names."""
    usual: dict[str, list[Any]] = {
        "hash": [f"{number:03}" for number in range(len(labels))],
        "label": list(labels),
        "group": [None] * len(labels),
        "split": [None] * len(labels),
    }
    table = pa.table({key: pa.array(column, pa.string()) for key, column in (usual | columns).items()})
    nothing: Any = None
    return Dataset(name, "classification", tuple(sorted(set(labels))), table, nothing)


def test_the_identity_of_data_is_its_images_labels_groups_and_splits() -> None:
    here = identity_of(_dataset())
    assert (here.rows, here.classes, here.images) == (6, 2, {"a": 3, "b": 3})
    other_way = _dataset("bbbaaa", hash=["005", "004", "003", "002", "001", "000"])
    assert identity_of(other_way) == here, "in any order"
    assert identity_of(_dataset(name="moved")).digest == here.digest
    nobody: list[str | None] = [None] * 5
    for changed in (
        _dataset(hash=["000", "001", "002", "003", "004", "new"]),
        _dataset("aabbba"),
        _dataset(group=["p", *nobody]),
        _dataset(split=["test", *nobody]),
    ):
        assert identity_of(changed).digest != here.digest


def test_labels_of_several_classes_are_counted_for_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(4)]
    found = identity_of(load((images, [["a", "b"], ["a"], ["b"], ["a"]])))
    assert (found.rows, found.images) == (4, {"a": 3, "b": 2})


@pytest.mark.parametrize(
    ("here", "words"),
    [
        ("aab", "6 images of 2 classes in scans, and new has 3 of 2: 1 image of 'a' fewer, 2 images of 'b' fewer;"),
        ("aaaabbb", "and new has 7 of 2: 1 image of 'a' more; plan again for these"),
        ("aaa", "and new has 3 of 1: the class 'b' is missing; plan again"),
        ("aaabbbc", "and new has 7 of 3: the class 'c' is new; plan again"),
        ("aacdefg", "the class 'b' is missing, the class 'c' is new, the class 'd' is new and 4 more; plan again"),
        ("aabbba", "images, labels, groups or splits differ, though the counts agree; plan again"),
    ],
)
def test_a_plan_for_other_data_is_refused_with_the_difference(plan: Plan, here: str, words: str) -> None:
    made = dataclasses.replace(plan, data=identity_of(_dataset()))
    require_same_data(made, identity_of(_dataset(name="moved")))
    with pytest.raises(OptionError, match=words):
        require_same_data(made, identity_of(_dataset(here, name="new")))


@pytest.mark.parametrize("test", [None, "test", 0.2])
@pytest.mark.parametrize("split", ["", "val"])
@pytest.mark.parametrize(("rows", "persons"), [(300, 300), (300, 60), (60, 60), (240, 240)])
def test_what_judges_is_known_before_the_probes_as_the_rule_has_it(
    test: str | float | None, split: str, rows: int, persons: int
) -> None:
    splits = [split if number % 6 == 0 else "" for number in range(rows)]
    if test == "test":
        splits = ["test" if number % 5 == 0 else given for number, given in enumerate(splits)]
    groups = [f"p{number % persons}" for number in range(rows)] if persons < rows else [None] * rows
    given = [name or None for name in splits]
    dataset, protocol = resolve(_dataset("ab" * (rows // 2), split=given, group=groups), test=test, seed=0)
    parts = Counter(dataset.splits.tolist())
    development = dataset.select(dataset.splits != "test")
    judges = parts["val"] if protocol.selection == "val" else 0
    situation = _situation(len(development), len(set(development.groups.tolist())), judges)
    assert validation_here(dataset, protocol) == validation_rule(situation)[0]


def _situation(rows: int, groups: int, validation_rows: int) -> Situation:
    return Situation(
        task="classification",
        rows=rows,
        classes=2,
        class_min=rows // 2,
        class_median=rows / 2,
        class_max=rows // 2,
        groups=groups,
        validation_rows=validation_rows,
        gap=None,
        probe=None,
        crop_loss=0.0,
        stages=9,
        image_size=224,
        aspect="crop",
        trainable=True,
    )


def test_a_plan_that_wants_another_judge_is_refused_with_both(plan: Plan) -> None:
    require_validation(plan, Validation("folds", 5, 1, grouped=False))
    for here, words in (
        (
            Validation("split", 1, 1, grouped=True),
            "is 5 folds dealt once, and .* it is a split with groups kept together",
        ),
        (
            Validation("repeated_folds", 5, 3, grouped=False),
            "it is 5 folds dealt 3 times: plan again with the same --test",
        ),
    ):
        with pytest.raises(OptionError, match=words):
            require_validation(plan, here)
