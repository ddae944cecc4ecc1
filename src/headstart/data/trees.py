"""Where images lie: below a folder, in a zip, or anywhere on disk and in memory; each lists names and reads bytes."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headstart.data.listing import by_parts, files_below, is_hidden
from headstart.errors import DataError, ImageError
from headstart.imaging.reading import MAX_BYTES as MAX_BYTES
from headstart.imaging.reading import megabytes
from headstart.imaging.reading import read_image_file as read_image_file

MAX_MEMBERS = 2_000_000
"""Zips with more members are refused."""


class Reader(Protocol):
    """Gives an image's bytes; safe to call from several threads."""

    def read(self, image: str) -> bytes:
        """The bytes of the image with this URI; raises :class:`ImageError` if they can't be had."""
        ...


class Tree(Reader, Protocol):
    """A place with named files in folders."""

    @property
    def where(self) -> str:
        """How the place is called in messages."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """All files but hidden ones, relative to the place, ``/`` between the parts, sorted."""
        ...

    def uri(self, name: str) -> str:
        """What :meth:`read` takes for a file."""
        ...


@dataclass(frozen=True)
class Files:
    """Reads files by path, and images in memory by the name that they were given."""

    memory: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, image: str) -> bytes:
        """See :class:`Reader`."""
        data = self.memory.get(image)
        return read_image_file(image) if data is None else data


class Folder:
    """The files below a folder."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path.absolute()
        self.names = files_below(path)

    def uri(self, name: str) -> str:
        """The file's absolute path."""
        return f"{self.path}/{name}"

    def read(self, image: str) -> bytes:
        """See :class:`Reader`."""
        return read_image_file(image)


class Archive:
    """The members of a zip, read in place: nothing is unpacked to disk.

    Members are stored or deflated; other methods, whose Python readers can't be stopped half-way, and encrypted
    members are not read.

    Raises
    ------
    DataError
        If the file is not a zip, has more than ``MAX_MEMBERS`` members, or names one outside itself.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not a zip that can be read ({error})") from error
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise DataError(f"{path}: {len(members)} members are more than the {MAX_MEMBERS} that are read")
        for member in members:
            if _leaves(member.filename):
                raise DataError(f"{path}: the member {member.filename!r} points outside the zip; make the zip anew")
        self._members = {member.filename: member for member in members if not is_hidden(member.filename)}
        self.names = by_parts(self._members)
        self._prefix = f"zip://{path.absolute()}!"

    def __reduce__(self) -> tuple[type[Archive], tuple[Path]]:
        """Another process opens the zip for itself."""
        return Archive, (Path(self.where),)

    def uri(self, name: str) -> str:
        """``zip://``, the zip's absolute path, ``!`` and the member's name."""
        return self._prefix + name

    def read(self, image: str) -> bytes:
        """See :class:`Reader`."""
        member = self._members.get(image.removeprefix(self._prefix))
        if member is None:
            raise ImageError(f"{image}: not in the zip")
        try:
            return self._unpack(member)
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ImageError(f"{image}: can't be read ({error})") from error

    def _unpack(self, member: zipfile.ZipInfo) -> bytes:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("compressed by a method that is not read; use the common one, deflate")
        if member.flag_bits & 1:
            raise ValueError("encrypted")
        # The size in the header may lie, in either direction: what is unpacked is counted as well.
        with self._zip.open(member) as file:
            data = file.read(min(member.file_size, MAX_BYTES) + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than the {megabytes(MAX_BYTES)} that are read of an image")
        return data


def _leaves(name: str) -> bool:
    """Whether a member's name is absolute or climbs, on any system."""
    return bool(re.match(r"[/\\]|[A-Za-z]:", name)) or ".." in re.split(r"[/\\]", name)
