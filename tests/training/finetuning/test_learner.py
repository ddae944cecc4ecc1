"""The network that learns starts as the probe, whatever lies above the cut, and is copied out and in exactly."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import timm
import torch

from headstart.backbones.backbone import Backbone
from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.pytorch.backbone import TorchBackbone
from headstart.backbones.pytorch.network import LoadedNetwork
from headstart.features.parity import photographs
from headstart.imaging.preprocessing import Preprocessing
from headstart.training.finetuning.learner import Learner, Weights, load_tensors, random_head, start_from_scratch
from headstart.training.linear import Kind
from headstart.training.probe import fit

PIXELS = photographs(64)
LABELS = np.arange(len(PIXELS)) % 3


def backbone_of(kind: str) -> Backbone:
    if kind == "bundled":
        return BundledBackbone("tf_efficientnet_lite0", size=64)
    torch.manual_seed(0)
    network = timm.create_model(kind, num_classes=0, **({"img_size": 64} if "vit" in kind else {}))
    preprocessing = Preprocessing(64, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return TorchBackbone(LoadedNetwork(f"timm/{kind}", network, (), preprocessing, "MIT"))


def through(backbone: Backbone, cut: int) -> torch.Tensor:
    images = torch.from_numpy(PIXELS)
    with torch.inference_mode():
        return images if cut == 0 else backbone.module(backbone.trunk(cut))(images)[0]


@pytest.mark.parametrize("kind", ["bundled", "test_resnet", "test_vit"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_before_the_first_step_the_logits_are_the_probes_at_every_cut(kind: str, head: Kind) -> None:
    backbone = backbone_of(kind)
    stages = len(backbone.stages)
    features = through(backbone, stages).numpy()
    targets = np.eye(3)[LABELS] if head == "softmax" else np.stack([LABELS == 0, LABELS > 0], 1).astype(float)
    probe = fit(features, targets, 1e-3, kind=head)
    wanted = probe.logits(features)
    for cut in {0, 1, stages // 2, stages - 1}:
        learner = Learner(backbone.trainable(cut), probe).eval()
        with torch.inference_mode():
            found = learner(through(backbone, cut)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))
        assert found.dtype == np.float32


def test_weights_are_a_copy_and_go_into_another_learner(tiny: ModuleType) -> None:
    problem = tiny.Problem()
    learner = problem.learner()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += 0.1
    weights = Weights.of(learner)
    other = Learner(tiny.suffix(0.1), weights.head)
    load_tensors(other.suffix, weights.tensors)
    for name, value in learner.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    with torch.no_grad():
        learner.head.bias.zero_()
        learner.suffix.stages[0].conv.weight.zero_()
    assert weights.head.bias.all()
    assert weights.tensors["conv.weight"].any()


def test_only_the_stages_that_learnt_are_taken_over() -> None:
    """As progressive unfreezing needs it: the cut moves down below what has learnt."""
    backbone = backbone_of("test_resnet")
    stages = len(backbone.stages)
    upper = backbone.trainable(stages - 1)
    with torch.no_grad():
        for parameter in upper.parameters():
            parameter += 0.5
    tensors = upper.tensors()
    lower = backbone.trainable(stages - 2)
    source = lower.tensors()
    load_tensors(lower, tensors)
    found = lower.tensors()
    assert set(tensors) < set(found)
    for name, values in found.items():
        np.testing.assert_array_equal(values, tensors.get(name, source[name]), err_msg=name)


def test_a_random_head_is_drawn_from_its_seed() -> None:
    head = random_head(6, 4, "softmax", 3)
    assert (head.weights.shape, head.bias.shape) == ((6, 4), (4,))
    np.testing.assert_array_equal(head.weights, random_head(6, 4, "softmax", 3).weights)
    assert not np.array_equal(head.weights, random_head(6, 4, "softmax", 4).weights)


@pytest.mark.parametrize("kind", ["bundled", "test_resnet", "test_vit"])
def test_from_scratch_nothing_pretrained_is_left(kind: str) -> None:
    backbone = backbone_of(kind)
    suffix = backbone.trainable(0)
    with torch.no_grad():  # so that no parameter has its starting value by chance
        for parameter in suffix.parameters():
            parameter += 0.37
    before, state = suffix.tensors(), torch.get_rng_state()
    start_from_scratch(suffix, 1)
    found = suffix.tensors()
    kept = [name for name in found if "running_" not in name and np.array_equal(found[name], before[name])]
    assert not kept
    assert torch.equal(torch.get_rng_state(), state)
    again = backbone.trainable(0)
    start_from_scratch(again, 1)
    assert all(np.array_equal(again.tensors()[name], values) for name, values in found.items())


def test_from_scratch_the_statistics_are_those_of_the_images() -> None:
    suffix = backbone_of("test_resnet").trainable(0)
    start_from_scratch(suffix, 1)
    norms = [module for module in suffix.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(not norm.training for norm in norms)  # it is in eval mode to begin with
    Learner(suffix, random_head(suffix(torch.from_numpy(PIXELS)).shape[1], 3, "softmax", 0)).train()
    assert all(norm.training for norm in norms)
    suffix(torch.from_numpy(PIXELS))
    assert all(norm.running_mean.any() for norm in norms)
    found = suffix.eval()(torch.from_numpy(PIXELS)).detach()
    assert float(found.std(0).mean()) > 1e-3  # images are told apart
