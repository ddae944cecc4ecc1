"""Groups from file names by a pattern of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.data import Dataset, load
from headstart.data.grouping import group_by_name
from headstart.errors import DataError, OptionError


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rows = [("x/p1_a.png", "x", ""), ("y/p1_b.png", "y", ""), ("x/p2_a.png", "x", "given"), ("y/other.png", "y", "")]
    (tmp_path / "t.csv").write_text("\n".join(",".join(row) for row in [("image", "label", "group"), *rows]))
    for name, *_ in rows:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return load(tmp_path / "t.csv")


@pytest.mark.parametrize("pattern", [r"(p\d+)_", r"p\d+"])
def test_the_group_is_what_the_pattern_finds_unless_one_is_given(dataset: Dataset, pattern: str) -> None:
    grouped = group_by_name(dataset, pattern)
    assert grouped.table.column("group").to_pylist() == ["p1", "p1", "given", None]
    assert grouped.groups.tolist() == [2, 2, 0, 1] or len(set(grouped.groups.tolist())) == 3


def test_patterns_that_group_nothing_are_refused(dataset: Dataset) -> None:
    with pytest.raises(OptionError, match="no regular expression"):
        group_by_name(dataset, "(")
    with pytest.raises(DataError, match="matches none of the 4 names"):
        group_by_name(dataset, r"patient\d")
    with pytest.raises(DataError, match="all images are one group, 'png'"):
        group_by_name(dataset, r"png")
