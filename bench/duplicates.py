"""Near-duplicates in real data sets: how many planted copies are found, and what else is taken for a copy.

``python bench/duplicates.py`` makes copies of some images of each data set (encoded anew, resized, cropped by up to a
tenth of a side, brighter or darker, all of these at once, mirrored, turned by 90°) and looks for them among all. A copy
is found where it is connected with its original; a pair is wrong where it connects others, unless the set as it came
connects these already. Pairs of the set as it came can only be judged by eye: ``--sheets DIR`` draws them all, with the
least sure first.

Two sets are made up of what must not be connected: handwritten digits, and frames of a fixed camera (one photograph in
which another small one is pasted at a random place, anew for each frame).
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from headstart.auditing.comparison import Copy
from headstart.auditing.material import examine, ruler
from headstart.data import Dataset, load
from headstart.data.digits import digits_folder
from headstart.data.listing import list_images
from headstart.runs import SilentProgress
from headstart.training.gathering import extract_all

PACS = ("pacs/photo", "pacs/art_painting", "pacs/cartoon", "pacs/sketch")
REAL = ("hymenoptera", "flowers5", "rsscn7", "brain_mri4", *PACS, "imagenet_sample")
MADE = ("digits", "fixed_camera")
KINDS = ("encoded", "resized", "cropped", "brightness", "all of these", "mirrored", "turned")
SCENES, FRAMES = 5, 40
_TILE = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=[*REAL, *MADE])
    parser.add_argument("--each", type=int, default=40, help="copies of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=Path, help="draw the pairs of the sets as they came into this folder")
    options = parser.parse_args()
    print(f"| data set | images | seconds | pairs as it came | planted | found | wrong | {' | '.join(KINDS)} |")
    print(f"|{'---|' * (7 + len(KINDS))}")
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            images = images_of(name, options.data, options.seed)
            cells = one_set(images, Path(folder), options.each, options.seed, name, options.sheets)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def images_of(name: str, data: Path, seed: int) -> list[bytes]:
    """The files of a data set."""
    if name == "digits":
        return [path.read_bytes() for path in list_images(digits_folder())]
    if name == "fixed_camera":
        return list(frames(data, seed))
    return [path.read_bytes() for path in list_images(data / name)]


def frames(data: Path, seed: int) -> Iterator[bytes]:
    """Photographs in which something small stands at a random place, lossy as a camera's."""
    rng = np.random.default_rng(seed)
    photographs = list_images(data / "pacs/photo")
    scenes = [Image.open(photographs[at]).convert("RGB") for at in rng.permutation(len(photographs))[:SCENES]]
    things = [Image.open(path).convert("RGB") for path in list_images(data / "hymenoptera")]
    for scene in scenes:
        for _ in range(FRAMES):
            frame, side = scene.copy(), round(min(scene.size) * rng.uniform(0.15, 0.3))
            thing = things[rng.integers(len(things))].resize((side, side))
            frame.paste(thing, tuple(int(rng.integers(0, long - side)) for long in frame.size))
            yield encoded(frame, int(rng.integers(75, 95)))


def one_set(images: Sequence[bytes], folder: Path, each: int, seed: int, name: str, sheets: Path | None) -> list[str]:
    """The cells of a row."""
    with mock.patch.dict(os.environ, {"HEADSTART_CACHE": str(folder / "cache")}):
        came = written(images, folder / "came")
        pairs, _, _ = looked_through(came)
        _, seconds, spent = looked_through(came)  # features and thumbnails are there now, as in a second fit
        if sheets is not None:
            draw(came, pairs, sheets / f"{name.replace('/', '_')}.png")
        copies, source, kind = planted(images, each if name not in MADE else 0, seed)
        together = written([*images, *copies], folder / "planted")
        found = looked_through(together)[0] if copies else ()
    at = positions(together)
    roots = np.concatenate([np.arange(len(images)), source]).astype(int)[at]
    families = components([copy.rows for copy in pairs], positions(came), len(images))
    wrong = sum(families[roots[a]] != families[roots[b]] for a, b in (copy.rows for copy in found))
    whole = components([copy.rows for copy in found], at, len(images) + len(copies))
    right = np.array([whole[len(images) + i] == whole[source[i]] for i in range(len(copies))], bool)
    by_kind = [f"{right[np.array(kind) == one].mean():.3f}" if len(copies) else "" for one in KINDS]
    recall = f"{right.mean():.3f}" if len(copies) else ""
    times = f"{seconds:.1f} ({spent:.1f} of a core)"
    return [str(len(images)), times, str(len(pairs)), str(len(copies)), recall, f"{wrong} of {len(found)}", *by_kind]


