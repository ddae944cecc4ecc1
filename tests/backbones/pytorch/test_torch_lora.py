"""LoRA: trains nothing but itself, merges exactly, is saved alone, and finds its layers in every family."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from headstart.errors import ArtifactError, MissingExtraError, OptionError

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("peft")

from torch import Tensor, fx, nn  # noqa: E402

from headstart.backbones.pytorch.lora import (  # noqa: E402
    LoraModule,
    add_lora,
    load_lora_state,
    lora_state,
    lora_targets,
    merge_lora,
)

SMALL_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}
WEIGHTY_QUERIES = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}  # qkv's weight is read, not called


class _Blocks(fx.Tracer):
    """Leaves the children of the root whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return "." not in module_qualified_name


def _traced(blocks: nn.Module) -> nn.Module:
    return fx.GraphModule(blocks, _Blocks().trace(blocks))


def _open_clip() -> nn.Module:
    return pytest.importorskip("open_clip").transformer.ResidualAttentionBlock(32, 4)


def _vit_with_dropout() -> nn.Module:
    options = {"proj_drop_rate": 0.5, "attn_drop_rate": 0.5, "drop_path_rate": 0.5}
    return timm.create_model("test_vit", img_size=32, **options).blocks


STAGES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "vit": (_vit_with_dropout, (4, 64), 2 * 6),
    "traced vit": (lambda: _traced(_vit_with_dropout()), (4, 64), 2 * 6),
    "swin": (lambda: timm.create_model("swin_tiny_patch4_window7_224", **SMALL_SWIN).layers[1], (16, 16, 32), 4),
    "swin v2": (lambda: timm.create_model("swinv2_tiny_window8_256", **SMALL_SWIN).layers[1], (16, 16, 32), 4),
    "beit": (lambda: timm.create_model("beit_base_patch16_224", **WEIGHTY_QUERIES).blocks[1], (5, 32), 2),
    "clip": (_open_clip, (4, 32), 1),
    "torch encoder": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (4, 32), 1),
    "resnet": (lambda: timm.create_model("test_resnet").layer3, (48, 8, 8), 4),
    "resnext": (lambda: timm.create_model("resnext26ts").stages[0], (64, 8, 8), 5),
    "mobilenet": (lambda: timm.create_model("mobilenetv3_small_100").blocks[2], (24, 8, 8), 12),
    "tf efficientnet": (lambda: timm.create_model("tf_efficientnet_lite0").blocks[2], (24, 9, 9), 4),
    "efficientnet": (lambda: timm.create_model("test_efficientnet").blocks[3:], (32, 8, 8), 8),
    "convnext": (lambda: timm.create_model("test_convnext").stages[1:3], (24, 8, 8), 14),
    "torchvision convnext": (
        lambda: pytest.importorskip("torchvision").models.convnext_tiny().features[2:4],
        (96, 8, 8),
        7,
    ),
}


def _stage(family: str) -> tuple[nn.Module, Tensor]:
    """A stage with random weights and statistics everywhere, and three inputs for it."""
    make, shape, _ = STAGES[family]
    torch.manual_seed(1)
    stage = make().eval()
    for name, value in stage.state_dict().items():
        if value.is_floating_point() and value.ndim < 2:
            nn.init.uniform_(value, 0.5, 1.5) if "bias" not in name else nn.init.normal_(value, std=0.1)
    return stage, torch.randn(3, *shape)


def _moved(adapted: LoraModule) -> LoraModule:
    """The adapters far from where they start."""
    load_lora_state(adapted, {name: torch.randn(value.shape) * 0.1 for name, value in lora_state(adapted).items()})
    return adapted


def _frozen_hash(adapted: LoraModule) -> str:
    state = {name: value for name, value in adapted.state_dict().items() if ".lora_" not in name}
    return hashlib.sha256(
        b"".join(name.encode() + value.numpy().tobytes() for name, value in state.items())
    ).hexdigest()


