"""Training views: an image, changed as a preset says, by random numbers that only seed, image and view number shape."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import ThreadpoolController
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from headstart.errors import OptionError
from headstart.features.extract import CLEAN, View
from headstart.files import sha256
from headstart.imaging import Preprocessing, decode, load_view
from headstart.imaging.channels import RGB
from headstart.records import to_json
from headstart.training.finetuning.chances import Chances, draw
from headstart.training.finetuning.presets import COLOURS, Preset, find_preset

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

VERSION = 1
"""Raised whenever the same seed, image and number give another view; cached views are keyed by it."""

_RATIO = 4 / 3  # a crop's sides differ by up to this factor, as in timm's and torchvision's random resized crop
_USUAL_SHARE = 0.5
_ERASED_AREA = (0.02, 0.33)
_ERASED_RATIO = 10 / 3
_INTERPOLATIONS = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}


class Augmenter:
    """Views of a preset, without end: equal seeds, bytes and numbers give equal pixels in any thread, order or process.

    Parameters
    ----------
    preset:
        A name of :data:`headstart.training.finetuning.presets.PRESETS`, or a preset itself.
    preprocessing:
        Size, interpolation and channels of the views; those of the weights.
    seed:
        Not negative.
    without:
        Transforms to leave out. Those that have no meaning for the channels are left out anyway.
    share:
        Of the views, in 0…1: those that are rotated, and those whose hue is turned.

    Attributes
    ----------
    preset:
        What is left of it.
    transforms:
        The names of those that are applied.
    identity:
        Everything that shapes the pixels, preprocessing and decoding apart, as a short text.

    Raises
    ------
    OptionError
        If there is no such preset or transform, the seed is negative, or the share lies outside its range.
    """

    def __init__(
        self,
        preset: str | Preset,
        preprocessing: Preprocessing,
        *,
        seed: int,
        without: frozenset[str] = frozenset(),
        share: float = _USUAL_SHARE,
    ) -> None:
        if seed < 0:
            raise OptionError(f"augmentation: seed {seed} is negative; take 0 or more")
        if not 0 <= share <= 1:
            raise OptionError(f"augmentation: {share} is no share of the views; take 0 to 1")
        found = find_preset(preset, without) if isinstance(preset, str) else preset.without(without)
        self.preset = found if preprocessing.channels == RGB else found.without(COLOURS)
        self.preprocessing = preprocessing
        self.transforms = self.preset.transforms
        label = preset if isinstance(preset, str) else "own"
        omitted = f" without {'+'.join(sorted(without))}" if without else ""
        parameters = sha256(to_json(self.preset).encode())[:12]
        shared = "" if share == _USUAL_SHARE else f" share {share:g}"
        squashed = " squashed" if preprocessing.aspect == "squash" else ""
        self.identity = f"{label}{omitted} {parameters} v{VERSION}{squashed} seed {seed}{shared}"
        self._seed, self._share = seed, share

    def numbered(self, number: int) -> View:
        """View ``number`` (0, 1, …) of every image; where no transform is on, the clean view."""
        return AugmentedView(self, number) if self.transforms else CLEAN

    def load(self, data: bytes, name: str, number: int) -> Pixels:
        """View ``number`` of an image file: uint8 (size, size, channels).

        ``name`` is for the error's message; a JPEG is decoded at a reduced scale that the smallest crop allows.

        Raises
        ------
        ImageError, MissingExtraError
            As :func:`headstart.imaging.decode`.
        """
        wanted = self.preprocessing
        if not self.preset.crop:
            return self.view(load_view(data, wanted, name), sha256(data), number)
        at_least = math.ceil(wanted.size / math.sqrt(self.preset.crop))
        return self.view(decode(data, name, at_least, channels=wanted.channels), sha256(data), number)

    def view(self, pixels: Pixels, digest: str, number: int) -> Pixels:
        """View ``number`` of decoded pixels.

        Parameters
        ----------
        pixels:
            uint8 (height, width, channels): the whole image, or the clean view where the preset does not crop.
        digest:
            The SHA-256 of the image's bytes, as hexadecimal digits.

        Returns
        -------
        uint8 (size, size, channels)
        """
        if not self.transforms:
            return pixels
        chances = draw(self._seed, digest, number)
        with _one_thread():
            image = torch.from_numpy(np.require(pixels, requirements=["W"])).permute(2, 0, 1)
            image = self._placed(image, chances)
            image = _flip(image, flips_of(self.preset, number))
            image = _recolour(image, self.preset, chances, self._share)
            image = _erase(image, self.preset, chances, self.preprocessing)
            changed: Pixels = image.permute(1, 2, 0).contiguous().numpy()
        return changed

    def _placed(self, image: torch.Tensor, chances: Chances) -> torch.Tensor:
        """The part of the image that the view shows, at its size."""
        wanted, (height, width) = self.preprocessing, image.shape[-2:]
        box = _crop_box(height, width, self.preset, chances, whole=wanted.aspect == "squash")
        if self.preset.rotation and chances.rotated < self._share:
            return _rotated(image, box, self.preset.rotation * (2 * chances.angle - 1), wanted)
        return _resized(image, box, wanted.size, wanted) if self.preset.crop else image


@dataclass(frozen=True, eq=False)
class AugmentedView:
    """One numbered view, as :func:`headstart.features.extract.extract` takes it."""

    augmenter: Augmenter
    number: int

    @property
    def name(self) -> str:
        """The augmenter's identity and the number."""
        return f"{self.augmenter.identity} view {self.number}"

    def load(self, data: bytes, preprocessing: Preprocessing, name: str) -> Pixels:
        """See :meth:`Augmenter.load`; ``preprocessing`` must be the augmenter's own."""
        if preprocessing != self.augmenter.preprocessing:
            raise ValueError(f"views for {self.augmenter.preprocessing} don't fit {preprocessing}")
        return self.augmenter.load(data, name, self.number)


