"""The configuration of a transformers image processor → a Preprocessing record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.backbones.declared_preprocessing import declared, kept_share
from headstart.backbones.hub_folders import read_object
from headstart.errors import BackboneError
from headstart.imaging.preprocessing import Preprocessing

_FILTERS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_SQUASHED_FROM = 384  # ConvNeXt's processor crops below this side and squashes from it on
_HALF = (0.5, 0.5, 0.5)


def preprocessing_of(folder: Path, *, size: int | None) -> Preprocessing:
    """What ``preprocessor_config.json`` says, or ``processor_config.json``, which newer versions write.

    A processor that resizes the shorter side and crops the centre is expressed exactly. So is one that squashes
    the image to a square.

    Parameters
    ----------
    folder:
        Laid out as the hub does.
    size:
        The side that is wanted in place of the processor's.

    Raises
    ------
    BackboneError
        If there is no such file, or it asks for something that :class:`Preprocessing` can't say.
    OptionError
        If ``size`` is out of range.
    """
    path, config = _read(folder)
    side, share = _side_and_share(path, config)
    scale = config.get("rescale_factor", 1 / 255)
    if (
        not config.get("do_rescale", True)
        or not isinstance(scale, float)
        or not math.isclose(scale * 255, 1, rel_tol=1e-3)
    ):
        raise BackboneError(f"{path}: rescale_factor {scale!r} is not 1/255; only that is supported")
    normalised = config.get("do_normalize", True)
    return declared(
        str(path),
        side=side,
        share=share,
        interpolation=_FILTERS.get(config.get("resample", 2), config.get("resample")),
        mean=config.get("image_mean", _HALF) if normalised else (0.0, 0.0, 0.0),
        std=config.get("image_std", _HALF) if normalised else (1.0, 1.0, 1.0),
        size=size,
        squash=_squashes(config, side),
    )


def _squashes(config: Mapping[str, Any], side: int) -> bool:
    """Whether both sides of an image are resized to one length: where a square is named, or a lone number and no crop.

    The shortest edge alone is named where the centre is cropped; ConvNeXt's processor names it and squashes large ones.
    """
    size = config.get("size")
    if isinstance(size, dict) and "height" in size:
        return True
    if config.get("crop_pct") is not None and side >= _SQUASHED_FROM:
        return True
    return isinstance(size, int) and not config.get("do_center_crop") and config.get("crop_pct") is None


def _read(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if path.is_file():
            config = read_object(path)
            inner = config.get("image_processor", config)
            return path, inner if isinstance(inner, dict) else config
    raise BackboneError(f"{folder / 'preprocessor_config.json'} is missing: it must say how images are prepared")


def _side_and_share(path: Path, config: Mapping[str, Any]) -> tuple[int, float]:
    """Side of the network's input, and the share of the resized shorter side that it keeps."""
    resized = _side(config.get("size"))
    cropped = _side(config.get("crop_size")) if config.get("do_center_crop") else None
    if resized is None:
        raise BackboneError(f"{path}: size {config.get('size')!r} names no square and no shortest_edge")
    if cropped is not None:
        return cropped, kept_share(resized, cropped) if resized >= cropped else 1.0
    share = config.get("crop_pct")
    if isinstance(share, float) and 0 < share <= 1 and resized < _SQUASHED_FROM:
        return resized, kept_share(int(resized / share), resized)
    return resized, 1.0


def _side(size: Any) -> int | None:
    """The one side that a size in any of the processors' spellings names."""
    if isinstance(size, dict):
        sides = {size.get("height"), size.get("width")} if "height" in size else {size.get("shortest_edge")}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None
