"""Images are read again by the addresses that a run keeps of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from headstart.data.addresses import Addresses
from headstart.errors import ImageError


def test_files_and_members_of_zips_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"plain")
    archive = tmp_path / "odd!name.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/b!.jpg", b"packed")
    addresses = Addresses()
    assert addresses.read(str(tmp_path / "a.jpg")) == b"plain"
    assert addresses.read(f"zip://{archive}!x/b!.jpg") == b"packed"
    assert addresses.read(f"zip://{archive}!x/b!.jpg") == b"packed"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("memory://3", "in memory"),
        ("/nowhere/a.jpg", "No such file"),
        ("zip:///nowhere/a.zip!b.jpg", "not there any more"),
        ("zip://{here}/broken.zip!b.jpg", "not a zip"),
        ("zip://{here}/good.zip!../b.jpg", "not in the zip"),
        ("zip://nothing", "not there any more"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_names_it(tmp_path: Path, address: str, reason: str) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as file:
        file.writestr("b.jpg", b"")
    with pytest.raises(ImageError, match=reason):
        Addresses().read(address.format(here=tmp_path))
