"""Folders are searched to any depth, through links, and always to an end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.data import list_images
from headstart.data.listing import files_below
from headstart.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_images_are_found_by_suffix_in_any_case_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "a.png", "b/1.Jpeg", "notes.txt", "b/c/d/3.webp", "B/0.tiff", "b/README")
    found = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert found == ["B/0.tiff", "a.png", "b/1.Jpeg", "b/2.JPG", "b/c/d/3.webp"]


def test_arrays_are_images_only_where_nothing_else_is(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.npy", "a/2.NPY", "a/notes.txt", "b/1.npy")
    assert [path.name for path in list_images(tmp_path)] == ["1.npy", "2.NPY", "1.npy"]
    touch(tmp_path, "b/1.png")
    assert [path.name for path in list_images(tmp_path)] == ["1.png"]


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, ".a.jpg", ".git/1.jpg", "b/._1.jpg", "__MACOSX/b/1.jpg", "b/1.jpg")
    assert [path.name for path in list_images(tmp_path)] == ["1.jpg"]


def test_one_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "scan.raw")
    assert list_images(tmp_path / "scan.raw") == [tmp_path / "scan.raw"]


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        list_images(tmp_path / "nowhere")


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "far", "1.jpg", "deep/2.jpg")
    near = tmp_path / "near"
    near.mkdir()
    (near / "file.jpg").symlink_to(tmp_path / "far/1.jpg")
    (near / "one").symlink_to(tmp_path / "far")
    (near / "two").symlink_to(tmp_path / "far")
    names = ["file.jpg", "one/1.jpg", "one/deep/2.jpg", "two/1.jpg", "two/deep/2.jpg"]
    assert files_below(near) == names


def test_circles_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a")
    (tmp_path / "a/to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b/to_a").symlink_to(tmp_path / "a")
    assert set(files_below(tmp_path)) == {"a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"}


def test_folders_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.data.listing.MAX_FOLDERS", 100)
    folders = [tmp_path / name for name in "abcdef"]
    for folder in folders:
        folder.mkdir()
    for folder in folders:
        for other in folders:
            (folder / other.name).symlink_to(other)
    with pytest.raises(DataError, match="links"):
        files_below(tmp_path)


def test_dangling_links_are_listed_and_devices_are_not(tmp_path: Path) -> None:
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert files_below(tmp_path) == ["itself.jpg", "lost.jpg"]


def test_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with open(os.fsencode(tmp_path) + b"/a/\xe9t\xe9.jpg", "wb"):
        pass
    with pytest.raises(DataError, match=r"a: the name .*udce9.* is not UTF-8"):
        list_images(tmp_path)
