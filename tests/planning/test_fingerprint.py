"""The fingerprint: counts what is there, hides the rows that test from the gap, and survives JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from headstart.data import Dataset, load
from headstart.errors import DataError, RecordError
from headstart.imaging import Preprocessing
from headstart.planning import fingerprint as module
from headstart.planning.domain_gap import DomainGap, Estimate
from headstart.planning.fingerprint import SHAPES, Fingerprint, Spread, fingerprint, inspect, shape_of
from headstart.records import from_json, to_json

VIEW = Preprocessing(224, 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3)


def _save(path: Path, width: int = 8, height: int = 6, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(crc32(str(path).encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "things"
    turned = Image.Exif()
    turned[0x0112] = 6
    _save(place / "cat" / "a.png", 30, 40)
    _save(place / "cat" / "b.jpg", 80, 20)
    _save(place / "cat" / "turned.jpg", 32, 18, exif=turned)
    _save(place / "dog" / "grey.png", 20, 20, "L")
    _save(place / "dog" / "sub" / "clear.png", 30, 20, "RGBA")
    (place / "cat" / "copy.png").write_bytes((place / "cat" / "a.png").read_bytes())
    (place / "dog" / "text.jpg").write_text("not an image")
    (place / "dog" / "empty.png").touch()
    return place


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Dataset, int]]:
    """What the gap was measured on, and with how many channels, in place of measuring it."""
    calls: list[tuple[Dataset, int]] = []

    def measure(dataset: Dataset, *, channels: int, **_: Any) -> DomainGap:
        if not len(dataset):
            raise DataError(f"{dataset.name}: no images to measure a domain gap on")
        calls.append((dataset, channels))
        one = Estimate(0.01, 0.001)
        return DomainGap(dataset.name, None, one, one, one, one, len(dataset), None)

    monkeypatch.setattr(module, "domain_gap", measure)
    return calls


@pytest.mark.usefixtures("measured")
def test_everything_is_counted(folder: Path) -> None:
    found = inspect(folder).fingerprint
    assert (found.name, found.task, found.images, found.looked_at) == ("things", "classification", 5, 5)
    assert (found.classes, found.per_class, found.imbalance) == ({"cat": 3, "dog": 2}, Spread(2, 2.5, 3), 1.5)
    assert (found.splits, found.groups, found.tested) == ({"none": 5}, None, None)
    assert (found.width, found.height) == (Spread(18, 30, 80), Spread(20, 20, 40))
    assert found.shapes == {shape: int(shape in ("3:4", "wider", "9:16", "1:1", "3:2")) for shape in SHAPES}
    assert (found.channels, found.bits, found.rotated) == ({"3": 4, "1": 1}, {"8": 5}, 1)
    assert (found.modes, found.formats) == ({"RGB": 3, "L": 1, "RGBA": 1}, {"PNG": 3, "JPEG": 2})
    assert found.grey == pytest.approx(0.2)
    assert found.left_out == {"undecodable": 2, "duplicate": 1}


def test_what_is_left_out_is_listed_and_not_measured(folder: Path, measured: list[tuple[Dataset, int]]) -> None:
    found = inspect(folder)
    assert {entry.file for entry in found.left_out} == {"cat/copy.png", "dog/text.jpg", "dog/empty.png"}
    assert any("same bytes" in note for note in found.notes)
    ((dataset, channels),) = measured
    assert (len(dataset), channels) == (5, 3)


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_gap_has_not_seen_the_rows_that_test(folder: Path, measured: list[tuple[Dataset, int]], split: str) -> None:
    rows = ["image,labels,split,group", "cat/a.png,fur|paws,train,g1", "cat/b.jpg,fur,train,g1"]
    rows += ["dog/grey.png,paws,,g2", f"dog/sub/clear.png,fur,{split},"]
    (folder.parent / "table.csv").write_text("\n".join(rows))
    found = inspect(folder.parent / "table.csv", root=folder).fingerprint
    assert (found.task, found.images, found.groups, found.tested) == ("multilabel", 4, 2, split)
    assert "dog/sub/clear.png" not in measured[0][0].files
    assert found.gap is not None
    assert found.gap.images == 3
    # What fit hands over has splits of its own: there val is for choices, and steers.
    given = fingerprint(load(folder.parent / "table.csv", root=folder).development())
    assert given.gap is not None
    assert given.gap.images == (3 if split == "test" else 4)


@pytest.mark.usefixtures("measured")
def test_without_a_row_that_may_be_seen_there_is_no_gap_and_it_says_why(folder: Path) -> None:
    dataset = load(folder)
    found = inspect(dataset.with_splits(["test"] * len(dataset))).fingerprint
    assert found.gap is None
    assert "no images to measure" in found.reading


def test_channels_are_those_of_most_images(tmp_path: Path, measured: list[tuple[Dataset, int]]) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            np.save(tmp_path / label / f"{number}.npy", rng.integers(0, 255, (9, 9, 5), np.uint8))
    assert inspect(tmp_path).fingerprint.channels == {"5": 6}
    assert measured[0][1] == 5


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((100, 100), "1:1"), ((500, 333), "3:2"), ((333, 500), "2:3"), ((640, 480), "4:3"), ((1280, 720), "16:9"),
        ((1920, 1080), "16:9"), ((720, 1280), "9:16"), ((200, 100), "16:9"), ((220, 100), "wider"),
        ((100, 220), "narrower"), ((1, 9000), "narrower"), ((480, 640), "3:4"),
    ],
)  # fmt: skip
def test_shapes_are_the_nearest_common_ones(size: tuple[int, int], shape: str) -> None:
    assert shape_of(*size) == shape
    mirrored = SHAPES[::-1][SHAPES.index(shape)]
    assert shape_of(*size[::-1]) == mirrored


@pytest.mark.usefixtures("measured")
def test_the_crop_is_that_of_the_weights(folder: Path) -> None:
    crop = fingerprint(load(folder), preprocessing=VIEW).crop
    square = 0.875**2
    assert crop.square == pytest.approx(square)
    assert (crop.kept.minimum, crop.kept.maximum) == (pytest.approx(square / 4), pytest.approx(square))
    assert crop.over_a_third_lost == pytest.approx(4 / 5)
    squashed = fingerprint(load(folder), preprocessing=dataclasses.replace(VIEW, aspect="squash", crop=1.0)).crop
    assert (squashed.kept, squashed.over_a_third_lost) == (Spread(1, 1, 1), 0)


@pytest.mark.usefixtures("measured")
def test_a_sample_says_how_large_it_is(folder: Path) -> None:
    found = fingerprint(load(folder), at_most=3)
    assert found.looked_at <= 3 < found.images
    assert sum(found.shapes.values()) == sum(found.bits.values()) == found.looked_at


@pytest.mark.usefixtures("measured")
def test_a_class_without_images_has_no_imbalance(folder: Path) -> None:
    dataset = load(folder)
    cats = dataset.select([row for row, file in enumerate(dataset.files) if file.startswith("cat/")])
    found = fingerprint(cats)
    assert (found.classes["dog"], found.imbalance) == (0, None)


@pytest.mark.usefixtures("measured")
def test_a_fingerprint_survives_json_and_unknown_fields_do_not(folder: Path) -> None:
    found = fingerprint(load(folder))
    text = to_json(found)
    assert from_json(Fingerprint, text) == found
    with pytest.raises(RecordError, match="extra"):
        from_json(Fingerprint, text.replace('"name"', '"extra": 1, "name"', 1))
    without = dataclasses.replace(found, gap=None)
    assert from_json(Fingerprint, to_json(without)) == without


def test_files_that_are_all_broken_are_an_error(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_text(f"not an image {label}")
    with pytest.raises(DataError, match=r"no images that can be decoded, for example a/1\.jpg"):
        inspect(tmp_path)


@pytest.mark.real
def test_two_images_are_measured_but_not_judged(tmp_path: Path) -> None:
    for label in "ab":
        _save(tmp_path / label / "1.png", 60, 60)
    found = inspect(tmp_path).fingerprint
    assert found.gap is not None
    assert "2 images are too few" in found.reading