def flips_of(preset: Preset, number: int) -> frozenset[str]:
    """Which flips and quarter turns view ``number`` has: its binary digits, the lowest for the first that is on.

    So that each flip is a view of its own: with left and right, odd numbers are mirrored, and two views in a row show
    both; with all three, eight views in a row show the eight positions of a square.
    """
    usable = [name for name in ("horizontal_flip", "vertical_flip", "quarter_turn") if getattr(preset, name)]
    return frozenset(name for digit, name in enumerate(usable) if number >> digit & 1)


def _crop_box(height: int, width: int, preset: Preset, chances: Chances, *, whole: bool) -> Box:
    """A random part: top, left, height, width in pixels; all of the image where the preset does not crop.

    Areas are shares of what the evaluation view shows too: of the largest square, so that long pictures are not
    squeezed, or where they are squashed, of the ``whole`` picture. So things look in training about as they do in use.
    """
    if not preset.crop:
        return 0, 0, height, width
    area = preset.crop + (1 - preset.crop) * chances.area
    ratio = math.sqrt(_RATIO ** (2 * chances.ratio - 1))
    share, square = math.sqrt(area), min(height, width)
    full_height, full_width = (height, width) if whole else (square, square)
    tall = min(height, max(1, round(share * full_height / ratio)))
    wide = min(width, max(1, round(share * full_width * ratio)))
    return int(chances.top * (height - tall + 1)), int(chances.left * (width - wide + 1)), tall, wide


def _resized(image: torch.Tensor, box: Box, size: int, wanted: Preprocessing) -> torch.Tensor:
    top, left, tall, wide = box
    interpolation = _INTERPOLATIONS[wanted.interpolation]
    return functional.resized_crop(image, top, left, tall, wide, [size, size], interpolation, antialias=True)


