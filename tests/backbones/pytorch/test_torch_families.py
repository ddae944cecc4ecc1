"""Every family can be cut anywhere: the stages, one after the other, are the network."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.backbones.pytorch.staging import CannotSplitError, split
from headstart.errors import BackboneError, OptionError
from headstart.features.extract import probe_trunk
from headstart.features.openvino_engine import OpenVinoTrunk
from headstart.features.parity import photographs
from headstart.features.torch_engine import TorchTrunk
from headstart.imaging.preprocessing import Preprocessing

SHORT = {"img_size": 64, "depth": 3, "embed_dim": 96, "num_heads": 3}
# One small member of every family that the field's guides name, at a small size: timm's name, side, arguments, and
# how many stages one expects to count in its paper's figure, the stem and the last norm or convolution included.
FAMILIES = {
    "VGG": ("vgg11", 64, {}, 6),
    "VGG with BatchNorm": ("vgg11_bn", 64, {}, 6),
    "ResNet, basic blocks": ("resnet18", 64, {}, 5),
    "ResNet, bottlenecks": ("resnet26", 64, {}, 5),
    "ResNeXt": ("resnext26ts", 64, {}, 5),
    "Wide ResNet": ("wide_resnet50_2", 64, {"layers": (1, 1, 1, 1)}, 5),
    "ResNetV2 (BiT)": ("resnetv2_50", 64, {"layers": (1, 1, 1, 1)}, 6),
    "RegNet": ("regnety_002", 64, {}, 5),
    "Inception v3": ("inception_v3", 107, {}, 4),
    "DenseNet": ("densenet121", 64, {"block_config": (2, 2, 2, 2)}, 6),
    "MobileNet v2": ("mobilenetv2_035", 64, {}, 9),
    "MobileNet v3": ("mobilenetv3_small_050", 64, {}, 8),
    "MobileNet v4": ("mobilenetv4_conv_small_035", 64, {}, 7),
    "MobileNet v4, hybrid": ("mobilenetv4_hybrid_medium_075", 64, {}, 7),
    "EfficientNet": ("efficientnet_b0", 64, {}, 9),
    "EfficientNet v2": ("tf_efficientnetv2_b0", 64, {}, 8),
    "EfficientNet-Lite": ("tf_efficientnet_lite0", 64, {}, 9),
    "ConvNeXt": ("convnext_atto", 64, {}, 6),
    "ConvNeXt v2": ("convnextv2_atto", 64, {}, 6),
    "ViT": ("vit_tiny_patch16_224", 64, {"img_size": 64, "depth": 4}, 6),
    "ViT, mean of tokens": ("vit_base_patch16_gap_224", 64, SHORT, 5),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64, "depth": 4}, 6),
    "DeiT III": ("deit3_small_patch16_224", 64, {"img_size": 64, "depth": 3}, 5),
    "BEiT": ("beit_base_patch16_224", 64, SHORT, 5),
    "DINOv2": ("vit_small_patch14_dinov2", 70, {"img_size": 70, "depth": 4}, 6),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", 70, {"img_size": 70, "depth": 3}, 5),
    "DINOv3": ("vit_small_patch16_dinov3", 64, {"depth": 4}, 6),
    "DINOv3 ConvNeXt": ("convnext_tiny.dinov3_lvd1689m", 64, {"depths": (1, 1, 1, 1)}, 6),
    "Swin": ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "window_size": 4, "depths": (2, 2, 2, 2)}, 6),
    "Swin v2": ("swinv2_cr_tiny_ns_224", 64, {"img_size": 64, "depths": (2, 2, 2, 2)}, 5),
    "EVA-02": ("eva02_tiny_patch14_224", 70, {"img_size": 70, "depth": 4}, 6),
    "SigLIP": ("vit_base_patch16_siglip_224", 64, SHORT, 5),
    "CLIP": ("vit_base_patch32_clip_224", 64, SHORT, 5),
    "CLIP ResNet": ("resnet50_clip", 64, {"img_size": 64}, 6),
    "MaxViT": ("maxvit_rmlp_pico_rw_256", 64, {"img_size": 64}, 6),
    "HRNet, which joins branches": ("hrnet_w18_small", 64, {}, 2),
}


def build(model: str, size: int, arguments: dict[str, object]) -> tuple[LoadedNetwork, nn.Module]:
    """A random network as a provider would deliver it, and its double without the classifier."""
    torch.manual_seed(0)
    network = timm.create_model(model, **arguments).eval()
    paths = network.pretrained_cfg["classifier"]
    classifiers = (paths,) if isinstance(paths, str) else tuple(paths)
    if network.num_classes == 0:
        classifiers = ()
    double = copy.deepcopy(network)
    for path in classifiers:
        double.set_submodule(path, nn.Identity())
    preprocessing = Preprocessing(size, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return LoadedNetwork(f"timm/{model}", network, classifiers, preprocessing, "MIT"), double


def normalised(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (images.permute(0, 3, 1, 2).float() - mean * 255) * (1 / (std * 255))  # rounded as we round it


# Those that take longest and resemble one that does not.
HEAVY = (
    "VGG with BatchNorm",
    "Wide ResNet",
    "CLIP ResNet",
    "MaxViT",
    "MobileNet v4, hybrid",
    "Swin v2",
    "SigLIP",
    "CLIP",
)
HEAVY += ("BEiT", "ViT, mean of tokens", "HRNet, which joins branches", "ResNetV2 (BiT)", "DeiT III", "DINOv3 ConvNeXt")


def _assert_stages_share_out(backbone: TorchBackbone, network: nn.Module) -> None:
    """Each parameter is in one stage, and strides never shrink."""
    stages = backbone.stages
    assert sum(stage.parameters for stage in stages) == sum(parameter.numel() for parameter in network.parameters())
    assert len({stage.name for stage in stages}) == len(stages)
    assert [stage.stride for stage in stages] == sorted(stage.stride for stage in stages)
    assert all(stage.parameters > 0 for stage in stages)
    assert all(stage.macs > 0 for stage in stages[:-1])


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=[pytest.mark.soak] if family in HEAVY else []) for family in FAMILIES]
)
def test_every_cut_composes_to_the_network(family: str) -> None:
    model, size, arguments, count = FAMILIES[family]
    loaded, double = build(model, size, arguments)
    backbone = TorchBackbone(loaded)
    assert backbone.whole_because is None
    assert len(backbone.stages) == count
    _assert_stages_share_out(backbone, double)
    images = torch.randint(0, 256, (3, size, size, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = double(normalised(images))
        tolerance = 1e-5 * wanted.abs().max()
        for cut in range(1, count + 1):
            value = backbone.module(backbone.trunk(cut))(images)[0]
            assert tuple(value.shape[1:]) == backbone.boundary_shape(cut)
            if cut < count:
                value = backbone.module(backbone.suffix(cut))(value)[0]
            assert (value - wanted).abs().max() <= tolerance, f"cut {cut}"


# One of each kind is converted every time; the others resemble one of these, and take minutes together.
QUICK = ("ResNet, basic blocks", "DenseNet", "MobileNet v3", "ConvNeXt")
QUICK += ("ViT", "EVA-02")


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=[] if family in QUICK else [pytest.mark.soak]) for family in FAMILIES]
)
def test_both_engines_give_the_same_features(family: str, tmp_path: Path) -> None:
    """Converted, compiled and checked on photographs, the last and all pooled stages."""
    model, size, arguments, _ = FAMILIES[family]
    trunk = probe_trunk(TorchBackbone(build(model, size, arguments)[0]))
    compiled = OpenVinoTrunk.compile(trunk, tmp_path, print)
    images = photographs(size)[:5]
    wanted, found = TorchTrunk(trunk, device="cpu")(images), compiled(images)
    least = 0.9999 if compiled.identity.precision == "f32" else 0.98
    assert wanted.shape == found.shape == (5, trunk.width)
    assert ((wanted * found).sum(1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)).min() > least


def smallest_of_each_module() -> list[str]:
    """The smallest network of every source file of timm: every code path there is, at the least cost."""
    smallest: dict[str, tuple[int, str]] = {}
    for name in timm.list_models():
        module = timm.model_entrypoint(name).__module__
        with contextlib.suppress(Exception), torch.device("meta"):  # a few can't be built without memory
            parameters = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
            smallest[module] = min(smallest.get(module, (parameters, name)), (parameters, name))
    return [name for _, name in smallest.values()]


@pytest.mark.soak
def test_every_architecture_of_timm_can_be_loaded_and_nearly_all_be_cut() -> None:
    """Composition itself is checked at each load; here counted over timm's source files."""
    whole, refused, split_up = [], [], 0
    for model in smallest_of_each_module():
        try:
            backbone = TorchBackbone(build(model, timm.get_pretrained_cfg(model).input_size[-1], {})[0])
        except BackboneError as error:
            refused.append(str(error))
            continue
        split_up += len(backbone.stages) > 1
        whole += [model] if len(backbone.stages) == 1 else []
    found = f"{split_up} cut, whole {whole}, refused {refused}"
    assert split_up > 90, found
    assert len(refused) < 3, found


