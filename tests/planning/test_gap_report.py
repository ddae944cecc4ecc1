"""What ``headstart gap`` compares: the rows that it should, under names that differ, and none on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headstart.data import Dataset
from headstart.errors import OptionError
from headstart.planning import gap_report as module
from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.gap_report import GapReport, report_gap
from headstart.records import from_json, to_json

Compared = list[tuple[Dataset, ...]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """The data sets whose gap was asked for, in place of measuring it."""
    calls: Compared = []
    one = Estimate(0.01, 0.001)

    def alone(a: Dataset, **_: Any) -> DomainGap:
        calls.append((a,))
        return DomainGap(a.name, None, one, one, one, one, len(a), None)

    def both(a: Dataset, b: Dataset, **_: Any) -> DomainGap:
        calls.append((a, b))
        return DomainGap(a.name, b.name, one, one, one, one, len(a), len(b))

    monkeypatch.setattr(module, "domain_gap", alone)
    monkeypatch.setattr(module, "gap_between", both)
    return calls


def _fill(folder: Path, colours: range) -> Path:
    folder.mkdir(parents=True)
    for number in colours:
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve images to train on, six to test on."""
    for split, start, count in (("train", 0, 6), ("test", 100, 3)):
        for place, label in enumerate("ab"):
            _fill(tmp_path / "set" / split / label, range(start + 10 * place, start + 10 * place + count))
    return tmp_path / "set"


def test_the_test_split_is_left_out_and_that_is_said(labelled: Path, compared: Compared) -> None:
    report = report_gap(labelled)
    assert (report.gap.of, report.gap.images) == ("set", 12)
    assert set(compared[0][0].splits) == {"train"}
    assert "6 images are not looked at" in report.notes[0]
    assert from_json(GapReport, to_json(report)) == report


@pytest.mark.parametrize("name", ["test", "val"])
def test_the_split_that_tests_is_compared_with_the_others(labelled: Path, compared: Compared, name: str) -> None:
    (labelled / "test").rename(labelled / name)
    gap = report_gap(labelled, split=True).gap
    assert (gap.of, gap.images, gap.against, gap.against_images) == ("train", 12, name, 6)
    assert set(compared[0][1].splits) == {name}


def test_places_of_one_name_get_names_that_differ(labelled: Path, tmp_path: Path, compared: Compared) -> None:
    other = _fill(tmp_path / "production" / "a", range(200, 203))
    gap = report_gap(labelled / "train" / "a", other).gap
    assert (gap.of, gap.against) == ("train/a", "production/a")
    assert report_gap(labelled / "train", other).gap.of == "train"


def test_images_on_both_sides_are_taken_from_the_second(labelled: Path, tmp_path: Path, compared: Compared) -> None:
    other = _fill(tmp_path / "other", range(4, 9))
    report = report_gap(labelled / "train" / "a", other)
    assert (report.gap.images, report.gap.against_images) == (6, 3)
    assert "2 images of other not looked at" in report.notes[0]
    _fill(tmp_path / "inside", range(2, 4))
    with pytest.raises(OptionError, match="all 2 images of inside lie in a too"):
        report_gap(labelled / "train" / "a", tmp_path / "inside")


def test_what_cannot_be_compared_is_refused(labelled: Path, compared: Compared) -> None:
    with pytest.raises(OptionError, match="the same place"):
        report_gap(labelled, labelled / "train" / "..")
    with pytest.raises(OptionError, match="name two places"):
        report_gap(labelled / "train", split=True)
    with pytest.raises(OptionError, match="--split"):
        report_gap(labelled, labelled / "train", split=True)
    assert not compared


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    folder = _fill(tmp_path / "scans", range(10))
    (folder / "empty.png").write_bytes(b"")
    (folder / "torn.png").write_bytes((folder / "3.png").read_bytes()[:40])
    (folder / "again.png").write_bytes((folder / "3.png").read_bytes())  # a copy is no broken file
    report = report_gap(folder, say=lambda line: None)
    assert report.gap.images == 10
    assert report.notes == ("1 file of scans could not be read.", "1 image of scans not looked at: broken.")
