"""Norms on frozen statistics, folded into their convolutions: equal values, gradients and names, or nothing folded."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from headstart.backbones.bundled import BundledBackbone
from headstart.backbones.pytorch.folding import fold, unfold


def network_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "shufflenet":
        network = torchvision.models.shufflenet_v2_x0_5(weights=None)
    else:
        network = timm.create_model(kind, num_classes=5)
    for norm in network.modules():  # as after a training: no norm is the identity
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.normal_(norm.weight, 1, 0.2)
            nn.init.normal_(norm.bias, 0, 0.1)
    return network.double().eval()


@pytest.mark.parametrize("kind", ["resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0", "shufflenet"])
def test_values_and_gradients_stay(kind: str) -> None:
    network, images = network_of(kind), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    folded = copy.deepcopy(network)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert fold(folded, images) == norms
    assert list(folded.state_dict()) == list(network.state_dict())
    copied = copy.deepcopy(folded).to(memory_format=torch.channels_last)
    for other in (folded, copied):
        expected, found = network(images), other(images)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        network.zero_grad()
        expected.square().sum().backward()
        found.square().sum().backward()
        theirs = dict(other.named_parameters())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(theirs[name].grad, parameter.grad, rtol=1e-6, atol=1e-8)


def test_unfolding_gives_the_layers_back() -> None:
    network, images = network_of("resnet18"), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    kinds, expected = [type(module) for module in network.modules()], network(images)
    fold(network, images)
    assert [type(module) for module in network.modules()] != kinds
    unfold(network)
    assert [type(module) for module in network.modules()] == kinds
    assert torch.equal(network(images), expected)


class Twice(nn.Module):
    """The convolution's output is used beside the norm."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.bias, 1.0)

    def forward(self, value: Tensor) -> Tensor:
        value = self.convolution(value)
        return self.norm(value) + value


class Shared(nn.Module):
    """One norm after two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, value: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(value))))


@pytest.mark.parametrize("kind", [Twice, Shared])
def test_what_is_no_pair_is_left_as_it_is(kind: type[nn.Module]) -> None:
    network, images = kind().eval(), torch.randn(2, 3, 8, 8)
    kinds, expected = [type(module) for module in network.modules()], network(images)
    assert fold(network, images) == 0
    assert [type(module) for module in network.modules()] == kinds
    assert torch.equal(network(images), expected)


def test_what_learns_above_a_cut_is_folded() -> None:
    suffix = BundledBackbone("tf_efficientnet_lite0", size=64).trainable(5)
    folded = [module for module in suffix.modules() if type(module).__name__.startswith("Folded")]
    norms = [module for module in suffix.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(folded) == 2 * len(norms) > 10