@pytest.mark.parametrize("family", STAGES)
def test_it_starts_as_the_stage_and_merges_exactly_into_one_of_the_same_structure(family: str) -> None:
    stage, value = _stage(family)
    adapted = add_lora(stage, rank=4)
    with torch.no_grad():
        plain = stage(value)
        torch.testing.assert_close(adapted(value), plain, rtol=0, atol=1e-6)
        unmerged = _moved(adapted)(value)
        merged = merge_lora(adapted)
        assert (unmerged - plain).abs().max() > 1e-2 * plain.abs().max()
        assert (merged(value) - unmerged).abs().max() < 3e-6 * unmerged.abs().max()
        torch.testing.assert_close(adapted(value), unmerged, rtol=0, atol=0)  # merging altered a copy
        torch.testing.assert_close(stage(value), plain, rtol=0, atol=0)
    assert list(merged.state_dict()) == list(stage.state_dict())
    assert [type(part).__name__ for part in merged.modules()] == [type(part).__name__ for part in stage.modules()]
    assert not hasattr(merged, "peft_config")
    stage.load_state_dict(merged.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(stage(value), merged(value), rtol=0, atol=0)


@pytest.mark.parametrize("family", STAGES)
def test_training_changes_every_adapter_and_nothing_else(family: str) -> None:
    """Ten steps, ``train()`` called at every depth, leave all other parameters and buffers as they were."""
    stage, value = _stage(family)
    adapted = add_lora(stage, rank=4, dropout=0.1)
    before, start = _frozen_hash(adapted), lora_state(adapted)
    model = nn.Sequential(adapted).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    target = torch.randn_like(stage(value))
    losses = []
    for _ in range(10):
        for part in adapted.modules():
            part.train()
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(value), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert _frozen_hash(adapted) == before
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, start[name]) for name, value in lora_state(adapted).items())


@pytest.mark.parametrize("family", ["vit", "clip", "efficientnet"])
def test_only_the_adapters_dropout_is_ever_in_train_mode(family: str) -> None:
    stage, value = _stage(family)
    adapted = add_lora(stage, rank=4, dropout=0.5).train()
    assert adapted.training
    in_training = {name.split(".")[-2] for name, part in adapted.named_modules() if part.training and "default" in name}
    assert in_training == {"lora_dropout"}
    assert not any(part.training for part in adapted.modules() if isinstance(part, nn.BatchNorm2d))
    _moved(adapted).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(value), adapted(value), rtol=0, atol=0)
        assert not any(part.training for part in adapted.modules())


def test_only_adapters_are_trainable_and_few() -> None:
    stage, _ = _stage("vit")
    adapted = add_lora(stage)
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in adapted.named_parameters() if ".lora_" in name}
    count = sum(value.numel() for value in lora_state(adapted).values())
    assert count == 6 * 8 * ((64 + 3 * 64) + (64 + 64))
    assert all(parameter.requires_grad for parameter in stage.parameters())  # the stage itself is left as it was


