"""Files are whole or absent: whatever goes wrong, the old content stays and nothing else is left behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart import files
from headstart.errors import StorageError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "er" / "file.json"
    files.write_atomic(path, "old")
    return path


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 1,000 bytes, which is a real failure in the middle of a write.

    No fixture: between a test and its fixtures' end pytest writes its own output, which may go to a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("data", "written"), [("é", "é".encode()), (b"\0\xff", b"\0\xff"), ("", b"")])
def test_text_and_bytes_are_written_and_replaced(place: Path, data: str | bytes, written: bytes) -> None:
    files.write_atomic(place, data)
    assert place.read_bytes() == written
    assert _left(place.parent) == [place.name]


def test_a_write_that_fails_midway_keeps_the_old_file_and_leaves_nothing(place: Path) -> None:
    with pytest.raises(StorageError, match=r"no room left to write .*file\.json: free some space"), small_files():
        files.write_atomic(place, b"x" * 5000)
    assert place.read_text() == "old"
    assert _left(place.parent) == [place.name]
    with pytest.raises(StorageError), small_files():
        files.write_atomic(place.with_name("new"), b"x" * 5000)
    assert _left(place.parent) == [place.name]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "broken")])
@pytest.mark.parametrize("folder", [False, True])
def test_whatever_the_writer_raises_passes_and_its_part_is_removed(
    place: Path, error: BaseException, folder: bool
) -> None:
    def write() -> None:
        with files.replacing(place) as temporary:
            if folder:
                temporary.mkdir()
            (temporary / "part" if folder else temporary).write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert place.read_text() == "old"
    assert _left(place.parent) == [place.name]


def test_a_folder_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    place = tmp_path / "model"
    for names in (["a", "b"], ["b", "c"]):
        with files.replacing(place) as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(name)
            assert not place.exists() or _left(place) == ["a", "b"]
        assert _left(place) == names
    assert _left(tmp_path) == ["model"]


def test_before_the_end_nothing_can_be_seen_of_the_new_content(place: Path) -> None:
    with files.replacing(place) as temporary:
        temporary.write_text("new")
        assert place.read_text() == "old"
        assert temporary.parent == place.parent
    assert place.read_text() == "new"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no room left"),
        (errno.EDQUOT, "no room left"),
        (errno.EACCES, "not allowed"),
        (errno.EROFS, "not allowed"),
        (errno.ENOTDIR, "a file is where a folder is wanted"),
    ],
)
def test_errors_of_the_disk_name_the_place_and_the_way_out(number: int, words: str) -> None:
    with (
        pytest.raises(StorageError, match=rf"{words}.*HEADSTART_CACHE") as caught,
        files.clear_storage_errors(Path("/some/place")),
    ):
        raise OSError(number, os.strerror(number))
    assert "/some/place" in str(caught.value)


def test_a_place_below_a_file_is_a_storage_error(place: Path) -> None:
    with pytest.raises(StorageError, match=r"file\.json"):
        files.write_atomic(place / "below", "x")
    with pytest.raises(StorageError, match=r"file\.json"):
        files.write_atomic(place / "far" / "below", "x")


def test_hashes_are_sha256(place: Path) -> None:
    data = os.urandom(3_000_000)
    place.write_bytes(data)
    assert files.sha256_of(place) == files.sha256(data) == hashlib.sha256(data).hexdigest()


def test_the_cache_is_where_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", "/one")
    assert files.cache_root() == Path("/one")
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert files.cache_root() == Path("/two/headstart")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_root() == Path.home() / ".cache" / "headstart"
