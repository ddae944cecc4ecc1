"""Folders, and zips of them, become the rows that their layout says, or an error that says how to lay them out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.data import Dataset, load
from headstart.errors import DataError

Load = Callable[[Path], Dataset]


def lay_out(root: Path, *names: str) -> Path:
    """Files whose bytes differ; no image is decoded when data are loaded."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(f"the bytes of {name}".encode())
    return root


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder.parent / f"{folder.name} zipped"), "zip", folder.parent, folder.name))


@pytest.fixture(params=["folder", "zip"])
def load_as(request: pytest.FixtureRequest) -> Load:
    """The same expectations hold for a folder and for a zip of that folder."""
    return load if request.param == "folder" else lambda folder: load(zipped(folder))


def rows(dataset: Dataset, root: Path) -> list[tuple[str, str, str | None]]:
    """File, label and split; the folder that a zip has at its top is taken off."""
    files = [file.removeprefix(f"{root.name}/") for file in dataset.files]
    columns = (dataset.table.column(name).to_pylist() for name in ("label", "split"))
    return list(zip(files, *columns, strict=True))


def test_a_folder_per_class(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "pets", "dogs/1.jpg", "cats/1.PNG", "cats/2.jpeg")
    dataset = load_as(root)
    assert rows(dataset, root) == [
        ("cats/1.PNG", "cats", None),
        ("cats/2.jpeg", "cats", None),
        ("dogs/1.jpg", "dogs", None),
    ]
    assert dataset.classes == ("cats", "dogs")
    assert dataset.targets.tolist() == [0, 0, 1]
    assert dataset.class_counts() == {"cats": 2, "dogs": 1}
    assert dataset.read(0) == b"the bytes of cats/1.PNG"
    assert dataset.read_image(dataset.images[2]) == b"the bytes of dogs/1.jpg"
    assert dataset.hashes[1] == hashlib.sha256(b"the bytes of cats/2.jpeg").hexdigest()
    assert dataset.task == "classification"
    assert not dataset.has_groups


def test_arrays_are_the_images_of_a_folder_that_has_no_others(tmp_path: Path, load_as: Load) -> None:
    lay_out(tmp_path / "scenes", "corn/1.npy", "corn/2.npy", "oats/1.npy")
    assert load_as(tmp_path / "scenes").class_counts() == {"corn": 2, "oats": 1}
    lay_out(tmp_path / "scenes", "corn/1.tif", "oats/1.tif")
    found = load_as(tmp_path / "scenes")
    assert found.class_counts() == {"corn": 1, "oats": 1}
    assert any("3 files are ignored, because they are not images: 3 .npy" in note for note in found.notes)


def test_names_come_from_the_source(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "pets.v2", "dogs/1.jpg", "cats/1.jpg")
    assert load(root).name == "pets.v2"
    assert load(zipped(root)).name == "pets.v2 zipped"
    assert load(root).images[0] == str(root / "cats/1.jpg")
    assert load(zipped(root)).images[0] == f"zip://{tmp_path}/pets.v2 zipped.zip!pets.v2/cats/1.jpg"


@pytest.mark.parametrize(
    ("val", "test"), [("val", "test"), ("Valid", "TEST"), ("validation", "testing"), ("dev", "Test")]
)
def test_split_folders_in_any_spelling(tmp_path: Path, load_as: Load, val: str, test: str) -> None:
    root = lay_out(tmp_path / "d", "Train/a/1.jpg", "Train/b/2.jpg", f"{val}/a/3.jpg", f"{test}/b/4.jpg")
    dataset = load_as(root)
    assert {(label, split) for _, label, split in rows(dataset, root)} == {
        ("a", "train"),
        ("b", "train"),
        ("a", "val"),
        ("b", "test"),
    }
    assert len(dataset.test()) == 1
    assert len(dataset.development()) == 3
    assert dataset.development().classes == ("a", "b")


def test_deeper_folders_belong_to_their_class(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "cats/black/old/1.jpg", "cats/2.jpg", "dogs/train/3.jpg")
    assert [label for _, label, _ in rows(load_as(root), root)] == ["cats", "cats", "dogs"]


def test_an_only_folder_at_the_top_is_entered(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "README.md", "v1/images/cats/1.jpg", "v1/images/dogs/2.jpg", "v1/licence.txt")
    dataset = load_as(root)
    assert dataset.classes == ("cats", "dogs")
    assert dataset.files[0].endswith("v1/images/cats/1.jpg")
    assert any("2 files are ignored" in note and ".md" in note for note in dataset.notes)


def test_an_only_split_folder_is_a_split(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "test/cats/1.jpg", "test/dogs/2.jpg")
    assert load_as(root).splits.tolist() == ["test", "test"]


def test_a_class_may_be_called_train(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "train/1.jpg", "bus/2.jpg", "tram/3.jpg")
    dataset = load_as(root)
    assert dataset.classes == ("bus", "train", "tram")
    assert set(dataset.splits) == {""}


