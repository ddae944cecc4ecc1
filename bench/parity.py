"""One saved model through every engine: do PyTorch, OpenVINO in float32 and OpenVINO in bf16 say the same?

``python bench/parity.py --data DIR --backbone NAME`` fits a probe as ``headstart fit`` does, then asks the saved model
for the probabilities of images through each engine, and compares. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

import headstart
from headstart.artifact.model import open_model
from headstart.backbones.catalogue import find_backbone
from headstart.data import load
from headstart.errors import EngineError
from headstart.features import openvino_engine
from headstart.features.extract import probe_trunk
from headstart.features.torch_engine import TorchTrunk
from headstart.imaging import load_view
from headstart.planning.options import Options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data" / "flowers5")
    parser.add_argument("--images", type=int, default=200, help="of the data set, taken evenly")
    parser.add_argument("--backbone", default="bundled/tf_efficientnet_lite0")
    options = parser.parse_args()
    dataset = load(options.data)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, options.images).astype(int))
    report_features(options.backbone, dataset, chosen[:100])
    with tempfile.TemporaryDirectory() as scratch:
        run = headstart.fit(options.data, Options(backbone=options.backbone, budget="1s"), out=Path(scratch) / "run")
        images = [dataset.read(i) for i in chosen]
        found = {}
        for kind, engine, precisions in (
            ("torch f32", "torch", None),
            ("openvino f32", "openvino", ("f32",)),
            ("openvino bf16", "openvino", ("bf16",)),
        ):
            wanted = precisions or openvino_engine._precisions()
            with (
                mock.patch.dict(os.environ, {"HEADSTART_CACHE": f"{scratch}/{kind}"}),
                mock.patch.object(openvino_engine, "_precisions", lambda wanted=wanted: wanted),
            ):
                try:
                    found[kind] = open_model(run.folder, engine=engine).predict_proba(images)
                except EngineError as error:
                    print(f"{kind}: {error}")
    report_model(found)


def report_features(name: str, dataset: headstart.data.Dataset, chosen: np.ndarray) -> None:
    """The float32 graph's features against PyTorch's, stage by stage."""
    trunk = probe_trunk(find_backbone(name))
    preprocessing = trunk.backbone.preprocessing
    views = np.stack([load_view(dataset.read(i), preprocessing, dataset.files[i]) for i in chosen])
    found = openvino_engine._run_once(openvino_engine._compile(trunk.graph(), "f32"), views)
    wanted = TorchTrunk(trunk, device="cpu")(views)
    for output, columns in trunk.columns.items():
        difference = np.linalg.norm(found[:, columns] - wanted[:, columns], axis=1)
        relative = difference / np.linalg.norm(wanted[:, columns], axis=1)
        print(f"{output:9} largest relative error in f32 {relative.max():.2e}")


def report_model(found: dict[str, np.ndarray]) -> None:
    """How far the model's probabilities are apart."""
    reference = found["torch f32"]
    for kind in list(found)[1:]:
        change = np.abs(found[kind] - reference).max(1)
        same = (found[kind].argmax(1) == reference.argmax(1)).mean()
        print(f"{kind:13} same top class on {same:.1%} of {len(change)} images,", end=" ")
        print(f"largest change of a probability {change.max():.4f}, median {np.median(change):.5f}")


if __name__ == "__main__":
    main()