def test_multiply_accumulates_are_those_of_the_paper() -> None:
    loaded, _ = build("resnet50", 224, {})
    stages = TorchBackbone(loaded).stages
    assert sum(stage.macs for stage in stages) == pytest.approx(4.1e9, rel=0.01)  # He et al. 2016 round to 3.8e9
    assert sum(stage.parameters for stage in stages) == pytest.approx(23.5e6, rel=0.01)


class Branching(nn.Module):
    """Looks at the pixels to choose what to do, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        value = self.blocks(images) if images.mean() > 0 else self.blocks(-images)
        return value.mean((2, 3))


def test_a_network_that_branches_on_pixels_is_one_stage_and_says_so() -> None:
    with pytest.raises(CannotSplitError):
        split(Branching().eval(), 3, 16)
    preprocessing = Preprocessing(16, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    backbone = TorchBackbone(LoadedNetwork("file/branching", Branching(), (), preprocessing, "MIT"))
    assert len(backbone.stages) == 1
    assert backbone.stages[0].parameters == sum(parameter.numel() for parameter in Branching().parameters())
    with pytest.raises(OptionError, match=r"can be cut at 1 to 1, not at 2: it is one stage, because"):
        backbone.trunk(2)
    for odd in (1.0, "1", None):
        with pytest.raises(OptionError, match="can be cut at 1 to 1"):
            backbone.trunk(odd)  # type: ignore[arg-type]


class Counting(nn.Module):
    """Uses the number of images at the end, taken at the beginning, and a constant of its own in every block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(4))
        self.shift = nn.Parameter(torch.randn(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = images.shape
        shift = self.shift * 2
        for block in self.blocks:
            images = block(images) + shift
        if height > width:
            raise AssertionError("shapes are numbers while tracing")
        return images.reshape(count * channels, height * width).mean(1).view(count, channels)


def test_the_number_of_images_and_constants_reach_every_stage() -> None:
    network = Counting().eval()
    stages = split(copy.deepcopy(network), 3, 8)
    assert [stage.name for stage in stages] == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "shift"]
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 8, 8)
        value = images
        with torch.no_grad():
            for stage in stages:
                value = stage.module(value)
            torch.testing.assert_close(value, network(images))
