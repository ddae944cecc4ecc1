"""Both engines are timed on the same backbone, also where its weights are not here."""

from __future__ import annotations

import pytest

from headstart.backbones.catalogue import untrained_backbone
from headstart.errors import BackboneError
from headstart.features.measuring import measure, measure_named


def test_an_architecture_without_weights_is_measured_with_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADSTART_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")  # set by the measurement as well; this puts them back
    backbone = untrained_backbone("timm/test_efficientnet", size=64)
    assert backbone.weights_sha256 == untrained_backbone("timm/test_efficientnet", size=64).weights_sha256
    speed = measure(backbone, rounds=1, seconds=0.1)
    assert speed.openvino is not None
    assert speed.minimum is not None
    assert speed.openvino > 0
    assert speed.torch > 0
    assert 0.98 < speed.minimum <= 1
    assert speed.parameters == sum(stage.parameters for stage in backbone.stages)


def test_what_can_not_be_built_is_refused() -> None:
    with pytest.raises(BackboneError, match="only timm's architectures"):
        untrained_backbone("torchvision/resnet18")
    with pytest.raises(BackboneError, match="unknown backbone"):
        untrained_backbone("timm/resnot18")
    with pytest.raises(BackboneError, match="unknown backbone"):
        measure_named("timm/resnot18")
