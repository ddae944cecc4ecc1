"""Images without labels: every folder and zip of images opens, and what is labelled keeps its splits and groups."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from headstart.data import load
from headstart.data.unlabelled import load_images
from headstart.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, of which two are equal, at two depths."""
    place = tmp_path / "camera"
    (place / "monday" / "early").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(place / f"{number}.png")
        Image.new("RGB", (8, 8), (0, number, 9)).save(place / "monday" / "early" / f"{number}.png")
    (place / "monday" / "copy.png").write_bytes((place / "1.png").read_bytes())
    (place / "monday" / "empty.png").touch()
    (place / "notes.txt").write_text("sunny")
    return place


def test_all_images_of_a_folder_are_taken_once(folder: Path) -> None:
    found = load_images(folder)
    assert (found.name, found.classes, len(found)) == ("camera", (), 6)
    assert found.files[0] == "0.png"
    assert "monday/early/2.png" in found.files
    assert {entry.file: entry.kind for entry in found.left_out} == {
        "monday/copy.png": "duplicate",
        "monday/empty.png": "undecodable",
    }
    assert found.read(0) == (folder / "0.png").read_bytes()
    assert len(set(found.groups.tolist())) == 6
    assert len(found.development()) == 6


def test_a_zip_is_read_in_place(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "camera.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder).as_posix())
    assert load_images(tmp_path / "camera.zip").hashes == load_images(folder).hashes


def test_labelled_data_keep_their_splits(folder: Path, tmp_path: Path) -> None:
    rows = ["image,label,split,group", "0.png,a,train,g", "1.png,b,train,g", "2.png,b,test,h"]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    found = load_images(tmp_path / "table.csv", root=folder)
    assert found.table.equals(load(tmp_path / "table.csv", root=folder).table)
    assert len(found.development()) == 2


def test_images_beside_class_folders_count_too(folder: Path) -> None:
    Image.new("RGB", (8, 8), (0, 0, 99)).save(folder / "monday" / "noon.png")
    (folder / "tuesday").mkdir()
    Image.new("RGB", (8, 8), (0, 99, 99)).save(folder / "tuesday" / "noon.png")
    assert len(load(folder)) == 6
    assert len(load_images(folder)) == 8


@pytest.mark.parametrize("content", [None, b""])
def test_nothing_that_can_be_read_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    words = "no images in it" if content is None else "none of its 1 images can be read, for example a.png"
    with pytest.raises(DataError, match=words):
        load_images(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        load_images(tmp_path / "absent")
