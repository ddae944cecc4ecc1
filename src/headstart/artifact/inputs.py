"""Images in any form that a person has them: paths, folders, Pillow images, arrays, encoded bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.listing import list_images
from headstart.data.trees import read_image_file
from headstart.errors import DataError, OptionError
from headstart.imaging import encode


@dataclass(frozen=True)
class Inputs:
    """Images of any form that :class:`Model` takes, as names and a way to read their bytes."""

    names: list[str]
    sources: Mapping[int, Any] | Sequence[Any]

    @classmethod
    def of(cls, images: Any) -> Inputs:
        """Raises :class:`OptionError` where something is no image, :class:`DataError` for a folder without any."""
        if isinstance(images, str | Path) and os.path.isdir(images):
            paths = list_images(Path(images))
            if not paths:
                raise DataError(f"{images}: no images in this folder")
            return cls([str(path) for path in paths], paths)
        batch = isinstance(images, np.ndarray) and images.ndim == 4
        several = list(images) if batch or isinstance(images, list | tuple | Iterator) else [images]
        for one in several:
            _check_form(one)
        names = [str(one) if isinstance(one, str | Path) else f"image {i}" for i, one in enumerate(several)]
        return cls(names, several)

    def read(self, position: int) -> bytes:
        """The bytes of an image; raises :class:`ImageError` if they can't be had."""
        one = self.sources[position]
        if isinstance(one, bytes | bytearray):
            return bytes(one)
        if not isinstance(one, str | Path):
            return encode(one, self.names[position])
        return read_image_file(one)


def _check_form(one: Any) -> None:
    from PIL.Image import Image

    if not isinstance(one, str | Path | bytes | bytearray | np.ndarray | Image):
        raise OptionError(
            f"a {type(one).__name__} is no image: give a path, a PIL image, a NumPy array, encoded bytes, or a list of "
            "these"
        )
