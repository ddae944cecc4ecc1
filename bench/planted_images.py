"""Copies of a data set with faults planted in known images, for ``bench/planted_faults.py``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

Plant = Callable[[Image.Image, np.random.Generator], bytes]


def jpeg(image: Image.Image, quality: int = 90, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def blurred(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Out of focus: a Gaussian of 1 to 4 % of the shorter side."""
    return jpeg(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.01, 0.04) * min(image.size))))


def upscaled(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Enlarged three or four times."""
    factor = int(rng.integers(3, 5))
    small = image.resize((image.width // factor, image.height // factor), Image.Resampling.LANCZOS)
    return jpeg(small.resize(image.size, Image.Resampling.BICUBIC))


def dark(image: Image.Image, rng: np.random.Generator) -> bytes:
    """A fifth of the grey levels."""
    return jpeg(image.point(lambda value: value // 5))


def overexposed(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Twice the grey levels and 120 more."""
    return jpeg(image.point(lambda value: min(255, 2 * value + 120)))


def tiny(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Shrunk to a shorter side of 40 pixels."""
    scale = 40 / min(image.size)
    return jpeg(image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS))


def near_constant(image: Image.Image, rng: np.random.Generator) -> bytes:
    """A page of one colour with the noise of a sensor."""
    colour = rng.integers(0, 256, 3)
    noise = colour + rng.normal(0, 1, (image.height, image.width, 3))
    return jpeg(Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)))


def grey_among_colour(image: Image.Image, rng: np.random.Generator) -> bytes:
    return jpeg(image.convert("L").convert("RGB"))


def exif_rotated(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Lying on its side, or on its head, and turned upright by EXIF alone."""
    orientation = int(rng.choice([3, 6, 8]))
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image.transpose(turns[orientation]), exif=exif)


def undecodable(image: Image.Image, rng: np.random.Generator) -> bytes:
    """Truncated somewhere."""
    whole = jpeg(image)
    return whole[: int(len(whole) * rng.uniform(0.1, 0.95))]


FAULTS: Mapping[str, tuple[Plant, int]] = {
    "exif_rotated": (exif_rotated, 10),
    "undecodable": (undecodable, 5),
    "blurred": (blurred, 10),
    "upscaled": (upscaled, 10),
    "dark": (dark, 10),
    "overexposed": (overexposed, 10),
    "tiny": (tiny, 5),
    "near_constant": (near_constant, 5),
    "grey_among_colour": (grey_among_colour, 5),
}
"""Each kind of finding with what plants it, and in how many images."""


def bordered(image: Image.Image, rng: np.random.Generator, width: int) -> bytes:
    framed = image.copy()
    inner = image.crop((width, width, image.width - width, image.height - width))
    framed.paste((200, 30, 40), (0, 0, *image.size))
    framed.paste(inner, (width, width))
    return jpeg(framed, 85)


def resized(image: Image.Image, rng: np.random.Generator) -> bytes:
    return jpeg(image.resize((round(image.width * 1.3), round(image.height * 1.3)), Image.Resampling.BICUBIC), 85)


def photographed(image: Image.Image, rng: np.random.Generator) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "One"
    return jpeg(image, 85, exif=exif)


SHORTCUTS: Mapping[str, tuple[str, Plant]] = {
    "colour border, 4 pixels": ("border", lambda image, rng: bordered(image, rng, 4)),
    "colour border, 2 pixels": ("border", lambda image, rng: bordered(image, rng, 2)),
    "larger by 1.3": ("size", resized),
    "JPEG quality 60": ("encoding", lambda image, rng: jpeg(image, 60)),
    "EXIF of one camera": ("camera", photographed),
    "none": ("", lambda image, rng: jpeg(image, 85)),
}
"""What is planted in most images of one class, the cue that gives it away, and how. All others are encoded alike."""

SHARE = 0.9
"""Of the class's images that get it."""


def plain(image: Image.Image, rng: np.random.Generator) -> bytes:
    return jpeg(image, 85)


def copy_with_faults(
    files: Sequence[str], source: Path, strangers: Sequence[Path], target: Path, seed: int
) -> dict[str, list[str]]:
    """Write all files below ``target``, some with a fault, and some strangers beside them; returns which, by kind."""
    rng = np.random.default_rng(seed)
    order = [files[row] for row in rng.permutation(len(files))]
    planted: dict[str, list[str]] = {}
    for kind, (plant, count) in FAULTS.items():
        planted[kind], order = sorted(order[:count]), order[count:]
        for file in planted[kind]:
            _write(target / file, plant(Image.open(source / file).convert("RGB"), rng))
    for file in order:
        _write(target / file, (source / file).read_bytes())
    planted["outlier"] = []
    for number, row in enumerate(rng.choice(len(strangers), 5, replace=False).tolist()):
        name = str(Path(order[number]).parent / f"stranger_{number}.jpg")
        _write(target / name, strangers[row].read_bytes())
        planted["outlier"].append(name)
    return planted


def copy_with_shortcut(files: Sequence[str], source: Path, chosen: str, target: Path, kind: str, seed: int) -> None:
    """Write all files below ``target``, those of the class ``chosen`` mostly with the shortcut."""
    rng, (_, plant) = np.random.default_rng(seed), SHORTCUTS[kind]
    for file in files:
        image = Image.open(source / file).convert("RGB")
        has = chosen in Path(file).parts and rng.random() < SHARE
        _write(target / file, (plant if has else plain)(image, rng))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
