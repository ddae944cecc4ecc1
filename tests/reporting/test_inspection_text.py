"""What a person reads about a data set and about a gap: every name as it is written, numbers with their errors."""

from __future__ import annotations

import dataclasses
import math

import pytest
from rich.console import Console

from headstart.data import LeftOut
from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.fingerprint import SHAPES, CentreCrop, Fingerprint, Inspection, Spread
from headstart.planning.gap_report import GapReport
from headstart.reporting import gap_table, inspection

ODD = "[red]:bee:[/red]\\"
GAP = DomainGap(ODD, None, *(Estimate(v, 0.01) for v in (0.2, 0.01, 0.1, 0.4)), images=64, against_images=None)
FINGERPRINT = Fingerprint(
    name=ODD,
    task="classification",
    images=1200,
    classes={ODD: 800, "b": 400},
    per_class=Spread(400, 600, 800),
    imbalance=2.0,
    splits={"train": 1000, "test": 200},
    groups=31,
    looked_at=1200,
    width=Spread(10, 320, 1000),
    height=Spread(20, 240, 2000),
    shapes={shape: 1200 if shape == "4:3" else 0 for shape in SHAPES},
    crop=CentreCrop(0.77, Spread(0.3, 0.574, 0.77), 0.998),
    channels={"3": 1100, "1": 100},
    bits={"8": 1200},
    modes={"RGB": 1100, "L": 100},
    formats={"JPEG": 1200},
    grey=0.4,
    rotated=7,
    left_out={"undecodable": 25, "duplicate": 2},
    tested="test",
    gap=GAP,
    reading=f"It fits {ODD}.",
)
BROKEN = tuple(LeftOut(f"{ODD}{number}.jpg", "undecodable", "the file is empty") for number in range(25))
COPY = LeftOut("copy.jpg", "duplicate", "the same bytes as a.jpg")


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inspection, gap_table):
        monkeypatch.setattr(module, "_OUT", Console(highlight=False, emoji=False, width=100))


def _shown(found: Fingerprint, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    inspection.show_inspection(Inspection(found, (*BROKEN, COPY), (ODD,)))
    return {line[:16].strip(): line[16:] for line in capsys.readouterr().out.splitlines() if line}


def test_a_data_set_is_told_with_its_meaning_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    inspection.show_inspection(Inspection(FINGERPRINT, (*BROKEN, COPY), (ODD,)))
    text = capsys.readouterr().out
    assert text.startswith(f"{ODD}: 1,200 images, 2 classes, one label each\n")
    assert text.endswith(f"\nIt fits {ODD}.\n")
    assert f"  {ODD}9.jpg: the file is empty\n" in text
    assert "10.jpg" not in text
    assert "and 15 more" in text
    assert "copy.jpg" not in text
    assert text.count(ODD) == 1 + 1 + 10 + 1 + 1


def test_each_fact_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _shown(FINGERPRINT, capsys)
    assert lines["a class"] == "400 to 800, median 600; the largest has 2.0 times the smallest"
    assert (lines["splits"], lines["groups"]) == ("train 1,000, test 200", "31")
    assert lines["left out"] == "broken 25, exact duplicates 2"
    assert lines["size"] == "320 x 240 pixels at the median; 10 to 1,000 wide, 20 to 2,000 high"
    assert lines["shape"] == "all 4:3"
    assert lines["centre crop"].startswith("the network sees 57 % of an image's area at the median; of over 99 % of")
    assert lines["colour"] == "40 % grey; files of 1 and 3 channels, 8 bits"
    assert lines["files"] == "JPEG 1,200; 7 upright only by EXIF"
    assert lines["domain gap"].startswith("0.200 ± 0.020; layers: early 0.010 ± 0.020, middle")
    assert "64 images outside the split test" in lines[""]


def test_many_classes_are_told_by_their_ends(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {f"c{number}": number for number in range(1, 101)}
    line = _shown(dataclasses.replace(FINGERPRINT, classes=counts, gap=None, splits={"none": 3}), capsys)["classes"]
    assert line == "fewest c1 1, c2 2, c3 3; most c100 100, c99 99, c98 98"


def test_a_gap_is_a_table_with_intervals_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    gap_table.show_gap(GapReport(GAP, "Read this.", (ODD,)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{ODD} (64 images) against ImageNet")
    assert lines[3].split("  ")[0] == "early, stages 1 to 3"
    assert lines[3].split()[-3:] == ["0.010", "0.020", "fit"]
    assert lines[5].split()[-5:] == ["0.400", "0.020", "do", "not", "fit"]
    assert f"• {ODD}" in lines
    assert "Read this." in lines
    assert "does not say" in lines[-1]


def test_two_places_have_no_scale_of_imagenet_and_one_image_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    unsure = Estimate(0.3, math.nan)
    gap = dataclasses.replace(GAP, of="a", against=ODD, total=unsure, images=1, against_images=9)
    gap_table.show_gap(GapReport(gap, "Read this.", ()))
    text = capsys.readouterr().out
    assert text.startswith(f"a (1 image) against {ODD} (9 images)")
    assert "For scale" not in text
    assert text.splitlines()[2].split() == ["all", "0.300", "–"]
    assert gap_table.estimate_text(unsure) == "0.300"
