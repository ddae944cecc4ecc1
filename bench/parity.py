"""The compiled trunk against timm's network on real images, and what bf16 does to a probe's probabilities.

``python bench/parity.py --data DIR`` takes 100 images (or ``--images``) of a folder per class, compares the float32
graph with timm's network in PyTorch, and fits a probe on the rest to compare its predictions from float32 and bf16
features. Needs ``headstart[train]``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

from headstart.backbones.bundled import BundledBackbone
from headstart.data import load
from headstart.data.splits import folds
from headstart.evaluation.calibration import probabilities
from headstart.features import openvino_engine
from headstart.features.extract import probe_trunk
from headstart.imaging import load_view
from headstart.training.probe import choose, fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data" / "flowers5")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    options = parser.parse_args()
    backbone = BundledBackbone(options.model)
    dataset = load(options.data)
    order = np.random.default_rng(0).permutation(len(dataset))
    views = np.stack([load_view(dataset.read(i), backbone.preprocessing, dataset.files[i]) for i in order])
    trunk = probe_trunk(backbone)
    graph = trunk.graph()
    rows = {
        precision: openvino_engine._run_once(openvino_engine._compile(graph, precision), views)
        for precision in openvino_engine._precisions()
    }
    tested = slice(0, options.images)
    with torch.inference_mode():
        reference = torch.cat(trunk.module()(torch.from_numpy(views[tested])), 1).numpy()
    for name, columns in trunk.columns.items():
        wanted, found = reference[:, columns], rows["f32"][tested, columns]
        relative = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        print(f"{name:9} largest relative error in f32 {relative.max():.2e}")
    if "bf16" in rows:
        report_bf16(rows, dataset.targets[order], trunk.columns["features"], options.images)


def report_bf16(rows: dict[str, np.ndarray], targets: np.ndarray, columns: slice, tested: int) -> None:
    """One probe, fitted on bf16 features as ``headstart fit`` does, asked with features of either precision."""
    bf16, f32 = rows["bf16"][:, columns], rows["f32"][:, columns]
    encoded = np.eye(targets.max() + 1)[targets[tested:]]
    pairs = folds(targets[tested:], None, 5, 0)
    model = fit(bf16[tested:], encoded, choose(bf16[tested:], encoded, pairs, kind="softmax").penalty, kind="softmax")
    a, b = (probabilities(model.logits(part[:tested]), 1.0, "softmax") for part in (f32, bf16))
    cosine = (f32 * bf16).sum(1) / np.linalg.norm(f32, axis=1) / np.linalg.norm(bf16, axis=1)
    print(f"bf16: cosine to f32 median {np.median(cosine):.5f}, least {cosine.min():.4f} ({len(cosine)} images)")
    print(f"bf16: same prediction on {(a.argmax(1) == b.argmax(1)).mean():.1%} of {tested} images,", end=" ")
    print(f"largest change of a probability {np.abs(a - b).max():.3f}, median {np.median(np.abs(a - b).max(1)):.4f}")


if __name__ == "__main__":
    main()
