"""Integrated gradients add up to the logit, agree with exact maps, and with taking positions out one by one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from headstart.artifact.model import Model
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.positions import as_map, grid_shape
from headstart.backbones.pytorch.staging import layout_of
from headstart.errors import BackboneError, MissingExtraError
from headstart.explaining.class_activation import ClassActivation
from headstart.explaining.evidence import Evidence
from headstart.explaining.gradient_maps import GradientMaps, averaged
from headstart.explaining.parts import HeadParts
from headstart.features.extract import probe_trunk
from headstart.features.parity import photographs
from headstart.features.torch_engine import TorchTrunk
from headstart.imaging import Preprocessing
from headstart.training.linear import LinearModel

TARGETS = np.array([0, 1, 2, 0])
VIT: dict[str, Any] = {"img_size": 64, "depth": 3, "embed_dim": 48, "num_heads": 3}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "class token": ("vit_tiny_patch16_224", VIT),
    "norm behind the pooling of tokens": ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg"}),
    "norm behind the pooling of a map": ("test_convnext", {}),
    "convolution behind the pooling": ("mobilenetv3_small_050", {}),
    "attention over windows": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1)},
    ),
}


def backbone_of(network: nn.Module, size: int = 64, name: str = "timm/test") -> TorchBackbone:
    preprocessing = Preprocessing(size, 0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)
    return TorchBackbone(LoadedNetwork(name, network, (), preprocessing, "MIT"))


def made(case: str) -> TorchBackbone:
    torch.manual_seed(0)
    model, arguments = NETWORKS[case]
    return backbone_of(timm.create_model(model, num_classes=0, **arguments))


def weights_for(backbone: TorchBackbone) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(backbone.stages[-1].channels, 3))


@pytest.mark.parametrize("case", NETWORKS)
def test_the_mean_of_a_map_is_the_logit(case: str) -> None:
    backbone = made(case)
    weights, views = weights_for(backbone), photographs(64)[:4]
    maps = GradientMaps(backbone, weights)(views, TARGETS)
    rows = TorchTrunk(backbone.trunk(len(backbone.stages)), "cpu")(views)
    wanted = (rows @ weights)[np.arange(4), TARGETS]
    assert maps.shape[1] > 1
    assert (maps.std((1, 2)) > 0).all()
    np.testing.assert_allclose(maps.mean((1, 2)), wanted, rtol=0.01, atol=0.01 * np.abs(wanted).max())


def test_where_an_exact_map_exists_it_is_that_map() -> None:
    backbone = made("attention over windows")
    weights, views = weights_for(backbone), photographs(64)[:4]
    exact = ClassActivation(backbone, HeadParts({"features": weights}, np.zeros(3)), ["features"])(views, TARGETS)[0]
    found = GradientMaps(backbone, weights)(views, TARGETS)
    np.testing.assert_allclose(found, exact, atol=1e-3 * np.abs(exact).max())


@pytest.mark.parametrize("case", ["class token", "convolution behind the pooling"])
def test_positions_rank_as_when_each_is_taken_out(case: str) -> None:
    backbone = made(case)
    weights, view = weights_for(backbone), photographs(64)[3:4]
    maps = GradientMaps(backbone, weights)
    found = maps(view, TARGETS[:1])[0].ravel()
    boundary = backbone.module(backbone.trunk(maps.cut))(torch.from_numpy(view))[-1]
    suffix = backbone.trainable(maps.cut).eval()
    layout = layout_of(tuple(boundary.shape[1:]))
    flat, side = averaged(boundary, layout), grid_shape(tuple(boundary.shape[1:]))[2]
    drops = []
    with torch.no_grad():
        whole = suffix(boundary)
        for place in range(side**2):
            changed = boundary.clone()
            # Views of one memory, so that what is written into the map is written into the tensor.
            as_map(changed, layout)[0, :, place // side, place % side] = as_map(flat, layout)[
                0, :, place // side, place % side
            ]
            drops.append(float(((whole - suffix(changed)).numpy() @ weights[:, :1]).item()))
    assert np.corrcoef(found, drops)[0, 1] > 0.8


def test_a_class_token_is_asked_below_the_last_attention() -> None:
    backbone = made("class token")
    last_block = max(i for i, stage in enumerate(backbone.stages, start=1) if stage.name.startswith("blocks"))
    assert GradientMaps(backbone, weights_for(backbone)).cut == last_block - 1


class _Whole(nn.Module):
    """A network whose code depends on the image's content, so that it is one stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        if bool(value.mean() > 1e9):
            return value.flatten(1)[:, :8]
        return self.conv(value).mean((2, 3))


def _model(backbone: TorchBackbone, outputs: tuple[str, ...] = ("features",)) -> Any:
    """What :class:`Evidence` reads of a model, without a saved one."""
    trunk = probe_trunk(backbone)
    width = sum(trunk.columns[name].stop - trunk.columns[name].start for name in outputs)
    head = LinearModel(np.random.default_rng(0).normal(size=(width, 3)), np.array([0.5, -1.0, 2.0]), "softmax")
    return SimpleNamespace(
        trunk=TorchTrunk(trunk, "cpu"), saved=SimpleNamespace(head=head), record=SimpleNamespace(outputs=outputs)
    )


def _logits(model: Model, views: np.ndarray) -> np.ndarray:
    trunk = model.trunk.trunk
    columns = np.r_[tuple(trunk.columns[name] for name in model.record.outputs)]
    logits = model.saved.head.logits(model.trunk(views)[:, columns])
    return np.asarray(logits - logits.mean(1, keepdims=True))


@pytest.mark.parametrize("case", ["class token", "attention over windows"])
def test_evidence_of_all_stages_adds_exact_maps_to_gradients(case: str) -> None:
    backbone = made(case)
    model, views = _model(backbone, tuple(probe_trunk(backbone).columns)), photographs(64)[:4]
    evidence = Evidence(model)
    assert evidence.method == ("class_activation" if case == "attention over windows" else "integrated_gradients")
    wanted = _logits(model, views)[np.arange(4), TARGETS]
    found = evidence(views, TARGETS)
    np.testing.assert_allclose(found.mean((1, 2)), wanted, rtol=0.01, atol=0.01 * np.abs(wanted).max())


def test_a_network_that_is_one_stage_has_no_maps_and_the_error_says_why() -> None:
    backbone = backbone_of(_Whole(), name="timm/whole")
    with pytest.raises(BackboneError, match=r"timm/whole has no maps.*can't be followed"):
        Evidence(_model(backbone))


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(made("class token"))
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "captum" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r"headstart\[explain\]"):
        Evidence(model)
