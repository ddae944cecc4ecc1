"""A listing on disk is that of memory, whatever its length and its names."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.data import long_listing
from headstart.data.listing import list_images
from headstart.data.long_listing import read_listing, write_listing
from headstart.errors import DataError


@pytest.mark.parametrize("at_once", [1, 3, 7, 1000])
def test_it_equals_the_listing_in_memory(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_listing, "_AT_ONCE", at_once)
    folder = tmp_path / "images"
    for name in (
        "b/1.png",
        "b/10.png",
        "b/2.JPG",
        "b!/1.png",
        "b/a/x.png",
        "z.png",
        "a\n b.png",
        "é.png",
        ".h.png",
        "n.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    out = tmp_path / "files.jsonl"
    write_listing([folder], out)
    assert list(read_listing(out)) == [str(path) for path in list_images(folder)]
    assert {path.name for path in tmp_path.iterdir()} == {"images", "files.jsonl"}


def test_arrays_are_images_where_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    (folder / "a.npy").touch()
    write_listing([folder, tmp_path / "one.txt"], tmp_path / "list")
    assert list(read_listing(tmp_path / "list")) == [str(folder / "a.npy"), str(tmp_path / "one.txt")]
    (folder / "a.npy").unlink()
    with pytest.raises(DataError, match="no images"):
        write_listing([folder], tmp_path / "other")
    assert not (tmp_path / "other").exists()
