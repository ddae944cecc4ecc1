"""Fine-tuning above the cut against a plain PyTorch loop with the same frozen stages: seconds and accuracy.

``python bench/finetune.py`` runs, for each cut and seed, ``headstart fit --strategy partial`` as a whole process with
an empty cache, and a plain script as another: the same backbone, training rows, epochs, batches and augmentation, its
frozen stages run eagerly at every step, a random head. Beside them stands the linear probe. The data is a sample of
PACS sketches, 40 images a class to train, the rest to test; drawings of one photograph are never on both sides;
``--data DIR`` takes another folder, with its own test split where it has one. Results are kept in ``--out`` as they
come, so that it can be stopped and go on. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from main_job import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data" / "pacs" / "sketch")
    parser.add_argument("--cuts", type=int, nargs="+", default=[8, 6, 4, 0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=["probe", "headstart", "plain", "progressive"])
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--backbone", default="bundled/tf_efficientnet_lite0")
    parser.add_argument("--out", type=Path, default=Path("bench/results/finetune.json"))
    options = parser.parse_args()
    kept = json.loads(options.out.read_text())["runs"] if options.out.is_file() else {}
    for seed in options.seeds:
        for kind in options.kinds:
            for cut in options.cuts if kind in ("headstart", "plain") else [None]:
                name = f"{options.data.name} {options.backbone} {options.epochs} {options.views} {kind} {cut} {seed}"
                if name not in kept:
                    kept[name] = measure(options, kind, cut, seed)
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    options.out.write_text(json.dumps({"machine": machine(), "runs": kept}, indent=1))
                print(name, kept[name], flush=True)
    summarise(kept, options)


def measure(options: argparse.Namespace, kind: str, cut: int | None, seed: int) -> dict[str, Any]:
    """Seconds of one whole process, and its accuracy on the test rows."""
    with tempfile.TemporaryDirectory() as scratch:
        table = options.data
        if not (table / "train").is_dir():  # a data set with a test split is taken as it is
            table = Path(scratch) / "data.csv"
            write_table(options.data, table, options.per_class, seed)
        env = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}
        started = time.perf_counter()
        if kind == "plain":
            command = [__file__, str(table), str(cut), str(seed), str(options.epochs), options.backbone]
            done = subprocess.run(
                [sys.executable, __file__, "--child", *command[1:]], env=env, check=True, stdout=subprocess.PIPE
            )
            found = json.loads(done.stdout.splitlines()[-1])
        else:
            strategy = {"probe": "linear_probe", "headstart": "partial", "progressive": "progressive"}[kind]
            command = [sys.executable, "-m", "headstart.cli", "fit", str(table), "--strategy", strategy, "--json"]
            command += ["--seed", str(seed), "--backbone", options.backbone, "--out", f"{scratch}/run"]
            command += ["--allow-leaks"]  # both sides meet the same test
            if kind == "headstart":
                command += ["--epochs", str(options.epochs)]
            if kind != "probe":  # progressive unfreezing trains as many epochs at each cut as it does by default
                command += ["--views", str(options.views)]
            if cut is not None:
                command += ["--cut", str(cut)]
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
            metrics = json.loads(done.stdout)
            found = {"accuracy": metrics["splits"]["test"]["accuracy"], "cut": metrics["cut"]}
        return {**found, "seconds": time.perf_counter() - started}


def write_table(folder: Path, out: Path, per_class: int, seed: int) -> None:
    """Some images of each class to train and the rest to test; the stem before the last dash is the group."""
    shuffle, rows = random.Random(seed), []
    for label in sorted(path for path in folder.iterdir() if path.is_dir()):
        groups: dict[str, list[Path]] = {}
        for file in sorted(label.iterdir()):
            groups.setdefault(file.stem.rpartition("-")[0] or file.stem, []).append(file)
        names, taken = sorted(groups), 0
        shuffle.shuffle(names)
        for name in names:
            split = "train" if taken < per_class else "test"
            taken += len(groups[name]) if split == "train" else 0
            rows += [(str(file.resolve()), label.name, split, f"{label.name}/{name}") for file in groups[name]]
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "split", "group"))
        writer.writerows(rows)


def plain_loop(table: str, cut: int, seed: int, epochs: int, name: str) -> dict[str, Any]:
    """The usual script: a data loader, frozen stages in eval mode without gradient, AdamW and a cosine above them."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset, get_worker_info

    from headstart.backbones.catalogue import find_backbone
    from headstart.backbones.pytorch.folding import unfold
    from headstart.data import load, resolve
    from headstart.data.splits import folds
    from headstart.imaging import load_view
    from headstart.training.finetuning.augmentation import Augmenter

    torch.manual_seed(seed)
    backbone, dataset = find_backbone(name), load(table)
    dataset, _ = resolve(dataset, test=None, seed=seed)
    development = np.flatnonzero(dataset.splits != "test")
    targets, groups = dataset.targets[development], dataset.groups[development]
    train = development[folds(targets, groups, 5, seed)[0][0]]  # the rows that headstart trains on
    augmenter = Augmenter("medium", backbone.preprocessing, seed=seed)

    class Images(Dataset):  # type: ignore[misc]
        def __init__(self, places: Any, *, augmented: bool) -> None:
            self.places, self.augmented, self.views = places, augmented, [0] * len(places)

        def __len__(self) -> int:
            return len(self.places)

        def __getitem__(self, position: int) -> tuple[Any, int]:
            place = int(self.places[position])
            data, file = dataset.read(place), dataset.files[place]
            if not self.augmented:
                return load_view(data, backbone.preprocessing, file), int(dataset.targets[place])
            self.views[position] += 1  # each worker counts the views that it gives
            view = 2 * self.views[position] + get_worker_info().id
            return augmenter.load(data, file, view), int(dataset.targets[place])

    frozen = backbone.module(backbone.trunk(cut)).to(memory_format=torch.channels_last) if cut else None
    suffix = backbone.trainable(cut)
    unfold(suffix)  # the layers as the network's authors wrote them
    head = torch.nn.Linear(backbone.stages[-1].channels, len(dataset.classes))
    model = torch.nn.Sequential(suffix, head).to(memory_format=torch.channels_last)

    def forward(images: Any) -> Any:
        if frozen is None:
            return model(images)
        with torch.no_grad():
            below = frozen(images)[0]
        return model(below)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * -(-len(train) // 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    training = DataLoader(Images(train, augmented=True), 32, shuffle=True, num_workers=2, persistent_workers=True)
    for _ in range(epochs):
        model.train()
        for images, labels in training:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(forward(images), labels).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    test, right = np.flatnonzero(dataset.splits == "test"), 0
    with torch.inference_mode():
        for images, labels in DataLoader(Images(test, augmented=False), 32, num_workers=2):
            right += int((forward(images).argmax(1) == labels).sum())
    return {"accuracy": right / len(test)}


def summarise(kept: dict[str, Any], options: argparse.Namespace) -> None:
    """Accuracy, the mean over the seeds; seconds of the first one, so that the others may run side by side."""
    prefix = f"{options.data.name} {options.backbone} {options.epochs} {options.views}"

    def of_seeds(kind: str, cut: int | None, what: str) -> list[float]:
        names = [f"{prefix} {kind} {cut} {seed}" for seed in options.seeds]
        return [kept[name][what] for name in names if name in kept]

    print("\n| cut | headstart | plain loop | ratio | accuracy | of the plain loop |\n|---|--:|--:|--:|--:|--:|")
    for cut in options.cuts:
        seconds = [of_seeds(kind, cut, "seconds") for kind in ("headstart", "plain")]
        if all(seconds):
            ours, plain = (each[0] for each in seconds)
            a, b = (statistics.mean(of_seeds(kind, cut, "accuracy")) for kind in ("headstart", "plain"))
            print(f"| {cut} | {ours:.0f} s | {plain:.0f} s | {ours / plain:.2f} | {a:.3f} | {b:.3f} |")
    for kind in ("probe", "progressive"):
        found = of_seeds(kind, None, "accuracy")
        if found:
            print(f"{kind}: accuracy {statistics.mean(found):.3f}, {of_seeds(kind, None, 'seconds')[0]:.0f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        table, cut, seed, epochs, name = sys.argv[2:]
        print(json.dumps(plain_loop(table, int(cut), int(seed), int(epochs), name)))
    else:
        main()
