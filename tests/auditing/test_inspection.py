"""Inspection counts what is there, and lists what can't be used by its name."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from headstart.auditing.audit import Audit, audit_of
from headstart.auditing.inspection import Inspection, Spread, inspect
from headstart.data import load, resolve
from headstart.records import from_json, to_json


def _save(path: Path, width: int = 8, height: int = 6, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(crc32(path.name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "things"
    turned = Image.Exif()
    turned[0x0112] = 6
    _save(place / "cat" / "a.png", 10, 20)
    _save(place / "cat" / "b.jpg", 30, 5)
    _save(place / "cat" / "turned.jpg", 12, 7, exif=turned)
    _save(place / "dog" / "grey.png", 4, 4, "L")
    _save(place / "dog" / "sub" / "clear.png", 6, 6, "RGBA")
    (place / "dog" / "text.jpg").write_text("not an image")
    (place / "dog" / "empty.png").touch()
    (place / "readme.txt").write_text("about")
    return place


def test_everything_is_counted(folder: Path) -> None:
    found = inspect(folder)
    assert (found.name, found.task, found.images) == ("things", "classification", 5)
    assert found.classes == {"cat": 3, "dog": 2}
    assert found.splits == {"none": 5}
    assert found.groups is None
    assert found.width == Spread(4, 10, 30)
    assert found.height == Spread(4, 6, 20)
    assert found.modes == {"RGB": 3, "L": 1, "RGBA": 1}
    assert found.formats == {"PNG": 3, "JPEG": 2}
    assert found.orientations == {"1": 4, "6": 1}


def test_broken_files_are_listed_with_name_and_reason(folder: Path) -> None:
    found = inspect(folder)
    listed = {entry.file: entry for entry in found.left_out}
    assert set(listed) == {"dog/text.jpg", "dog/empty.png"}
    assert all(entry.kind == "undecodable" for entry in found.left_out)
    assert "empty" in listed["dog/empty.png"].reason
    assert "not an image" in listed["dog/text.jpg"].reason


def test_a_class_of_broken_files_is_dropped_and_said(folder: Path) -> None:
    (folder / "owl").mkdir()
    (folder / "owl" / "o.png").write_text("hoot")
    found = inspect(folder)
    assert "owl" not in found.classes
    assert any("owl" in note for note in found.notes)


def test_splits_groups_and_several_labels(folder: Path) -> None:
    rows = [
        "image,labels,split,group",
        "cat/a.png,fur|paws,train,g1",
        "cat/b.jpg,fur,train,g1",
        "dog/grey.png,paws,val,g2",
        "dog/sub/clear.png,,test,",
    ]
    (folder.parent / "table.csv").write_text("\n".join(rows))
    found = inspect(folder.parent / "table.csv", root=folder)
    assert found.task == "multilabel"
    assert found.classes == {"fur": 2, "paws": 2}
    assert found.splits == {"train": 2, "val": 1, "test": 1}
    assert found.groups == 2


def test_a_loaded_data_set_can_be_inspected_and_is_not_changed(folder: Path) -> None:
    dataset = load(folder)
    assert inspect(dataset) == inspect(folder)
    assert len(dataset) == 6


def test_inspection_and_audit_are_records(folder: Path) -> None:
    found = inspect(folder)
    assert from_json(Inspection, to_json(found)) == found
    dataset, protocol = resolve(load(folder), test=None, seed=0)
    audit = audit_of(dataset, protocol)
    assert from_json(Audit, to_json(audit)) == audit
    assert audit.images == 6
    assert [entry.file for entry in audit.left_out] == ["dog/empty.png"]
    assert audit.notes[-1] == protocol.reason
