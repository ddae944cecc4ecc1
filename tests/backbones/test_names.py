"""A name that nobody knows gets the nearest ones for an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart.backbones.names import did_you_mean, unknown_backbone


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("timm/resnet5O", "timm/resnet50"),
        ("torchvision/resnet5", "torchvision/resnet50"),
        ("timm/resnet18.a1_in1", "timm/resnet18.a1_in1k"),
        ("TIMM/ResNet50", "timm/resnet50"),
        ("resnet50", "timm/resnet50"),
        ("facebook/dinov2-small", "transformers/facebook/dinov2-small"),
        ("transformers/facebook/dinov2-smal", "transformers/facebook/dinov2-small"),
        ("bundled/tf_efficientnet_lite4", "timm/tf_efficientnet_lite4"),
        ("lite", "bundled/tf_efficientnet_lite0"),
    ],
)
def test_the_nearest_name_is_among_the_first(wrong: str, meant: str) -> None:
    assert f" {meant}" in unknown_backbone(wrong)
    assert unknown_backbone(wrong).count(" or ") <= 2


@pytest.mark.parametrize("name", ["timm/resnet50", "timm/resnet50.a1_in1k", "transformers/facebook/dinov2-small"])
def test_a_known_name_raises_no_doubt(name: str) -> None:
    assert did_you_mean(name) == ""


@pytest.mark.parametrize("name", ["", "timm/", "zzzzzzzz"])
def test_what_resembles_nothing_is_sent_to_the_list(name: str) -> None:
    assert unknown_backbone(name).endswith("headstart backbones lists what there is")


def test_a_folder_is_taken_for_one(tmp_path: Path) -> None:
    assert f"file/{tmp_path}" in unknown_backbone(str(tmp_path))
