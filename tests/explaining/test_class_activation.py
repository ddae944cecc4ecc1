"""Class activation maps are exact: their means and the bias are the logit, for every head and several backbones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.explaining.class_activation import ClassActivation, has_map
from headstart.explaining.evidence import enlarged, summed
from headstart.explaining.parts import HeadParts
from headstart.features.extract import probe_trunk
from headstart.features.float32 import compile_float32
from headstart.features.parity import photographs
from headstart.features.torch_engine import TorchTrunk
from headstart.imaging import Preprocessing
from headstart.training.baselines import fit_prototype
from headstart.training.linear import LinearModel
from headstart.training.probe import fit

TARGETS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def torch_backbone(model: str, size: int = 64, **arguments: object) -> TorchBackbone:
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=0, **arguments)
    preprocessing = Preprocessing(size, 0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)
    return TorchBackbone(LoadedNetwork(f"timm/{model}", network, (), preprocessing, "MIT"))


BACKBONES = {
    "lite0": lambda: BundledBackbone("tf_efficientnet_lite0", size=64),
    "lite2, with sides that don't halve": lambda: BundledBackbone("tf_efficientnet_lite2", size=75),
    "fine-tuned": lambda: BundledBackbone("tf_efficientnet_lite0", size=64).tuned(
        {"bn2.bias": np.full(1280, 0.5, np.float32)}
    ),
    "grey": lambda: BundledBackbone("tf_efficientnet_lite0", size=64, channels=1),
    "pooling inside the last stage": lambda: torch_backbone("resnet18"),
    "channels last": lambda: torch_backbone(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(1, 1, 1, 1)
    ),
}


def heads(rows: npt.NDArray[np.float32]) -> dict[str, LinearModel]:
    """A probe and a prototype of unequal classes, fitted on made-up labels."""
    targets = np.eye(3)[np.arange(len(rows)) % 8 // 3]
    return {
        "probe": fit(rows, targets, 10.0, kind="softmax"),
        "prototype": fit_prototype(rows, targets, kind="softmax"),
        "labels": fit(rows, targets, 10.0, kind="sigmoid"),
    }


@pytest.mark.real
@pytest.mark.parametrize("outputs", ["top", "all"])
@pytest.mark.parametrize("case", BACKBONES)
def test_the_means_of_the_maps_and_the_bias_are_the_logit(case: str, outputs: str) -> None:
    backbone: Backbone = BACKBONES[case]()
    trunk = probe_trunk(backbone)
    compiled = compile_float32(trunk) if backbone.graph_is_definition else TorchTrunk(trunk, "cpu")
    preprocessing = backbone.preprocessing
    views = photographs(preprocessing.size, preprocessing.channels)[::2]
    names = tuple(trunk.columns) if outputs == "all" else ("features",)
    rows = compiled(views)[:, np.r_[tuple(trunk.columns[name] for name in names)]]
    assert all(has_map(name, backbone) for name in names)
    widths = {output.name: output.shape[0] for output in trunk.outputs}
    for name, head in heads(rows).items():
        parts = HeadParts.of(head, names, widths)
        maps = ClassActivation(backbone, parts, names)(views, TARGETS)
        logits = head.logits(rows)
        if head.kind == "softmax":
            logits -= logits.mean(axis=1, keepdims=True)
        found = sum(one.mean((1, 2), dtype=np.float64) for one in maps) + parts.bias[TARGETS]
        wanted = logits[np.arange(len(rows)), TARGETS]
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * scale, err_msg=name)
        total = summed(maps).mean((1, 2), dtype=np.float64) + parts.bias[TARGETS]
        np.testing.assert_allclose(total, found, rtol=1e-3, atol=1e-3 * scale, err_msg=name)


def test_what_all_exclusive_classes_share_is_no_evidence() -> None:
    weights = np.array([[1.0, 3.0], [2.0, 2.0]])
    softmax = HeadParts.of(LinearModel(weights, np.array([5.0, 7.0]), "softmax"), ("features",), {"features": 2})
    np.testing.assert_allclose(softmax.weights["features"], [[-1, 1], [0, 0]])
    np.testing.assert_allclose(softmax.bias, [-1, 1])
    sigmoid = HeadParts.of(LinearModel(weights, np.array([5.0, 7.0]), "sigmoid"), ("features",), {"features": 2})
    np.testing.assert_allclose(sigmoid.weights["features"], weights)


def test_a_head_is_taken_apart_in_the_order_in_which_it_reads() -> None:
    weights = np.arange(10.0).reshape(5, 2)
    head = LinearModel(weights, np.zeros(2), "sigmoid")
    parts = HeadParts.of(head, ("stage2", "features"), {"stage1": 7, "stage2": 2, "features": 3})
    np.testing.assert_allclose(parts.weights["stage2"], weights[:2])
    np.testing.assert_allclose(parts.weights["features"], weights[2:])


@pytest.mark.parametrize("side", [7, 8, 20, 33])
def test_a_finer_grid_keeps_the_mean_and_the_places(side: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 7, 7)).astype(np.float32)
    fine = enlarged(maps, side, side)
    assert fine.shape == (3, side, side)
    np.testing.assert_allclose(fine.mean((1, 2)), maps.mean((1, 2)), atol=1e-6)
    peak = np.zeros((1, 7, 7), np.float32)
    peak[0, 1, 5] = 1.0
    row, column = np.unravel_index(enlarged(peak, side, side)[0].argmax(), (side, side))
    assert abs((row + 0.5) / side - 1.5 / 7) <= 0.5 / side + 1e-9
    assert abs((column + 0.5) / side - 5.5 / 7) <= 0.5 / side + 1e-9
