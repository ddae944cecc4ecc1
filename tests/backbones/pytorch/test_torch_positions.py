"""The maps that embeddings pool are found by their values, and trunks give them like any other output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from headstart.backbones._openvino import openvino
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.errors import OptionError
from headstart.features.parity import photographs
from headstart.imaging import Preprocessing

SMALL_VIT: dict[str, Any] = {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 3}
# What the last stage pools as its last thing, if it does: channels, height and width.
LAST: dict[str, tuple[str, dict[str, Any], tuple[int, int, int] | None]] = {
    "resnet": ("resnet18", {}, (512, 2, 2)),
    "pooled and flattened in one layer": ("test_efficientnet", {}, (256, 2, 2)),
    "norm in front of the pooling": ("densenet121", {"growth_rate": 4, "block_config": (1, 1, 1, 1)}, (8, 2, 2)),
    "channels last": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1)},
        (768, 2, 2),
    ),
    "tokens": ("vit_tiny_patch16_224", {**SMALL_VIT, "global_pool": "avg", "fc_norm": False}, (48, 4, 4)),
    "norm behind the pooling": ("test_convnext", {}, None),
    "convolution behind the pooling": ("mobilenetv3_small_050", {}, None),
    "class token": ("vit_tiny_patch16_224", SMALL_VIT, None),
    "mean and maximum": ("resnet18", {"global_pool": "catavgmax"}, None),
}


def backbone_of(case: str) -> TorchBackbone:
    model, arguments, _ = LAST[case]
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=0, **arguments)
    preprocessing = Preprocessing(64, 0.9, "bicubic", (0.5,) * 3, (0.5,) * 3)
    return TorchBackbone(LoadedNetwork(f"timm/{model}", network, (), preprocessing, "MIT"))


@pytest.mark.parametrize("case", LAST)
def test_the_map_that_is_pooled_is_found_where_there_is_one(case: str) -> None:
    backbone = backbone_of(case)
    last = len(backbone.stages)
    assert backbone.map_shape(last) == LAST[case][2]
    if LAST[case][2] is None:
        with pytest.raises(OptionError, match=f"stage {last} are not the mean of a map"):
            backbone.trunk(last, maps=(last,))


@pytest.mark.parametrize("case", ["resnet", "channels last", "tokens"])
def test_the_mean_of_each_map_is_the_stages_features(case: str) -> None:
    backbone = backbone_of(case)
    last = len(backbone.stages)
    plain = backbone.trunk(last, pooled=tuple(range(1, last)))
    trunk = backbone.trunk(last, pooled=tuple(range(1, last)), maps=tuple(range(1, last + 1)))
    images = torch.from_numpy(photographs(64)[:3])
    wanted = dict(zip(plain.columns, plain.module()(images), strict=True))
    found = dict(zip(trunk.columns, trunk.module()(images), strict=True))
    for number in range(1, last + 1):
        name = "features" if number == last else f"stage{number}"
        assert tuple(found[f"map{number}"].shape[1:]) == backbone.map_shape(number)
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[f"map{number}"].mean((2, 3)), wanted[name], rtol=1e-4, atol=1e-5)


def test_openvino_gives_the_same_maps() -> None:
    backbone = backbone_of("resnet")
    trunk = backbone.trunk(5, maps=(3, 5))
    images = photographs(64)[:2]
    wanted = trunk.module()(torch.from_numpy(images))
    compiled = openvino().Core().compile_model(trunk.graph(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {port.any_name: values for port, values in compiled(images).items()}
    for output, tensor in zip(trunk.outputs, wanted, strict=True):
        values = tensor.numpy()
        assert values.shape[1:] == output.shape
        np.testing.assert_allclose(found[output.name], values, atol=1e-4 * np.abs(values).max())


def test_tuned_weights_give_tuned_maps() -> None:
    backbone = backbone_of("resnet")
    assert backbone.map_shape(5) is not None  # looked for before the weights change
    name = "layer4.1.bn2.bias"
    tuned = backbone.tuned({name: np.full(512, 3.0, np.float32)})
    images = torch.from_numpy(photographs(64)[:1])
    before, after = (one.module(one.trunk(5, maps=(5,)))(images)[0] for one in (backbone, tuned))
    assert not torch.equal(before, after)
    features = tuned.module(tuned.trunk(5))(images)[-1]
    torch.testing.assert_close(after.mean((2, 3)), features, rtol=1e-4, atol=1e-5)


def test_modules_stay_frozen_without_their_pooling() -> None:
    backbone = backbone_of("resnet")
    module = backbone.module(backbone.trunk(5, maps=(5,)))
    module.train()
    assert not any(one.training for one in module.modules() if isinstance(one, nn.BatchNorm2d))
    assert not any(parameter.requires_grad for parameter in module.parameters())
