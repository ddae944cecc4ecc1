"""A zip is read in place; hostile ones can neither leave themselves, nor fill memory, nor run anything."""

from __future__ import annotations

import io
import pickle
import struct
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart.data import load
from headstart.data.trees import Archive
from headstart.errors import DataError, ImageError


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


PETS = {"cats/1.jpg": b"one", "cats/2.jpg": b"two", "dogs/3.jpg": b"three"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "cats/../../evil.jpg",
        "/etc/evil.jpg",
        "\\evil.jpg",
        "cats\\..\\..\\evil.jpg",
        "C:/evil.jpg",
        "c:evil",
    ],
)
def test_names_that_leave_the_zip_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="outside the zip"):
        load(make_zip(tmp_path / "pets.zip", {**PETS, name: b"x"}))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "cats/../../secret.jpg"])
def test_a_table_inside_names_only_members(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    table = f"image,label\ncats/1.jpg,cat\n{name},dog\n".encode()
    with pytest.raises(DataError, match="lies outside"):
        load(make_zip(tmp_path / "pets.zip", {**PETS, "labels.csv": table}))


def test_paths_of_a_table_are_relative_to_it(tmp_path: Path) -> None:
    table = b"image,label\n../images/1.jpg,cat\n.\\2.jpg,dog\n"
    members = {"d/images/1.jpg": b"1", "d/2.jpg": b"2", "d/labels.csv": table}
    with pytest.raises(DataError, match=r"1 of 2.*\.\./images/1\.jpg \(row 1\)"):
        load(make_zip(tmp_path / "a.zip", members))
    members["d/labels.csv"] = table.replace(b"../", b"")
    assert load(make_zip(tmp_path / "b.zip", members)).read(1) == b"2"


def test_bombs_are_left_out_without_unpacking_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.data.trees.MAX_BYTES", 10_000)
    dataset = load(make_zip(tmp_path / "pets.zip", {**PETS, "dogs/bomb.jpg": bytes(50_000_000)}))
    (left_out,) = dataset.left_out
    assert (left_out.file, left_out.kind) == ("dogs/bomb.jpg", "unreadable")
    assert len(dataset) == 3


def test_a_member_that_lies_about_its_size_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "pets.zip", {**PETS, "dogs/liar.jpg": bytes(1_000_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1_000_000), struct.pack("<I", 10)))
    assert zipfile.ZipFile(path).getinfo("dogs/liar.jpg").file_size == 10
    (left_out,) = load(path).left_out
    assert (left_out.file, left_out.kind) == ("dogs/liar.jpg", "unreadable")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_cannot_be_stopped_are_not_read(tmp_path: Path, compression: int) -> None:
    archive = Archive(make_zip(tmp_path / "pets.zip", PETS, compression))
    with pytest.raises(ImageError, match=r"cats/1\.jpg.*deflate"):
        archive.read(archive.uri("cats/1.jpg"))


def test_damaged_and_encrypted_members_are_image_errors(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "pets.zip", PETS, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"three", b"thirt"))
    archive = Archive(path)
    with pytest.raises(ImageError, match=r"dogs/3\.jpg.*CRC"):
        archive.read(archive.uri("dogs/3.jpg"))
    flagged = bytearray(data)
    start = data.index(b"PK\x01\x02")
    flagged[start + 8] |= 1
    path.write_bytes(flagged)
    archive = Archive(path)
    with pytest.raises(ImageError, match="encrypted"):
        archive.read(archive.uri("cats/1.jpg"))
    with pytest.raises(ImageError, match=r"cats/9\.jpg: not in the zip"):
        archive.read(archive.uri("cats/9.jpg"))


def test_what_is_no_zip_or_has_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(DataError, match=r"text\.zip: not a zip"):
        load(tmp_path / "text.zip")
    monkeypatch.setattr("headstart.data.trees.MAX_MEMBERS", 2)
    with pytest.raises(DataError, match="3 members"):
        load(make_zip(tmp_path / "pets.zip", PETS))


def test_damaged_zips_raise_nothing_else(tmp_path: Path) -> None:
    data = make_zip(tmp_path / "pets.zip", PETS).read_bytes()
    for place in range(len(data)):
        (tmp_path / "spoiled.zip").write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        try:
            dataset = load(tmp_path / "spoiled.zip")
        except DataError:
            continue
        assert len(dataset) <= 3


def test_what_macos_adds_is_ignored(tmp_path: Path) -> None:
    members = {f"pets/{name}": data for name, data in PETS.items()}
    members |= {"__MACOSX/pets/cats/._1.jpg": b"junk", "pets/.DS_Store": b"junk"}
    dataset = load(make_zip(tmp_path / "pets.zip", members))
    assert dataset.classes == ("cats", "dogs")
    assert not dataset.left_out


def test_members_are_read_in_threads(tmp_path: Path) -> None:
    members = {f"{'ab'[i % 2]}/{i}.jpg": bytes([i % 256]) * (i + 1000) for i in range(200)}
    dataset = load(make_zip(tmp_path / "many.zip", members))
    barrier = threading.Barrier(8)

    def read(row: int) -> bytes:
        if row < 8:
            barrier.wait(timeout=10)
        return dataset.read(row)

    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(dataset.files, pool.map(read, range(200)), strict=True))
    assert found == members


def test_nothing_is_written(tmp_path: Path) -> None:
    buffer = io.BytesIO(make_zip(tmp_path / "pets.zip", PETS).read_bytes())
    dataset = load(tmp_path / "pets.zip")
    assert dataset.read(0) == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["pets.zip"]
    assert (tmp_path / "pets.zip").read_bytes() == buffer.getvalue()


def test_another_process_reads_the_same_zip(tmp_path: Path) -> None:
    archive = Archive(make_zip(tmp_path / "pets.zip", PETS))
    copied = pickle.loads(pickle.dumps(archive))  # noqa: S301 - our own bytes
    assert [copied.read(copied.uri(name)) for name in copied.names] == [
        archive.read(archive.uri(name)) for name in archive.names
    ]
