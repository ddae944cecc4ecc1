"""Which split plays which part, in every combination of what the data have and what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.data import Dataset, Protocol, load, resolve
from headstart.errors import DataError, OptionError
from headstart.records import from_json, to_json


def make(folder: Path, labels: str, splits: dict[str, int], groups: int | None = None) -> Dataset:
    """Rows of cycling labels and groups, so many in each split; the split "" is none."""
    names = [name for name, count in splits.items() for _ in range(count)]
    lines = ["image,label,split,group"]
    for row, split in enumerate(names):
        (folder / f"{row}.jpg").write_text(str(row))
        lines.append(f"{row}.jpg,{labels[row % len(labels)]},{split},{'' if groups is None else row % groups}")
    (folder / "t.csv").write_text("\n".join(lines))
    return load(folder / "t.csv")


def counts(dataset: Dataset) -> dict[str, int]:
    return {str(name): int(count) for name, count in zip(*np.unique(dataset.splits, return_counts=True), strict=True)}


@pytest.mark.parametrize(
    ("splits", "test", "wanted", "parts"),
    [
        ({"train": 6, "val": 4, "test": 2}, None, ("given", "test", "val"), {"train": 6, "val": 4, "test": 2}),
        ({"train": 6, "val": 4, "test": 2}, "test", ("given", "test", "val"), {"train": 6, "val": 4, "test": 2}),
        ({"train": 6, "val": 4, "test": 2}, "Validation", ("given", "val", "folds"), {"train": 8, "test": 4}),
        ({"train": 6, "test": 4}, None, ("given", "test", "folds"), {"train": 6, "test": 4}),
        ({"": 6, "test": 4}, None, ("given", "test", "folds"), {"train": 6, "test": 4}),
        ({"train": 6, "val": 4}, None, ("given", "val", "folds"), {"train": 6, "test": 4}),
        ({"train": 6, "val": 4}, "val", ("given", "val", "folds"), {"train": 6, "test": 4}),
        ({"train": 20, "val": 20}, 0.25, ("held_out", "", "val"), {"train": 15, "val": 15, "test": 10}),
        ({"": 249}, None, ("nested", "", "folds"), {"train": 249}),
        ({"train": 249}, None, ("nested", "", "folds"), {"train": 249}),
        ({"": 250}, None, ("held_out", "", "folds"), {"train": 200, "test": 50}),
        ({"": 40}, 0.5, ("held_out", "", "folds"), {"train": 20, "test": 20}),
        ({"": 40}, "0.25", ("held_out", "", "folds"), {"train": 30, "test": 10}),
    ],
)
def test_parts(
    tmp_path: Path,
    splits: dict[str, int],
    test: str | float | None,
    wanted: tuple[str, str, str],
    parts: dict[str, int],
) -> None:
    dataset, protocol = resolve(make(tmp_path, "xy", splits), test=test, seed=0)
    assert (protocol.test, protocol.test_from, protocol.selection) == wanted
    found = counts(dataset)
    assert found.keys() == parts.keys()
    assert all(abs(found[part] - count) <= (2 if test == 0.25 else 0) for part, count in parts.items())
    assert protocol.reason.endswith(".")
    assert from_json(Protocol, to_json(protocol)) == protocol


def test_what_is_held_out_is_stratified_grouped_and_seeded(tmp_path: Path) -> None:
    dataset = make(tmp_path, "xxy", {"": 300}, groups=60)
    first, again, other = (resolve(dataset, test=0.2, seed=seed)[0] for seed in (3, 3, 4))
    assert first.splits.tolist() == again.splits.tolist() != other.splits.tolist()
    assert not set(first.test().table.column("group").to_pylist()) & set(
        first.development().table.column("group").to_pylist()
    )
    assert first.test().class_counts() == {"x": 40, "y": 20}


def test_groups_too_few_to_hold_out_are_judged_nested(tmp_path: Path) -> None:
    dataset = make(tmp_path, "xxy", {"": 300}, groups=2)
    assert resolve(dataset, test=None, seed=0)[1].test == "nested"
    with pytest.raises(OptionError, match="can't hold out"):
        resolve(dataset, test=0.2, seed=0)


@pytest.mark.parametrize("test", [0.0, 0.9, 1.5, -0.1, float("nan"), "0", "2", "train", "holdout", ""])
def test_unknown_wishes(tmp_path: Path, test: str | float) -> None:
    with pytest.raises(OptionError):
        resolve(make(tmp_path, "xy", {"": 40}), test=test, seed=0)


def test_wishes_that_the_data_contradict(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no split 'val'; its splits are train and test"):
        resolve(make(tmp_path, "xy", {"train": 4, "test": 4}), test="val", seed=0)
    with pytest.raises(OptionError, match="has a split test already"):
        resolve(make(tmp_path, "xy", {"train": 4, "test": 4}), test=0.2, seed=0)
    with pytest.raises(OptionError, match="it has no splits"):
        resolve(make(tmp_path, "xy", {"": 4}), test="test", seed=0)


def test_classes_and_rows_missing_from_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images for training of 'z'"):
        resolve(make(tmp_path, "xyxyz", {"train": 4, "test": 1}), test=None, seed=0)
    with pytest.raises(DataError, match="no images for training, only the splits test"):
        resolve(make(tmp_path, "xy", {"test": 4}), test=None, seed=0)


def test_a_class_with_one_image_stays_in_training(tmp_path: Path) -> None:
    labels = "xy" * 20 + "z"
    dataset = make(tmp_path, labels, {"": 41})
    for seed in range(20):
        assert "z" not in resolve(dataset, test=0.5, seed=seed)[0].test().table.column("label").to_pylist()