def test_equal_seeds_give_equal_adapters_and_leave_the_global_state() -> None:
    stage, _ = _stage("clip")
    torch.manual_seed(7)
    states = [lora_state(add_lora(stage, rank=2, seed=seed)) for seed in (0, 0, 1)]
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("family", ["traced vit", "clip", "resnet"])
def test_the_state_alone_restores_the_adapter(family: str) -> None:
    stage, value = _stage(family)
    adapted = _moved(add_lora(stage, rank=4))
    state = lora_state(adapted)
    assert not any("default" in name or "base_layer" in name for name in state)
    again = add_lora(stage, rank=4, seed=5)
    load_lora_state(again, state)
    with torch.no_grad():
        torch.testing.assert_close(again(value), adapted(value), rtol=0, atol=0)


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    stage, _ = _stage("resnet")
    adapted = add_lora(stage, rank=4)
    before = lora_state(adapted)
    with pytest.raises(ArtifactError, match="of shape"):
        load_lora_state(adapted, lora_state(add_lora(stage, rank=2)))
    with pytest.raises(ArtifactError, match=r"8 tensors missing.*1 unexpected \['x'\]"):
        load_lora_state(adapted, {"x": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in lora_state(adapted).items())


@pytest.mark.parametrize("family", ["vit", "clip"])
def test_a_broken_adapter_is_not_merged(family: str) -> None:
    adapted = add_lora(_stage(family)[0], rank=4)
    load_lora_state(adapted, {name: torch.full_like(value, torch.inf) for name, value in lora_state(adapted).items()})
    with pytest.raises(ArtifactError, match="can't be merged"):
        merge_lora(adapted)


@pytest.mark.parametrize("family", STAGES)
def test_how_many_layers_are_found(family: str) -> None:
    make, _, count = STAGES[family]
    assert len(lora_targets(make(), rank=4)) == count


def test_mlps_stems_depthwise_and_shared_layers_are_left_alone() -> None:
    assert all(".attn." in path for path in lora_targets(timm.create_model("test_vit"), rank=4))
    targets = lora_targets(timm.create_model("tf_efficientnet_lite0"), rank=4)
    assert not [path for path in targets if "stem" in path or "dw" in path or "classifier" in path]
    shared = nn.Conv2d(32, 32, 3)
    assert lora_targets(nn.ModuleDict({"a": shared, "b": shared, "c": nn.Conv2d(32, 32, 3)}), rank=4) == ["c"]
    special = [nn.Conv2d(32, 32, 3, dilation=2), nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect")]
    normalised = nn.utils.parametrizations.weight_norm(nn.Conv2d(32, 32, 3))
    assert lora_targets(nn.Sequential(*special, normalised, nn.Conv2d(3, 32, 3)), rank=4) == []


def test_a_layer_keeps_the_attributes_that_its_surroundings_read() -> None:
    """As networks with TensorFlow's padding do, which compute it from the convolution's stride and kernel."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, stride=2)

        def forward(self, value: Tensor) -> Tensor:
            margin = self.conv.kernel_size[0] - self.conv.stride[0]
            return self.conv(nn.functional.pad(value, (0, margin, 0, margin)))

    assert add_lora(Padded(), rank=2)(torch.zeros(1, 16, 8, 8)).shape == (1, 16, 4, 4)


def test_a_layer_can_be_adapted_by_itself() -> None:
    layer, value = nn.Conv2d(16, 16, 3), torch.randn(1, 16, 5, 5)
    adapted = _moved(add_lora(layer, rank=2))
    assert set(lora_state(adapted)) == {"lora_A.weight", "lora_B.weight"}
    merged = merge_lora(adapted)
    assert type(merged) is nn.Conv2d
    torch.testing.assert_close(merged(value), adapted(value))


def test_nothing_to_adapt_is_said() -> None:
    with pytest.raises(OptionError, match="rank 8 finds no attention projection and no convolution"):
        add_lora(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))


@pytest.mark.parametrize(("option", "value"), [("rank", 0), ("alpha", 0.0), ("alpha", float("inf")), ("dropout", 1.0)])
def test_values_out_of_range_are_refused(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=option):
        add_lora(nn.Conv2d(16, 16, 3), **{option: value})


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"LoRA needs .*headstart\[lora\]"):
        add_lora(nn.Conv2d(16, 16, 3), rank=2)


def test_peft_is_imported_only_when_an_adapter_is_made_and_opens_no_socket() -> None:
    code = (
        "import socket, sys, torch\n"
        "def refuse(*a, **k): print('SOCKET'); raise OSError('blocked')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from headstart.backbones.pytorch.lora import add_lora, merge_lora\n"
        "print('peft' in sys.modules)\n"
        "adapted = add_lora(torch.nn.Conv2d(16, 16, 3), rank=2)\n"
        "print(type(merge_lora(adapted)).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Conv2d"], done.stdout + done.stderr
