"""``augmentations.png``: what training sees of a few images, so that a person can object before it has learned it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from headstart.imaging import load_view
from headstart.training.finetuning.augmentation import Augmenter

ROWS = 6
VIEWS = 7
_TILE, _GAP, _CAPTION, _TITLE = 128, 6, 18, 26  # pixels
_PAPER, _INK, _FAINT = "white", (32, 32, 32), (112, 112, 112)


def contact_sheet(images: Sequence[tuple[bytes, str]], augmenter: Augmenter) -> bytes:
    """A PNG: a row for each image, first the clean view and then views 0 to 6, with the transforms as a title.

    Parameters
    ----------
    images:
        The bytes of each file and its name; up to 6, more are left out. Of many channels the first three are shown,
        of two the first.

    Raises
    ------
    ImageError
        If an image can't be decoded.
    """
    images = images[:ROWS]
    columns = 1 + VIEWS
    width = _GAP + columns * (_TILE + _GAP)
    sheet = Image.new("RGB", (width, _TITLE + _CAPTION + len(images) * (_TILE + _CAPTION + _GAP)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    title = ", ".join(name.replace("_", " ") for name in augmenter.transforms) or "no augmentation: every view is clean"
    pen.text((_GAP, _GAP), _fitting(title, width - 2 * _GAP, font), _INK, font)
    for column in range(columns):
        heading = f"view {column - 1}" if column else "clean"
        pen.text((_GAP + column * (_TILE + _GAP), _TITLE), heading, _FAINT, font)
    for row, (data, name) in enumerate(images):
        top = _TITLE + _CAPTION + row * (_TILE + _CAPTION + _GAP)
        views = [load_view(data, augmenter.preprocessing, name)]
        views += [augmenter.numbered(k).load(data, augmenter.preprocessing, name) for k in range(VIEWS)]
        for column, view in enumerate(views):
            sheet.paste(_tile(view), (_GAP + column * (_TILE + _GAP), top))
        pen.text((_GAP, top + _TILE + 2), _fitting(name, width - 2 * _GAP, font), _FAINT, font)
    png = BytesIO()
    sheet.save(png, "PNG", optimize=True)
    return png.getvalue()


def _tile(view: npt.NDArray[np.uint8]) -> Image.Image:
    shown = view[:, :, :3] if view.shape[2] >= 3 else np.repeat(view[:, :, :1], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(shown)).resize((_TILE, _TILE), Image.Resampling.BICUBIC)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, with its beginning left out where it is too long: names differ at their end."""
    shown = text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[1:]
        shown = f"…{text}"
    return shown
