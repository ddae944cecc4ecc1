"""The bundled graphs at other sizes equal timm's network, and one, two or many channels mean what they say."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from headstart.backbones._openvino import openvino
from headstart.backbones.backbone import Segment
from headstart.backbones.bundled import BundledBackbone
from headstart.errors import OptionError
from headstart.features import openvino_engine
from headstart.features.extract import probe_trunk
from headstart.features.parity import photographs
from headstart.imaging import encode, load_view

LITE0 = "tf_efficientnet_lite0"


def run(segment: Segment, value: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
    compiled = openvino().Core().compile_model(segment.graph(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {port.any_name: array for port, array in compiled(value).items()}


def features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The embedding of views of any size and number of channels."""
    backbone = BundledBackbone(LITE0, size=images.shape[1], channels=images.shape[3])
    return run(backbone.trunk(9), images)["features"]


def assert_equal_features(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def timm_network() -> Any:
    """The same weights in timm's network, which knows nothing of this project's stages."""
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    from headstart.backbones._lite_graph import lite_key

    backbone = BundledBackbone(LITE0)
    network = timm.create_model(LITE0, pretrained=False).eval()
    architecture = backbone._weights.architecture
    tensors = {lite_key(key, architecture): torch.tensor(value) for key, value in backbone.tensors.items()}
    network.load_state_dict(tensors, strict=True)
    return network


def timm_features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    torch, network = pytest.importorskip("torch"), timm_network()
    with torch.inference_mode():
        planes = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        pooled: npt.NDArray[np.float32] = network.forward_head(
            network.forward_features(planes), pre_logits=True
        ).numpy()
    return pooled


@pytest.mark.real
@pytest.mark.parametrize("size", [32, 64, 97, 160, 225, 256])
def test_other_sizes_equal_timm(size: int) -> None:
    images = photographs(size)[:4]
    wanted = timm_features(images)
    np.testing.assert_allclose(features(images), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.real
@pytest.mark.parametrize("size", [33, 97, 225])
def test_boundaries_of_odd_sizes_are_as_said_and_compose(size: int) -> None:
    backbone = BundledBackbone(LITE0, size=size)
    images = photographs(size)[:2]
    whole = run(backbone.trunk(9), images)["features"]
    for cut in (1, 3, 5, 8):
        boundary = run(backbone.trunk(cut), images)["boundary"]
        assert boundary.shape == (2, *backbone.boundary_shape(cut))
        assert_equal_features(run(backbone.suffix(cut), boundary)["features"], whole)


def grey_photographs() -> list[npt.NDArray[Any]]:
    """Photographs without colour, of 8 bits and of 16 with every bit in use."""
    eight = photographs(256, 1)[[1, 10], :, :, 0]
    deep = eight.astype(np.uint16) * 256 + np.random.default_rng(0).integers(0, 256, eight.shape, dtype=np.uint16)
    return [*eight, *deep]


def file(array: npt.NDArray[Any], format: str) -> bytes:
    buffer = BytesIO()
    if format == "NPY":
        np.save(buffer, array)
    else:
        Image.fromarray(array).save(buffer, format)
    return buffer.getvalue()


def views(files: list[bytes], channels: int) -> npt.NDArray[np.uint8]:
    preprocessing = BundledBackbone(LITE0, size=96, channels=channels).preprocessing
    return np.stack([load_view(data, preprocessing, "a") for data in files])


@pytest.mark.real
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_grey_image_equals_its_rgb_copy_and_its_copies_in_any_number_of_channels(format: str) -> None:
    sources = grey_photographs()
    files = [file(array, format) for array in sources]
    wanted = features(views(files, 3))
    assert len(np.unique(wanted.round(3), axis=0)) == len(sources)
    assert_equal_features(features(views(files, 1)), wanted)
    for channels in (2, 4, 5, 13):
        copies = [file(np.repeat(array[:, :, None], channels, axis=2), "NPY") for array in sources]
        assert_equal_features(features(views(copies, channels)), wanted)


@pytest.mark.real
@pytest.mark.parametrize("channels", [2, 5, 7])
def test_colours_in_turn_equal_the_image_of_these_colours(channels: int) -> None:
    """Five channels R, G, B, R, G say what three do; two channels are seen as the first, the second, the first."""
    images = photographs(64)[:4]
    many = images[..., np.arange(channels) % 3]
    wanted = images if channels > 3 else images[..., [0, 1, 0]]
    assert_equal_features(features(many), features(wanted))


@pytest.mark.real
def test_every_channel_counts() -> None:
    images = photographs(64, 5)[:1]
    plain = features(images)
    for channel in range(5):
        changed = images.copy()
        changed[..., channel] = 255 - changed[..., channel]
        assert np.abs(features(changed) - plain).max() > 1e-2 * np.abs(plain).max()


@pytest.mark.real
def test_photographs_have_the_channels_asked_for() -> None:
    colour, grey = photographs(48), photographs(48, 1)
    assert grey.shape == (16, 48, 48, 1)
    assert np.abs(grey[..., 0] - colour @ [0.299, 0.587, 0.114]).mean() < 1
    np.testing.assert_array_equal(photographs(48, 5), colour[..., [0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(photographs(48, 2), colour[..., :2])


@pytest.mark.real
def test_sizes_and_channels_have_graphs_of_their_own_and_pass_parity(tmp_path: Path) -> None:
    backbones = [BundledBackbone(LITE0, size=64, channels=channels) for channels in (1, 3, 5)]
    backbones += [BundledBackbone(LITE0, size=96), BundledBackbone(LITE0)]
    assert len({openvino_engine._key(probe_trunk(backbone)) for backbone in backbones}) == 5
    assert len({backbone.weights_sha256 for backbone in backbones}) == 1
    for backbone in backbones[:3]:
        said: list[str] = []  # so small, bf16 may lie just below its bar, and float32 is taken
        trunk = openvino_engine.OpenVinoTrunk.compile(backbone.trunk(9), tmp_path, said.append)
        assert trunk.identity.precision == "f32" or not said
        assert trunk(photographs(64, backbone.preprocessing.channels)).shape == (16, 1280)


@pytest.mark.real
def test_stages_say_their_parameters_and_their_work() -> None:
    """Google's release gives 407 million multiply-adds for Lite0 at 224 pixels, 1.28 of them the classifier's."""
    network = timm_network()
    learnt = sum(value.numel() for value in network.parameters())
    classifier = sum(value.numel() for value in network.classifier.parameters())
    stages = BundledBackbone(LITE0).stages
    assert sum(stage.parameters for stage in stages) == learnt - classifier
    assert round((sum(stage.macs for stage in stages) + 1_280_000) / 1e6) in range(380, 410)
    assert stages[0].macs == 32 * 3 * 9 * 112**2
    wide = BundledBackbone(LITE0, size=96, channels=5).stages
    assert (wide[0].macs, wide[0].parameters) == (32 * 5 * 9 * 48**2, 32 * 5 * 9 + 64)
    assert [stage.parameters for stage in wide[1:]] == [stage.parameters for stage in stages[1:]]


def test_the_crop_stays_the_weights_own_and_bad_values_are_refused() -> None:
    preprocessing = BundledBackbone(LITE0, size=160, channels=1).preprocessing
    assert (preprocessing.size, preprocessing.crop, preprocessing.channels) == (160, 0.875, 1)
    for size in (31, 0, -5):
        with pytest.raises(OptionError, match=rf"32 pixels or more, not of {size}"):
            BundledBackbone(LITE0, size=size)
    with pytest.raises(OptionError, match="5000 pixels is not possible"):
        BundledBackbone(LITE0, size=5000)
    for channels in (0, 65):
        with pytest.raises(OptionError, match=f"{channels} channels"):
            BundledBackbone(LITE0, channels=channels)


def test_an_image_in_memory_of_many_channels_reaches_the_network_s_view() -> None:
    bands = np.random.default_rng(0).integers(0, 256, (40, 50, 5), dtype=np.uint8)
    view = load_view(encode(bands), BundledBackbone(LITE0, size=32, channels=5).preprocessing, "a")
    assert view.shape == (32, 32, 5)
