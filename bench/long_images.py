"""Long images: is it better to cut their middle out, or to squash all of it into the square that a network takes?

Every image of a data set is cut to a strip of one format: its whole width, at a random height. Strips are given to the
default backbone once by the centre crop that its weights were made for, and once squashed; the probe is judged out of
fold on the features of each. ``python bench/long_images.py`` prints a Markdown table of means over the draws; with
``--anywhere`` they are three fifths as wide, so that the middle of a photograph lies anywhere in its strip.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Literal
from unittest import mock

import numpy as np
from PIL import Image, ImageOps

from headstart.backbones.catalogue import DEFAULT_BACKBONE, find_backbone
from headstart.data import Dataset, load, resolve
from headstart.features.compiling import compile_trunk
from headstart.features.engine import CompiledTrunk
from headstart.features.extract import probe_trunk
from headstart.planning.ladder import candidates, climb
from headstart.runs import SilentProgress
from headstart.training.gathering import examples_of, extract_all

SETS = ("hymenoptera", "flowers5", "rsscn7", "pacs/photo")
FORMATS = ("4:3", "3:2", "2:1", "3:1")
# Pixels of a strip's longer side that are kept, so that files stay small.
LONGEST = 768


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--formats", nargs="+", default=FORMATS)
    parser.add_argument("--anywhere", action="store_true", help="strips of three fifths of the width")
    parser.add_argument("--images", type=int, default=200, help="of a data set")
    parser.add_argument("--seeds", type=int, default=3, help="draws of images, places and folds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"HEADSTART_CACHE": folder}):
        print("| data set | format | accuracy: crop | squash | difference | log-loss: crop | squash | difference |")
        print("|---|---|--:|--:|--:|--:|--:|--:|")
        trunks = [compiled(aspect) for aspect in ("crop", "squash")]
        for name, shape in itertools.product(options.sets, options.formats):
            found, ratio = [], Fraction(*map(int, shape.split(":")))
            for seed in range(options.seeds):
                place, whole = Path(folder) / name / shape / str(seed), load(options.data / name)
                long = strips(whole, ratio, options.images, seed, place, anywhere=options.anywhere)
                found.append([judge(trunk, long, seed) for trunk in trunks])
            (crop, crop_loss), (squash, squash_loss) = np.mean(found, axis=0)
            accuracies = f"{crop:.3f} | {squash:.3f} | {squash - crop:+.3f}"
            losses = f"{crop_loss:.3f} | {squash_loss:.3f} | {squash_loss - crop_loss:+.3f}"
            print(f"| {name} | {shape} | {accuracies} | {losses} |", flush=True)


def compiled(aspect: Literal["crop", "squash"]) -> CompiledTrunk:
    """The default backbone, which takes images in one way or the other."""
    return compile_trunk(probe_trunk(find_backbone(DEFAULT_BACKBONE).taking(aspect)))


def strips(dataset: Dataset, ratio: Fraction, most: int, seed: int, folder: Path, *, anywhere: bool) -> Dataset:
    """At most so many of the images, each cut to a strip as wide as the ratio says, at a random place."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    files, labels = [], []
    for row in rng.permutation(len(dataset))[:most].tolist():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(dataset.read(row))))
        width, height = window(round(0.6 * image.width) if anywhere else image.width, image.height, ratio)
        left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
        strip = image.convert("RGB").crop((left, top, left + width, top + height))
        strip.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        files.append(folder / f"{row}.png")
        strip.save(files[-1], compress_level=1)
        labels.append(dataset.classes[dataset.targets[row]])
    return load((files, labels))


def window(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """The largest window of this ratio of width to height that lies within an image."""
    if width <= height * ratio:
        return width, max(1, int(width / ratio))
    return int(height * ratio), height


def judge(trunk: CompiledTrunk, dataset: Dataset, seed: int) -> tuple[float, float]:
    """Out-of-fold accuracy and log-loss of the probe."""
    dataset, table = extract_all(dataset, trunk, SilentProgress(), print)
    dataset, protocol = resolve(dataset, test=None, seed=seed)
    examples = examples_of(dataset, table, trunk.trunk.columns, protocol, seed)
    climbed = climb(candidates("linear_probe", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=seed)
    scores = climbed.scores["linear_probe"]
    return float(scores.correct[examples.judged].mean()), float(scores.losses[examples.judged].mean())


if __name__ == "__main__":
    main()
