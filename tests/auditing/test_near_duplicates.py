"""Copies are found whatever was done to them; what merely looks alike is not."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from headstart.auditing.comparison import Copy
from headstart.auditing.lookalikes import find_lookalikes
from headstart.auditing.near_duplicates import find_copies
from headstart.auditing.thumbnails import thumbnails_of
from headstart.data import Dataset, load
from headstart.runs import SilentProgress

AsDataset = Callable[[Mapping[str, Image.Image]], Dataset]
Scene = Callable[..., Image.Image]
ORIGINALS = 12


def _found(dataset: Dataset, features: NDArray[np.float32] | None = None) -> dict[frozenset[str], Copy]:
    """Copies by the names of their files; by default features tell nothing."""
    if features is None:
        features = np.random.default_rng(0).normal(size=(len(dataset), 8)).astype(np.float32)
    copies = find_copies(dataset, thumbnails_of(dataset, SilentProgress(), print), features, SilentProgress())
    return {frozenset(dataset.files[row] for row in copy.rows): copy for copy in copies}


def _jpeg(image: Image.Image, quality: int = 60) -> Image.Image:
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=quality)
    return Image.open(out)


def _brightened(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], str]] = {
    "encoded": (lambda image: _jpeg(image, 50), ""),
    "resized": (lambda image: image.resize((97, 77)), ""),
    "squashed": (lambda image: image.resize((160, 160)), ""),
    "cropped": (lambda image: image.crop((12, 3, 190, 152)), "cropped"),
    "brighter": (lambda image: _brightened(image, 1.35), ""),
    "darker": (lambda image: _brightened(image, 0.6), ""),
    "grey": (lambda image: image.convert("L"), ""),
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored left to right"),
    "upside_down": (lambda image: image.transpose(Image.Transpose.ROTATE_180), "turned by 180°"),
    "turned": (lambda image: image.transpose(Image.Transpose.ROTATE_270), "turned by 90° clockwise"),
    "all": (lambda image: _jpeg(_brightened(image.crop((0, 8, 188, 160)).resize((120, 97)), 1.2)), "cropped"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(scene: Scene, as_dataset: AsDataset, change: str) -> None:
    pictures = {f"{'ab'[n % 2]}/{n}.png": scene(n) for n in range(ORIGINALS)}
    make, how = CHANGES[change]
    found = _found(as_dataset({**pictures, "b/z_copy.png": make(scene(4))}))
    assert list(found) == [frozenset(("a/4.png", "b/z_copy.png"))]
    (copy,) = found.values()
    assert copy.how == how
    assert 0.8 <= copy.agreement <= 1


def test_pairs_come_from_thumbnails_turned_thumbnails_and_features() -> None:
    rng = np.random.default_rng(0)
    pictures = np.kron(rng.normal(size=(40, 8, 8)), np.ones((2, 2))).astype(np.float32)
    pictures[1], pictures[3] = pictures[0] + 0.1, pictures[2][::-1].T
    features = rng.normal(size=(40, 32)).astype(np.float32)
    features[5] = features[4]
    found = find_lookalikes(pictures, features, np.arange(40))
    by = {tuple(pair): ways for pair, *ways in zip(found.pairs.tolist(), found.upright, found.by_features, strict=True)}
    assert {(0, 1), (2, 3), (4, 5)} <= set(by)
    assert by[0, 1][0]
    assert by[4, 5][1]
    assert len(by) == len(found.pairs)
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()
    some = find_lookalikes(pictures, features, np.arange(2, 40))
    assert some.pairs.min() == 2


def test_frames_of_a_fixed_camera_are_no_copies(scene: Scene, as_dataset: AsDataset) -> None:
    pictures = {}
    for number in range(8):
        frame = scene(0, 256, 256)
        frame.paste(scene(100 + number, 60, 60), (20 + 22 * number, 30 + 17 * number))
        pictures[f"{'ab'[number % 2]}/{number}.jpg"] = frame
    assert not _found(as_dataset(pictures), np.ones((8, 4), np.float32))


def test_pictures_of_other_hues_are_no_copies(scene: Scene, as_dataset: AsDataset) -> None:
    """The same shape in red and in blue may be two classes."""
    grey = np.asarray(scene(1).convert("L"), float)[..., None] / 255
    red, blue = (Image.fromarray((grey * colour).astype(np.uint8)) for colour in ((255, 90, 60), (60, 90, 255)))
    luma = [np.asarray(image.convert("L"), float).mean() for image in (red, blue)]
    blue = _brightened(blue, luma[0] / luma[1])
    dataset = as_dataset({"a/1.png": red, "b/1.png": blue, "a/2.png": scene(2), "b/2.png": scene(3)})
    assert not _found(dataset)


def test_digits_are_no_copies_but_equal_ones_in_another_format_are(digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    for path in sorted(digits.rglob("*.png")):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    one = next((folder / "8").iterdir())
    Image.open(one).save(one.with_suffix(".bmp"))
    dataset = load(folder)
    assert len(dataset) == 301
    assert list(_found(dataset)) == [frozenset((f"8/{one.name}", f"8/{one.stem}.bmp"))]


def test_blank_pages_are_no_copies(as_dataset: AsDataset) -> None:
    shades = (254, 255, 253, 252)
    pages = {f"{'ab'[n % 2]}/{n}.png": Image.new("L", (100, 140), shade) for n, shade in enumerate(shades)}
    pages["a/tiny1.png"], pages["b/tiny2.bmp"] = (Image.new("L", (8, 8), 255) for _ in range(2))
    assert not _found(as_dataset(pages))


def test_copies_of_copies_are_connected_by_as_few_pairs_as_possible(scene: Scene, as_dataset: AsDataset) -> None:
    pictures = {f"{'ab'[n % 2]}/{n}.png": scene(n) for n in range(ORIGINALS)}
    copies = {f"a/copy{quality}.jpg": _jpeg(scene(3), quality) for quality in (40, 60, 70, 80, 90)}
    found = _found(as_dataset({**pictures, **copies}))
    assert len(found) == 5
    assert set().union(*found) == {"b/3.png", *copies}


def test_damaged_files_and_very_few_are_no_error(scene: Scene, as_dataset: AsDataset) -> None:
    dataset = as_dataset({"a/1.png": scene(1), "b/1.png": scene(2), "b/2.png": scene(1).crop((4, 4, 196, 156))})
    for count in (1, 2, 3):
        assert len(_found(dataset.select(np.arange(count)))) == (count == 3)
    broken = Path(dataset.images[0])
    broken.write_bytes(broken.read_bytes()[:300])
    changed = load(Path(dataset.images[0]).parent.parent)
    assert not _found(changed)
