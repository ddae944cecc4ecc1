"""Images by the addresses that a run's tables keep: paths, and members of zips."""

from __future__ import annotations

import threading
from pathlib import Path

from headstart.data.trees import Archive, read_image_file
from headstart.errors import DataError, ImageError

_ZIP, _MEMORY = "zip://", "memory://"


class Addresses:
    """Reads what the column ``image`` of a data set named, in another process than the one that loaded the data.

    Safe to call from several threads. Each zip is opened once.
    """

    def __init__(self) -> None:
        self._archives: dict[Path, Archive] = {}
        self._lock = threading.Lock()

    def read(self, image: str) -> bytes:
        """The bytes of an image; raises :class:`ImageError` if they can't be had, as of one that was only in memory."""
        if image.startswith(_MEMORY):
            raise ImageError(f"{image}: was given in memory, not as a file")
        return self._archive(image).read(image) if image.startswith(_ZIP) else read_image_file(image)

    def _archive(self, image: str) -> Archive:
        parts = image.removeprefix(_ZIP).split("!")  # a name may have such a mark of its own
        for end in range(1, len(parts)):
            path = Path("!".join(parts[:end]))
            if path.is_file():
                return self._opened(path, image)
        raise ImageError(f"{image}: the zip is not there any more")

    def _opened(self, path: Path, image: str) -> Archive:
        with self._lock:
            if path not in self._archives:
                try:
                    self._archives[path] = Archive(path)
                except DataError as error:
                    raise ImageError(f"{image}: {error}") from error
            return self._archives[path]
