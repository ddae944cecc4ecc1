"""How strongly training views are changed: one table of named presets, each transform a column."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from headstart.errors import OptionError


@dataclass(frozen=True)
class Preset:
    """What may be done to an image on its way to a training view; a transform that is 0 or False is off.

    A rotation goes with the crop, whatever lies around it filling the corners; then all others follow in this order.

    Attributes
    ----------
    crop:
        The least share, in (0, 1], of the area of the largest square in the image that a random crop keeps, or of the
        whole image where images are squashed; the greatest is 1, and its sides differ by up to a third. Off, the view
        starts from the clean evaluation view.
    horizontal_flip, vertical_flip, quarter_turn:
        Mirrored left to right, upside down, turned by 90°. Not tossed for: the view's number says which of them are
        applied (:func:`headstart.training.finetuning.augmentation.flips_of`).
    rotation:
        Up to so many degrees either way, in a share of the views that the augmenter knows, usually half.
    brightness, contrast, saturation:
        By a factor within 1 ± this, in every view.
    hue:
        By up to this share of the colour circle either way, in as many views as are rotated.
    grey:
        The share of views that lose their colour.
    erasing:
        The share of views of which a rectangle (2 % to 33 % of the area) is painted over with the weights' mean colour
        (Zhong et al. 2020, with their bounds).
    """

    crop: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False
    quarter_turn: bool = False
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    erasing: float = 0.0

    @property
    def transforms(self) -> tuple[str, ...]:
        """The names of those that are on."""
        return tuple(field.name for field in dataclasses.fields(self) if getattr(self, field.name))

    def without(self, names: Collection[str]) -> Preset:
        """The same with some transforms off."""
        off: dict[str, Any] = {field.name: field.default for field in _fields(names)}
        return dataclasses.replace(self, **off)

    def only(self, name: str) -> Preset:
        """With a single transform as strong as it is here; one whose strength is a share of the views goes to all."""
        strength: Any = 1.0 if name in ("grey", "erasing") else getattr(self, name)
        return dataclasses.replace(Preset(), **{name: strength})


# Sources. Crops: BiT's fine-tuning rule keeps 0.64 to 0.73 of the area (Kolesnikov et al. 2020); 0.08, with which timm
# and torchvision train from scratch, is meant for hundreds of epochs. Rotation and lighting of `medium` are fastai's
# `aug_transforms` (10°, 0.2), colours and erasing of `strong` timm's (colour jitter 0.4, erasing 0.25) with the hue and
# a little of the grey of SimCLR (Chen et al. 2020). `medical` takes nnU-Net's brightness and contrast of ± 25 % and a
# rotation of patients who don't lie straight; colour is a stain or nothing there. None of timm, torchvision and fastai
# turns photographs upside down unless told: only `overhead` does, for pictures without an up (satellite, microscope,
# textures), where all eight positions of the square are equal.
PRESETS = {
    "none": Preset(),
    "light": Preset(crop=0.7, horizontal_flip=True),
    "medium": Preset(
        crop=0.5, horizontal_flip=True, rotation=10, brightness=0.2, contrast=0.2, saturation=0.2,
    ),
    "strong": Preset(
        crop=0.25, horizontal_flip=True, rotation=20, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey=0.1,
        erasing=0.25,
    ),
    "medical": Preset(crop=0.7, horizontal_flip=True, rotation=15, brightness=0.25, contrast=0.25),
    "overhead": Preset(
        crop=0.5, horizontal_flip=True, vertical_flip=True, quarter_turn=True, brightness=0.2, contrast=0.2,
        saturation=0.2,
    ),
}  # fmt: skip

COLOURS = frozenset({"saturation", "hue", "grey"})
"""Transforms that only images of three channels have a meaning for."""


def find_preset(name: str, without: Collection[str] = ()) -> Preset:
    """A preset of the table, with some of its transforms off.

    Raises
    ------
    OptionError
        If there is no such preset, or no such transform.
    """
    if name not in PRESETS:
        raise OptionError(f"unknown augmentation {name!r}{_nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return PRESETS[name].without(without)


def _fields(names: Collection[str]) -> list[dataclasses.Field[object]]:
    known = {field.name: field for field in dataclasses.fields(Preset)}
    for name in names:
        if name not in known:
            raise OptionError(f"unknown transform {name!r}{_nearest(name, known)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _nearest(name: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(name.lower(), known, n=1)
    return f": did you mean {found[0]!r}?" if found else ""