def _rotated(image: torch.Tensor, box: Box, degrees: float, wanted: Preprocessing) -> torch.Tensor:
    """The box, rotated about its centre.

    The corners show what lies around the box, and beyond the image its own reflection: black ones would be a mark.
    """
    angle, size = math.radians(abs(degrees)), wanted.size
    margin = math.ceil(size / 2 * (math.cos(angle) + math.sin(angle) - 1)) + 1
    top, left, tall, wide = box
    above, aside = min(tall - 1, round(tall * margin / size)), min(wide - 1, round(wide * margin / size))
    surrounded = _reflected(image, (top - above, left - aside, tall + 2 * above, wide + 2 * aside))
    larger = _resized(surrounded, (0, 0, *surrounded.shape[-2:]), size + 2 * margin, wanted)
    return functional.center_crop(functional.rotate(larger, degrees, InterpolationMode.BILINEAR), [size, size])


def _reflected(image: torch.Tensor, box: Box) -> torch.Tensor:
    """A box that may reach beyond the image by less than what lies within."""
    top, left, tall, wide = box
    within = image[:, max(0, top) : top + tall, max(0, left) : left + wide]
    outside = [max(0, -left), max(0, -top), max(0, left + wide - image.shape[2]), max(0, top + tall - image.shape[1])]
    return functional.pad(within, outside, padding_mode="reflect") if any(outside) else within


def _flip(image: torch.Tensor, flips: frozenset[str]) -> torch.Tensor:
    if "horizontal_flip" in flips:
        image = functional.horizontal_flip(image)
    if "vertical_flip" in flips:
        image = functional.vertical_flip(image)
    return torch.rot90(image, 1, (-2, -1)) if "quarter_turn" in flips else image


def _recolour(image: torch.Tensor, preset: Preset, chances: Chances, share: float) -> torch.Tensor:
    for adjust, most, chance in (
        (functional.adjust_brightness, preset.brightness, chances.brightness),
        (functional.adjust_contrast, preset.contrast, chances.contrast),
        (functional.adjust_saturation, preset.saturation, chances.saturation),
    ):
        if most:
            image = _each_channel(adjust, image, 1 + most * (2 * chance - 1))
    if preset.hue and chances.tinted < share:
        image = functional.adjust_hue(image, preset.hue * (2 * chances.hue - 1))
    if chances.grey < preset.grey:
        image = functional.rgb_to_grayscale(image, num_output_channels=RGB)
    return image


def _each_channel(adjust: Callable[..., Any], image: torch.Tensor, factor: float) -> torch.Tensor:
    """Three channels are adjusted as a colour; of any other number, each as a grey picture of its own."""
    if len(image) == RGB:
        return adjust(image, factor)
    return adjust(image[:, None], factor)[:, 0]


def _erase(image: torch.Tensor, preset: Preset, chances: Chances, wanted: Preprocessing) -> torch.Tensor:
    if chances.erased >= preset.erasing:
        return image
    least, most = _ERASED_AREA
    size = image.shape[-1]
    side = math.sqrt(least + (most - least) * chances.erased_area) * size
    ratio = math.sqrt(_ERASED_RATIO ** (2 * chances.erased_ratio - 1))
    tall, wide = min(size, round(side / ratio)), min(size, round(side * ratio))
    top, left = int(chances.erased_top * (size - tall + 1)), int(chances.erased_left * (size - wide + 1))
    mean = [round(255 * wanted.mean[channel % 3]) for channel in range(len(image))]
    return functional.erase(image, top, left, tall, wide, torch.tensor(mean, dtype=torch.uint8)[:, None, None])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch runs in the calling thread alone: views are small and made in several threads at once.

    Work shared out among further threads for every small step takes up to a hundred times longer. OpenMP's number of
    threads belongs to the thread that sets it, so the training beside it keeps its own.
    """
    torch.get_num_threads()  # torch sets up the number in a new thread at its first use, which must not come later
    with _openmp().limit(limits=1):
        yield


@functools.cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")
