"""Parameter groups: rates fall towards the input, no decay where it does harm, every parameter in one group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headstart.errors import OptionError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from torch import nn  # noqa: E402

from headstart.backbones.pytorch.groups import parameter_groups  # noqa: E402


def _groups(stages: Sequence[tuple[str, nn.Module]], **options: Any) -> list[dict[str, Any]]:
    return parameter_groups(stages, **{"rate": 0.1, "decay_per_stage": 0.5, "weight_decay": 0.01, **options})


def _spared(network: nn.Module) -> set[str]:
    """Names of the parameters without decay."""
    (group,) = [group for group in _groups([("all", network)]) if group["name"] == "all/no_decay"]
    spared = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in network.named_parameters() if id(parameter) in spared}


def test_rates_fall_by_a_constant_factor_towards_the_input() -> None:
    stages = [(name, nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))) for name in ("stem", "body", "head")]
    groups = _groups(stages)
    assert [group["name"] for group in groups] == [
        f"{stage}/{part}" for stage in ("stem", "body", "head") for part in ("decay", "no_decay")
    ]
    assert [group["lr"] for group in groups] == pytest.approx([0.025, 0.025, 0.05, 0.05, 0.1, 0.1])
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0] * 3
    assert [len(group["params"]) for group in groups] == [1, 3] * 3
    torch.optim.AdamW(groups)


def test_frozen_stages_keep_their_place_and_give_no_group() -> None:
    stages = [(str(i), nn.Linear(2, 2, bias=i == 1)) for i in range(3)]
    stages[2][1].requires_grad_(False)
    groups = _groups(stages)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("0/decay", 0.025),
        ("1/decay", 0.05),
        ("1/no_decay", 0.05),
    ]


def test_a_shared_parameter_belongs_to_the_lowest_stage() -> None:
    low, high = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    high.weight = low.weight
    groups = _groups([("low", low), ("high", high)])
    assert [(group["name"], len(group["params"])) for group in groups] == [("low/decay", 1), ("high/no_decay", 1)]
    assert groups[0]["params"][0] is low.weight


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("test_vit", {"class_token": True, "reg_tokens": 2, "init_values": 0.1}),
        ("test_resnet", {}),
        ("test_efficientnet", {}),
        ("test_convnext", {}),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (1, 1)}),
    ],
)
def test_every_parameter_is_in_one_group_and_timms_own_list_is_spared(
    architecture: str, options: dict[str, Any]
) -> None:
    """timm's rule (one dimension, biases, ``no_weight_decay()``) is a lower bound of what is spared."""
    from timm.optim import param_groups_weight_decay

    if "depths" in options:
        options = {**options, "num_heads": (2, 4)}
    network = timm.create_model(architecture, num_classes=3, **options)
    parameters = [parameter for group in _groups([("all", network)]) for parameter in group["params"]]
    assert sorted(map(id, parameters)) == sorted(map(id, network.parameters()))
    listed = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    by_timm = {id(p) for p in param_groups_weight_decay(network, no_weight_decay_list=listed)[0]["params"]}
    assert {name for name, parameter in network.named_parameters() if id(parameter) in by_timm} <= _spared(network)


def test_tokens_and_positions_are_spared_by_their_names_where_no_network_lists_them() -> None:
    """A stage cut out of a network has no ``no_weight_decay()``."""
    stage = nn.Module()
    spared = {
        **{"pos_embed": (1, 5, 4), "cls_token": (1, 1, 4), "reg_token": (1, 2, 4), "mask_token": (1, 4)},
        **{"encoder.pos_embedding": (1, 5, 4), "class_token": (1, 1, 4), "layer_scale": (4, 1, 1), "scale": ()},
        **{"attn.relative_position_bias_table": (9, 2), "embeddings.position_embeddings.weight": (5, 4)},
    }
    decayed = {"attn.qkv.weight": (12, 4), "tokens_to_logits": (3, 4), "conv.weight": (4, 1, 3, 3)}
    for path, shape in {**spared, **decayed}.items():
        owner = stage
        for part in path.split(".")[:-1]:
            owner.add_module(part, owner._modules.get(part) or nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(path.split(".")[-1], nn.Parameter(torch.zeros(shape)))
    assert _spared(stage) == set(spared)


def test_norms_are_spared_whatever_their_shape() -> None:
    class TileNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 4, 1, 1))

    norms = [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.RMSNorm((2, 3)), nn.LayerNorm((4, 2, 2)), TileNorm()]
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), *norms)
    assert _spared(network) == {name for name, _ in network.named_parameters()} - {"0.weight"}


def test_a_module_may_name_what_to_spare() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2, bias=False)
            self.table = nn.Parameter(torch.zeros(2, 2))

        def no_weight_decay(self) -> set[str]:
            return {"tab*"}

    assert _spared(nn.Sequential(Scaled())) == {"0.table"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("rate", 0.0), ("rate", float("nan")), ("decay_per_stage", 0.0), ("decay_per_stage", 1.1), ("weight_decay", -1.0)],
)
def test_values_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(OptionError, match=option):
        _groups([("a", nn.Linear(2, 2))], **{option: value})


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(OptionError, match="'a'"):
        _groups([("a", nn.Linear(2, 2)), ("a", nn.Linear(2, 2))])
