"""Small pictures inside the page: each is read once, and all together take no more room than there is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from headstart.errors import HeadstartError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 160
SMALL_SIDE = 96
QUALITY = 80
# Characters. With the text of the fullest page it stays below 5 MB.
ROOM = 3_000_000

Read = Callable[[str], bytes]


class Pictures:
    """Thumbnails by the addresses that a run's tables keep, until the page is full.

    Parameters
    ----------
    read:
        Gives the bytes of an image by its address. Where it raises, there is no picture.
    room:
        Characters that all pictures may take together.
    """

    def __init__(self, read: Read, room: int = ROOM) -> None:
        self._read = read
        self._room = room
        self._made: dict[tuple[str, int], str | None] = {}
        self.full = False

    def __call__(self, address: str | None, name: str, side: int = SIDE) -> str | None:
        """The picture as a ``data:`` address; ``None`` where it can't be read any more, or the page is full."""
        if address is None:
            return None
        if (address, side) not in self._made:
            try:
                made = thumbnail(self._read(address), name, side)
            except (HeadstartError, OSError):  # an image that is gone by now must not cost the report
                made = None
            self._made[address, side] = made
        return self.take(self._made[address, side])

    def take(self, picture: str | None) -> str | None:
        """A picture that was made elsewhere, where it still fits."""
        if picture is not None and len(picture) > self._room:
            self.full, picture = True, None
        self._room -= len(picture or "")
        return picture


def thumbnail(data: bytes, name: str, side: int = SIDE) -> str:
    """An image of any format as a ``data:`` address of a JPEG whose longer side has at most ``side`` pixels.

    Raises
    ------
    ImageError
        If the bytes can't be decoded.
    """
    from PIL import Image

    from headstart.imaging import preview

    picture = Image.fromarray(preview(data, name, at_least=side))
    picture.thumbnail((side, side))
    return jpeg(picture)


def jpeg(picture: Image.Image) -> str:
    """A picture as a ``data:`` address of a JPEG."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
