"""The resize inside an ONNX file gives the pixels that the decoder gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from headstart.export.onnx_file import _Parts
from headstart.export.onnx_network import IR_VERSION, OPSET
from headstart.imaging import Preprocessing, load_view

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
HALF = (0.5, 0.5, 0.5)


def _resizer(preprocessing: Preprocessing) -> Any:
    parts = _Parts()
    view = parts.resized(preprocessing)
    info, uint8 = onnx.helper.make_tensor_value_info, onnx.TensorProto.UINT8
    channels, side = preprocessing.channels, preprocessing.size
    graph = onnx.helper.make_graph(
        parts.nodes,
        "resize",
        [info("images", uint8, ["n", "h", "w", channels])],
        [info(view, uint8, ["n", side, side, channels])],
        parts.constants,
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


def _picture(width: int, height: int, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth shapes with hard edges and noise, as photographs have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [127 + 90 * np.sin(x / (5 + 7 * c)) * np.cos(y / (9 + 3 * c)) for c in range(channels)]
    picture = np.stack(planes, 2) + rng.normal(0, 12, (height, width, channels))
    picture[height // 3 : height // 2] += 60
    return np.clip(picture, 0, 255).astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


SIZES = ((500, 333), (333, 500), (224, 224), (257, 256), (31, 47), (1, 1), (3, 900), (640, 91), (1023, 767))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("aspect", ["crop", "squash"])
@pytest.mark.parametrize(("size", "crop"), [(96, 0.875), (97, 0.9), (64, 1.0)])
def test_it_equals_the_decoder(interpolation: Any, aspect: Any, size: int, crop: float) -> None:
    preprocessing = Preprocessing(size, crop, interpolation, HALF, HALF, aspect=aspect)
    resize = _resizer(preprocessing)
    for width, height in SIZES:
        pixels = _picture(width, height)
        wanted = load_view(_png(pixels), preprocessing, "picture").astype(int)
        gap = np.abs(resize(pixels[None])[0].astype(int) - wanted)
        # Beyond eight to one, the scale is rounded from another length: by less than a thousandth.
        extreme = max(width, height) > 8 * min(width, height) and aspect == "crop"
        assert gap.mean() < (6.0 if extreme else 0.3), (width, height)
        assert extreme or gap.max() <= 2, (width, height)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_it_takes_any_number_of_channels(channels: int) -> None:
    preprocessing = Preprocessing(64, 0.875, "bicubic", HALF, HALF, channels)
    pixels = _picture(130, 101, channels)
    found = _resizer(preprocessing)(pixels[None])[0].astype(int)
    for channel in range(channels):
        alone = Preprocessing(64, 0.875, "bicubic", HALF, HALF, 1)
        wanted = load_view(_png(pixels[..., channel]), alone, "plane").astype(int)[..., 0]
        assert np.abs(found[..., channel] - wanted).max() <= 2


def test_images_of_a_batch_do_not_touch() -> None:
    preprocessing = Preprocessing(64, 0.875, "bicubic", HALF, HALF)
    resize = _resizer(preprocessing)
    batch = np.stack([_picture(150, 120, seed=seed) for seed in range(3)])
    together = resize(batch)
    for place in range(3):
        np.testing.assert_array_equal(together[place], resize(batch[place : place + 1])[0])


def test_an_endless_line_does_not_fill_the_memory() -> None:

    resize = _resizer(Preprocessing(224, 0.875, "bicubic", HALF, HALF))
    line = np.zeros((1, 1, 4_000_000, 3), np.uint8)
    before = _resident()
    assert resize(line).shape == (1, 224, 224, 3)  # resized whole, it would be 256 x 1,024,000,000 pixels
    assert _resident() - before < 200e6


def _resident() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss)
