"""What learns above the cut is a copy, keeps its statistics, and goes back into the backbone under its own names."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import BackboneError
from headstart.features import openvino_engine
from headstart.features.parity import photographs
from headstart.imaging.preprocessing import Preprocessing


def backbone_of(kind: str) -> Backbone:
    if kind == "bundled":
        return BundledBackbone("tf_efficientnet_lite0", size=64)
    torch.manual_seed(0)
    arguments = {"img_size": 64, "depth": 3} if kind.startswith("vit") else {}
    network = timm.create_model(kind, num_classes=0, **arguments)
    preprocessing = Preprocessing(64, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return TorchBackbone(LoadedNetwork(f"timm/{kind}", network, (), preprocessing, "MIT"))


def features(backbone: Backbone) -> torch.Tensor:
    trunk = backbone.trunk(len(backbone.stages))
    with torch.inference_mode():
        return backbone.module(trunk)(torch.from_numpy(photographs(64)[:4]))[0]


def learnt(backbone: Backbone, cut: int) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """Two steps of training above a cut; the new tensors and the features they give."""
    suffix = backbone.trainable(cut).train()
    images = torch.from_numpy(photographs(64)[:4])
    below = images if cut == 0 else backbone.module(backbone.trunk(cut))(images)[0]
    optimizer = torch.optim.Adam(suffix.parameters(), lr=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        suffix(below).square().mean().backward()
        optimizer.step()
    with torch.inference_mode():
        return suffix.tensors(), suffix.eval()(below)


@pytest.mark.parametrize("kind", ["bundled", "resnet18", "vit_tiny_patch16_224", "convnext_atto"])
@pytest.mark.parametrize("depth", ["all", "half", "last"])
def test_what_was_learnt_goes_back_into_the_backbone(kind: str, depth: str) -> None:
    backbone = backbone_of(kind)
    stages = len(backbone.stages)
    cut = {"all": 0, "half": stages // 2, "last": stages - 1}[depth]
    before, sha256 = features(backbone), backbone.weights_sha256
    tensors, wanted = learnt(backbone, cut)
    tuned = backbone.tuned(tensors)
    torch.testing.assert_close(features(tuned), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert torch.equal(features(backbone), before)  # the backbone itself stays
    assert backbone.weights_sha256 == sha256 != tuned.weights_sha256
    assert tuned.weights_sha256 == backbone.tuned(tensors).weights_sha256
    if depth != "last" or kind == "bundled":
        assert not torch.allclose(features(tuned), before)


def test_a_tuned_bundled_backbone_runs_without_pytorch() -> None:
    """Its graph is built from the new tensors."""
    backbone = backbone_of("bundled")
    tensors, wanted = learnt(backbone, 5)
    graph = backbone.tuned(tensors).trunk(9).graph()
    found = openvino_engine._run_once(openvino_engine._compile(graph, "f32"), photographs(64)[:4])
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", ["resnet18", "bundled"])
def test_statistics_stay_and_affine_parameters_learn(kind: str) -> None:
    backbone = backbone_of(kind)
    source, (tensors, _) = backbone.trainable(2).tensors(), learnt(backbone, 2)
    moved = {name for name in tensors if not np.array_equal(tensors[name], source[name])}
    assert set(tensors) == set(source)
    assert not any("running_" in name for name in moved)
    assert any(name.endswith("bn1.weight") for name in moved)
    assert any(name.endswith("running_mean") for name in source)


def test_tensors_of_another_network_are_refused() -> None:
    with pytest.raises(BackboneError, match="no weights named"):
        backbone_of("resnet18").tuned({"blocks.0.weight": np.zeros((1, 1), np.float32)})
    with pytest.raises(BackboneError, match="no weights named"):
        backbone_of("bundled").tuned({"layer1.weight": np.zeros((1, 1), np.float32)})
    with pytest.raises(BackboneError, match="another shape"):
        backbone_of("resnet18").tuned({"conv1.weight": np.zeros((1, 1), np.float32)})


def test_the_stages_are_named_from_the_input_side() -> None:
    suffix = backbone_of("resnet18").trainable(3)
    assert [name for name, _ in suffix.named_stages] == ["layer3", "layer4"]
    assert all(parameter.requires_grad for parameter in suffix.parameters())
