"""What is frozen stays frozen, pooling keeps its conventions, and images of any number of channels are taken."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import timm
import torch
from torch import nn

from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork, state_sha256
from headstart.backbones.pytorch.positions import pool_positions
from headstart.errors import BackboneError
from headstart.features.parity import photographs
from headstart.imaging.preprocessing import Preprocessing

RGB = Preprocessing(64, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Networks that have what freezing gets wrong: BatchNorm, dropout, stochastic depth, and no norm statistics at all.
FROZEN = {
    "BatchNorm": ("resnet18", {}),
    "BatchNorm and stochastic depth": ("efficientnet_b0", {"drop_path_rate": 0.5}),
    "dropout inside": ("vgg11_bn", {"drop_rate": 0.5}),
    "attention dropout": (
        "vit_tiny_patch16_224",
        {"img_size": 64, "depth": 3, "attn_drop_rate": 0.5, "proj_drop_rate": 0.5, "drop_path_rate": 0.5},
    ),
    "windows": ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 4, "depths": (2, 2, 2, 2)}),
    "layer scale": ("convnext_atto", {"drop_path_rate": 0.5}),
}


def backbone_of(model: str, preprocessing: Preprocessing = RGB, **arguments: object) -> TorchBackbone:
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=0, **arguments)
    return TorchBackbone(LoadedNetwork(f"timm/{model}", network, (), preprocessing, "MIT"))


def state_hash(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


@pytest.mark.parametrize("case", FROZEN)
def test_ten_steps_above_leave_everything_below_as_it_was(case: str) -> None:
    model, arguments = FROZEN[case]
    backbone = backbone_of(model, **arguments)
    trunk = backbone.module(backbone.trunk(len(backbone.stages)))
    head = nn.Linear(backbone.stages[-1].channels, 2)
    whole = nn.Sequential(trunk, head)
    before, images, targets = state_hash(trunk), torch.from_numpy(photographs(64)[:8]), torch.arange(8) % 2
    features = trunk(images)[0]
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.1, weight_decay=0.5)
    for step in range(10):
        whole.train()
        for module in list(trunk.modules())[step::10]:  # reach past the frozen segment, at every depth
            module.train()
        assert torch.equal(trunk(images)[0], features)  # dropout would change them
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(trunk(images)[0]), targets).backward()
        optimizer.step()
    assert state_hash(trunk) == before
    assert not any(module.training for module in trunk.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in trunk.parameters())
    assert head.weight.grad is not None


def test_tokens_pool_to_the_mean_of_the_patches_alone() -> None:
    """Class and register tokens stand in front and are left out."""
    tokens = torch.randn(2, 5 + 16, 3)
    torch.testing.assert_close(pool_positions(tokens, "NTC"), tokens[:, 5:].mean(1))
    torch.testing.assert_close(pool_positions(tokens[:, 5:], "NTC"), tokens[:, 5:].mean(1))


def test_maps_pool_over_their_positions_in_either_order() -> None:
    maps = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(pool_positions(maps, "NCHW"), maps.mean((2, 3)))
    torch.testing.assert_close(pool_positions(maps.permute(0, 2, 3, 1), "NHWC"), maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "arguments", "convention"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 3}, "class token"),
        ("vit_base_patch16_gap_224", {"img_size": 64, "depth": 3, "embed_dim": 96, "num_heads": 3}, "mean"),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 4, "depths": (1, 1, 1, 1)}, "mean"),
    ],
)
def test_the_embedding_is_pooled_as_the_network_was_trained(model: str, arguments: dict, convention: str) -> None:
    """The class token where the weights were trained with one, the mean where they were not."""
    backbone = backbone_of(model, **arguments)
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=0, **arguments).eval()
    images = torch.from_numpy(photographs(64)[:3])
    last = len(backbone.stages)
    with torch.inference_mode():
        trunk = backbone.module(backbone.trunk(last, pooled=(last - 1, last)))
        below, pooled, features = trunk(images)
        tokens = network.forward_features(trunk.normalise(images))
        before_norm = backbone.module(backbone.trunk(last - 1))(images)[0]
    wanted = tokens[:, 0] if convention == "class token" else tokens.flatten(1, -2).mean(1)
    wanted = network.fc_norm(wanted) if hasattr(network, "fc_norm") else wanted
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(features, pooled)
    positions = before_norm.flatten(1, -2) if before_norm.ndim == 4 else before_norm[:, -16:]
    torch.testing.assert_close(below, positions.mean(1))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("model", ["resnet18", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_a_grey_image_equals_its_rgb_copy_in_any_number_of_channels(model: str, channels: int) -> None:
    arguments = {"img_size": 64, "depth": 3} if model.startswith("vit") else {}
    grey = np.repeat(photographs(64, 1)[:4], channels, axis=3)
    backbone = backbone_of(model, dataclasses.replace(RGB, channels=channels), **arguments)
    reference = backbone_of(model, **arguments)
    assert backbone.trunk(1).input.shape == (64, 64, channels)
    with torch.inference_mode():
        found = backbone.module(backbone.trunk(len(backbone.stages)))(torch.from_numpy(grey))[0]
        rgb = torch.from_numpy(np.repeat(grey[..., :1], 3, axis=3))
        wanted = reference.module(reference.trunk(len(reference.stages)))(rgb)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_the_channels_of_a_wider_image_all_count() -> None:
    backbone = backbone_of("resnet18", dataclasses.replace(RGB, channels=5))
    trunk = backbone.module(backbone.trunk(5))
    images = torch.from_numpy(photographs(64, 5)[:2].copy())
    with torch.inference_mode():
        before = trunk(images)[0]
        for channel in range(5):
            changed = images.clone()
            changed[..., channel] = 255 - changed[..., channel]
            assert not torch.allclose(trunk(changed)[0], before)


def test_weights_that_are_normalised_on_the_way_are_not_widened() -> None:
    """A standardised convolution scales its kernels: shared out among more channels they would not add up."""
    with pytest.raises(BackboneError, match="not a plain convolution of three channels"):
        backbone_of("resnetv2_50x1_bit", dataclasses.replace(RGB, channels=4))


def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(BackboneError, match="can't run on images of 64 x 64"):
        TorchBackbone(LoadedNetwork("timm/vit", network, (), RGB, "MIT"))


def test_a_network_that_gives_no_finite_row_is_refused() -> None:
    network = timm.create_model("resnet10t", num_classes=0)
    network.layer4[0].bn1.weight.data.fill_(float("nan"))
    with pytest.raises(BackboneError, match="one finite row"):
        TorchBackbone(LoadedNetwork("file/broken", network, (), RGB, "MIT"))


def test_equal_weights_have_equal_hashes_and_others_others() -> None:
    assert backbone_of("resnet10t").weights_sha256 == backbone_of("resnet10t").weights_sha256
    assert backbone_of("resnet10t").weights_sha256 != backbone_of("resnet14t").weights_sha256
    state = {"weight": torch.ones(2)}
    assert state_sha256(state, "padded") == state_sha256(state, "padded") != state_sha256(state, "not padded")
