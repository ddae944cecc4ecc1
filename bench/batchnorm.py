"""BatchNorm statistics of the source against those of the user's own images (AdaBN, Li et al. 2016), at the probe.

For each data set the statistics of every norm are estimated anew on the training images, in one pass of the network in
which each norm uses its batch's own, or half way between both; the probe is fitted on the features of each network, and
judged out of fold and on the test rows. ``python bench/batchnorm.py`` prints a Markdown table. Needs
``headstart[train]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import find_backbone
from headstart.data import Dataset, load, resolve
from headstart.features.compiling import compile_trunk
from headstart.features.extract import probe_trunk
from headstart.imaging import load_view
from headstart.planning.judging import TOP, refit_best
from headstart.planning.ladder import candidates, climb
from headstart.runs import SilentProgress
from headstart.training.examples import features_of
from headstart.training.gathering import examples_of, extract_all

SETS = (
    *("hymenoptera", "flowers5", "rsscn7", "brain_mri4"),
    *("pacs/photo", "pacs/art_painting", "pacs/cartoon", "pacs/sketch"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--images", type=int, default=256, help="training images to estimate the statistics on")
    options = parser.parse_args()
    source = find_backbone("bundled/tf_efficientnet_lite0")
    print("| data set | out-of-fold log-loss: source | half | own | test accuracy: source | half | own |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in options.sets:
        dataset, protocol = resolve(load(options.data / name), test=None, seed=0)
        if protocol.test == "nested":
            dataset, protocol = resolve(load(options.data / name), test=0.2, seed=0)
        networks = [source, *(source.tuned(tensors) for tensors in adapted(source, dataset, options.images))]
        found = [judge(network, dataset, protocol) for network in networks]
        losses, scores = zip(*found, strict=True)
        cells = [f"{value:.4f}" for value in (*losses, *scores)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def adapted(backbone: Backbone, dataset: Dataset, images: int) -> list[dict[str, Any]]:
    """Running means and variances estimated on some development images: half way to them, and those themselves."""
    places = np.flatnonzero(dataset.splits != "test")
    chosen = np.random.default_rng(0).permutation(places)[:images]
    suffix = backbone.trainable(0)
    before = suffix.tensors()
    learn_statistics(suffix)
    with torch.no_grad():
        for part in np.array_split(chosen, max(1, len(chosen) // 64)):
            views = [load_view(dataset.read(i), backbone.preprocessing, dataset.files[i]) for i in part.tolist()]
            suffix(torch.from_numpy(np.stack(views)))
    after = {key: value for key, value in suffix.tensors().items() if "running_" in key}
    return [{key: (before[key] + value) / 2 for key, value in after.items()}, after]


def learn_statistics(suffix: Any) -> None:
    """Let every norm use its batch's statistics and keep their mean over the batches."""
    from headstart.backbones.pytorch.folding import unfold

    unfold(suffix)
    suffix.statistics_learn = True
    suffix.train()
    for module in suffix.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches


def judge(backbone: Backbone, dataset: Dataset, protocol: Any) -> tuple[float, float]:
    """Out-of-fold log-loss and test accuracy of the probe."""
    compiled = compile_trunk(probe_trunk(backbone), engine="openvino")
    dataset, table = extract_all(dataset, compiled, SilentProgress(), print)
    examples = examples_of(dataset, table, compiled.trunk.columns, protocol, 0)
    climbed = climb(candidates("linear_probe", examples, "accuracy"), examples, metric="accuracy", cut=9, seed=0)
    fitted = refit_best(climbed, examples)
    test = np.flatnonzero(dataset.splits == "test")
    features = features_of(table, test, compiled.trunk.columns, TOP)
    right = fitted.head.logits(features).argmax(1) == dataset.targets[test]
    return climbed.record.rungs[-1].log_loss, float(right.mean())


if __name__ == "__main__":
    main()