def looked_through(dataset: Dataset) -> tuple[Sequence[Copy], float, float]:
    """The copies, the seconds that looking for them took, and those of the processor."""
    compiled = ruler(3, "auto", print)
    dataset, table = extract_all(dataset, compiled, SilentProgress(), print)
    started, spent = time.perf_counter(), time.process_time()
    found = examine(dataset, table, compiled.trunk.columns["features"], SilentProgress(), print).copies
    return found, time.perf_counter() - started, time.process_time() - spent


def written(images: Sequence[bytes], folder: Path) -> Dataset:
    """A data set of these files, named by their numbers; two classes, as there must be some."""
    for number, data in enumerate(images):
        path = folder / str(number % 2) / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    files = list_images(folder)
    return load((files, [str(number) for number in range(len(files))]))


def positions(dataset: Dataset) -> np.ndarray:
    """The number in the name of each row's file."""
    return np.array([int(Path(file).stem) for file in dataset.files])


def components(pairs: Sequence[tuple[int, int]], at: np.ndarray, count: int) -> np.ndarray:
    """For each image the least number that it is connected with."""
    least = np.arange(count)
    for _ in range(count):
        before = least.copy()
        for a, b in pairs:
            least[at[a]] = least[at[b]] = min(least[at[a]], least[at[b]])
        if (before == least).all():
            break
    return least


def planted(images: Sequence[bytes], each: int, seed: int) -> tuple[list[bytes], list[int], list[str]]:
    """Copies, the numbers of their originals, and what was done to them."""
    rng = np.random.default_rng(seed)
    copies, source, kinds = [], [], []
    for kind in KINDS:
        for number in rng.permutation(len(images))[:each].tolist():
            copies.append(changed(Image.open(io.BytesIO(images[number])).convert("RGB"), kind, rng))
            source.append(number)
            kinds.append(kind)
    return copies, source, kinds


def changed(image: Image.Image, kind: str, rng: np.random.Generator) -> bytes:
    """A copy of a kind."""
    everything = kind == "all of these"
    if kind == "cropped" or everything:
        width, height = image.size
        left, top, right, bottom = rng.dirichlet([1, 1], 2).T.ravel() * rng.uniform(0.02, 0.1, 4)
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        image = image.crop(tuple(round(edge) for edge in box))
    if kind == "resized" or everything:
        share = rng.uniform(0.4, 0.9)
        image = image.resize((round(image.width * share), round(image.height * share)))
    if kind == "brightness" or everything:
        image = ImageEnhance.Brightness(image).enhance(rng.choice([rng.uniform(0.65, 0.85), rng.uniform(1.15, 1.35)]))
    if kind == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if kind == "turned":
        image = image.transpose(Image.Transpose.ROTATE_90)
    return encoded(image, int(rng.integers(50, 91)))


def encoded(image: Image.Image, quality: int) -> bytes:
    """As a JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def draw(dataset: Dataset, copies: Sequence[Copy], path: Path, most: int = 200) -> None:
    """Pairs beside each other, the least sure first."""
    shown = sorted(copies, key=lambda copy: copy.agreement)[:most]
    width, height, columns = 2 * _TILE + 10, _TILE + 16, 4
    sheet = Image.new("RGB", (columns * width, max(1, -(-len(shown) // columns)) * height), "white")
    for number, copy in enumerate(shown):
        x, y = number % columns * width, number // columns * height
        for place, row in enumerate(copy.rows):
            picture = Image.open(io.BytesIO(dataset.read(row))).convert("RGB").resize((_TILE, _TILE))
            sheet.paste(picture, (x + place * _TILE, y + 14))
        ImageDraw.Draw(sheet).text((x, y), f"{copy.agreement:.2f} {copy.how}", fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
