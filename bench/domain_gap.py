"""The domain gap of real data sets: how large, how sure, how steady with few images, and how long it takes.

``python bench/domain_gap.py`` prints a Markdown table. Seconds are those of the first measurement with an empty cache,
without finding and hashing the files. For steadiness, subsets drawn without replacement are held against all images of
the folder: the mean of their gaps, and the share of them whose own 95 % interval holds the gap of all.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from headstart.data import Dataset, load
from headstart.data.listing import list_images
from headstart.planning.domain_gap import Estimate, domain_gap, gap_to_source, observe
from headstart.planning.rule_table import GAP_IMAGES

DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
SETS = ("imagenet_sample", "hymenoptera", "flowers5", "rsscn7", "brain_mri4", *(f"pacs/{name}" for name in DOMAINS))
FEW = (32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="the folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", type=int, default=GAP_IMAGES)
    parser.add_argument("--subsets", type=int, default=20)
    options = parser.parse_args()
    few = " | ".join(f"mean of {options.subsets} with {count} | of these hold all" for count in FEW)
    print(f"| data set | images | gap | early | middle | late | seconds | gap of all images | {few} |")
    print(f"|{'---|' * (8 + 2 * len(FEW))}")
    for name in options.sets:
        cells = one_set(opened(options.data / name), options.images, options.subsets)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def opened(folder: Path) -> Dataset:
    """A data set; images that lie in no folders of classes become a class each, as labels are not looked at."""
    if not (folder / "images").is_dir():
        return load(folder)
    files = list_images(folder / "images")
    return load((files, [file.stem for file in files]))


def one_set(dataset: Dataset, images: int, subsets: int) -> list[str]:
    """The cells of a row."""
    with tempfile.TemporaryDirectory() as cache, mock.patch.dict(os.environ, {"HEADSTART_CACHE": cache}):
        started = time.perf_counter()
        gap = domain_gap(dataset, images=images)
        seconds = time.perf_counter() - started
        observed, ruler = observe(dataset, images=len(dataset))
    whole = gap_to_source(observed, ruler).total
    rng, cells = np.random.default_rng(0), []
    for count in FEW:
        drawn = (rng.choice(len(observed.groups), count, replace=False) for _ in range(subsets))
        found = [gap_to_source(observed.select(rows), ruler).total for rows in drawn]
        held = np.mean([abs(one.value - whole.value) <= 1.96 * one.error for one in found])
        cells += [f"{np.mean([one.value for one in found]):.4f}", f"{held:.0%}"]
    parts = [written(part) for part in (gap.total, gap.early, gap.middle, gap.late)]
    return [str(gap.images), *parts, f"{seconds:.1f}", f"{written(whole)} ({len(observed.groups)})", *cells]


def written(estimate: Estimate) -> str:
    """The value and its standard error."""
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"


if __name__ == "__main__":
    main()