def test_unlabelled_images_are_listed(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg", "4.jpg")
    dataset = load_as(root)
    assert len(dataset) == 2
    assert sorted((entry.file.removeprefix("d/"), entry.kind) for entry in dataset.left_out) == [
        ("4.jpg", "unlabelled"),
        ("test/3.jpg", "unlabelled"),
    ]
    assert any("2 images are left out" in note for note in dataset.notes)


def test_unicode_and_space_in_names(tmp_path: Path, load_as: Load) -> None:
    decomposed, composed = "Ka\u0308fer", "K\u00e4fer"
    root = lay_out(tmp_path / "Böden 1", f"{decomposed}/größe 1.jpg", "蜂/蜂.png", "ants /3.jpg")
    dataset = load_as(root)
    assert dataset.classes == (composed, "ants", "蜂")
    assert all(dataset.read(row) for row in range(3))


def test_linked_class_folders(tmp_path: Path) -> None:
    far = lay_out(tmp_path / "far", "cats/1.jpg", "dogs/2.jpg")
    near = tmp_path / "near"
    near.mkdir()
    (near / "CATS").symlink_to(far / "cats")
    (near / "dogs").symlink_to(far / "dogs")
    assert load(near).classes == ("CATS", "dogs")


def test_a_table_at_the_top_goes_first(tmp_path: Path, load_as: Load) -> None:
    root = lay_out(tmp_path / "d", "images/1.jpg", "images/2.jpg")
    (root / "labels.csv").write_text("image,label\nimages/1.jpg,cat\nimages/2.jpg,dog\n")
    (root / "sizes.csv").write_text("name,width\n1,2\n")
    assert rows(load_as(root), root) == [("images/1.jpg", "cat", None), ("images/2.jpg", "dog", None)]
    (root / "more.tsv").write_text("image\tlabel\nimages/1.jpg\tcat\nimages/2.jpg\tdog\n")
    with pytest.raises(DataError, match=r"labels\.csv.*more\.tsv"):
        load_as(root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "empty"),
        (("notes.txt", "a/b.cr2"), r"no images.*\.txt.*folder per class"),
        (("1.jpg", "2.jpg"), "2 images(, none of them in a class| are of one class, 'd'.*in a) folder"),
        (("train/1.jpg", "val/2.jpg"), "none of them in a class folder"),
        (("train/1.jpg", "val/a/2.jpg", "val/b/3.jpg"), "for training lie in no class folders"),
        (("cats/1.jpg", "cats/2.jpg"), "2 images are of one class, 'cats'"),
        (("train/a/1.jpg", "train/b/2.jpg", "extra/3.jpg"), "train has class folders like a split.*extra"),
        (("val/a/1.jpg", "validation/b/2.jpg", "train/a/3.jpg"), "val and validation are both the val split"),
        (("Cat/1.jpg", "cat/2.jpg", "cat/3.jpg"), r"'Cat' \(1 images\) and 'cat' \(2 images\) differ only in case"),
        (("train/Cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg"), "differ only in case"),
    ],
)
def test_layouts_that_say_too_little(tmp_path: Path, names: tuple[str, ...], message: str, load_as: Load) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match=message):
        load_as(lay_out(tmp_path / "d", *names))


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "data.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"data\.tar.*neither"):
        load(tmp_path / "data.tar")
    with pytest.raises(DataError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="int"):
        load(3)  # type: ignore[arg-type]


def test_unreadable_and_empty_files_are_listed(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "d", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg", "b/5.jpg")
    (root / "a/2.jpg").write_bytes(b"")
    (root / "b/4.jpg").unlink()
    (root / "b/4.jpg").symlink_to("nowhere")
    dataset = load(root)
    assert dataset.files == ["a/1.jpg", "b/3.jpg", "b/5.jpg"]
    assert [(entry.file, entry.kind) for entry in dataset.left_out] == [
        ("a/2.jpg", "undecodable"),
        ("b/4.jpg", "unreadable"),
    ]
    assert dataset.left_out[1].reason == "can't be read (No such file or directory)"
    (root / "b/3.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of 5 files are empty or unreadable, for example a/2\.jpg"):
        load(root)


def test_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_as: Load) -> None:
    for room in ("data.trees", "imaging.reading"):
        monkeypatch.setattr(f"headstart.{room}.MAX_BYTES", 1000)
    root = lay_out(tmp_path / "d", "a/1.jpg", "b/2.jpg", "b/3.jpg")
    (root / "b/3.jpg").write_bytes(bytes(1001))
    (left_out,) = load_as(root).left_out
    assert left_out.kind == "unreadable"
    assert "more than" in left_out.reason


def test_a_class_that_loses_all_its_files_is_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "d", "a/1.jpg", "b/2.jpg", "c/3.jpg", "c/4.jpg")
    (root / "a/1.jpg").write_bytes(b"")
    dataset = load(root)
    assert dataset.classes == ("b", "c")
    assert any("class 'a'" in note for note in dataset.notes)
    assert any("Only one image of the class 'b'" in note for note in dataset.notes)
    (root / "b/2.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="one class, 'c'"):
        load(root)


@pytest.mark.real
def test_real_folders(shared: Path) -> None:
    dataset = load(shared / "data/hymenoptera")
    assert (len(dataset), dataset.classes) == (397, ("ants", "bees"))
    assert np.unique(dataset.splits, return_counts=True)[1].tolist() == [244, 153]
    assert not dataset.left_out
