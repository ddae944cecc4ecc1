"""What the BatchNorm layers put out: as hooks on timm's network see it, at every layer, size and number of channels."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones.bundled import BUNDLED, BundledBackbone
from headstart.backbones.statistics import source_norms, statistics_trunk
from headstart.errors import EngineError
from headstart.features.float32 import compile_float32
from headstart.features.parity import photographs

MODELS = [name for name, weights in BUNDLED.items() if importlib.util.find_spec(weights.package)]


@pytest.mark.real
@pytest.mark.parametrize(("model", "size", "channels"), [*((name, None, 3) for name in MODELS), (MODELS[0], 96, 1)])
def test_statistics_equal_what_hooks_on_timms_network_see(model: str, size: int | None, channels: int) -> None:
    pytest.importorskip("timm")
    backbone = BundledBackbone(model, size=size, channels=channels)
    images = photographs(backbone.preprocessing.size, channels)[::3]
    trunk = statistics_trunk(backbone)
    found = compile_float32(trunk)(images)
    for name, wanted in _hooked(backbone, images).items():
        values = found[:, trunk.columns[name]]
        assert values.shape == wanted.shape
        for norm, columns in zip(source_norms(backbone), _columns(backbone), strict=True):
            scale = np.abs(wanted[:, columns]).max()
            np.testing.assert_allclose(values[:, columns], wanted[:, columns], atol=2e-5 * scale, err_msg=norm.name)


def test_norms_are_timms_in_order_with_their_numbers() -> None:
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    backbone = BundledBackbone(MODELS[0])
    network = timm.create_model(MODELS[0], pretrained=False)
    wanted = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    norms = source_norms(backbone)
    assert [norm.name for norm in norms] == [name for name, _ in wanted]
    assert [len(norm.beta) for norm in norms] == [layer.num_features for _, layer in wanted]
    assert {norm.epsilon for norm in norms} == {layer.eps for _, layer in wanted}
    assert [norm.stage for norm in norms] == sorted(norm.stage for norm in norms)
    assert {norm.stage for norm in norms} == set(range(1, 10))
    np.testing.assert_array_equal(norms[1].variance, backbone.tensors["_blocks.0._bn1.running_var"])


def test_there_is_no_torch_module_of_them() -> None:
    with pytest.raises(EngineError, match="OpenVINO alone"):
        statistics_trunk(BundledBackbone(MODELS[0])).module()


def _columns(backbone: BundledBackbone) -> list[slice]:
    """Where each layer lies in an output."""
    ends = np.cumsum([len(norm.mean) for norm in source_norms(backbone)])
    return [slice(int(end) - len(norm.mean), int(end)) for end, norm in zip(ends, source_norms(backbone), strict=True)]


def _hooked(backbone: BundledBackbone, images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float64]]:
    """Both outputs from hooks: timm's layer is BatchNorm and activation in one, so y follows from its input."""
    import timm
    import torch

    from headstart.backbones.pytorch import lite

    loaded = lite.load(backbone.name, backbone.tensors, backbone.architecture, backbone.preprocessing, backbone.licence)
    seen: list[torch.Tensor] = []

    def see(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        x = inputs[0]
        seen.append(
            torch.nn.functional.batch_norm(
                x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps
            )
        )

    for layer in loaded.network.modules():
        if isinstance(layer, timm.layers.BatchNormAct2d):
            layer.register_forward_hook(see)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pixels = pixels.expand(-1, 3, -1, -1) if backbone.preprocessing.channels == 1 else pixels
    with torch.inference_mode():
        loaded.network((pixels - 0.5) / 0.5)
    maps = [y.double() for y in seen]
    return {
        "mean": torch.cat([y.mean((2, 3)) for y in maps], 1).numpy(),
        "mean_square": torch.cat([(y * y).mean((2, 3)) for y in maps], 1).numpy(),
    }
