"""The detectors on photographs: what is planted is found, and what is sound is left alone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from headstart.auditing.image_quality import image_quality
from headstart.auditing.inspection import look_closely
from headstart.data import load
from headstart.imaging.facts import Examined, examine
from headstart.runs import SilentProgress

pytestmark = pytest.mark.real


def _examined(image: Image.Image) -> Examined:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return examine(buffer.getvalue(), "planted.jpg")


def test_blurred_enlarged_and_dark_photographs_are_found_among_sound_ones(shared: Path) -> None:
    files = sorted((shared / "data" / "hymenoptera" / "train" / "bees").glob("*.jpg"))[:60]
    rows = [examine(file.read_bytes(), file.name) for file in files]
    assert image_quality([file.name for file in files], rows) == ()
    images = [Image.open(file).convert("RGB") for file in files[:3]]
    small = images[1].resize((images[1].width // 3, images[1].height // 3), Image.Resampling.LANCZOS)
    rows[:3] = [
        _examined(images[0].filter(ImageFilter.GaussianBlur(3))),
        _examined(small.resize(images[1].size, Image.Resampling.BICUBIC)),
        _examined(images[2].point(lambda value: value // 5)),
    ]
    found = {one.file: one.kind for one in image_quality([file.name for file in files], rows)}
    assert set(found) == {file.name for file in files[:3]}
    assert found[files[0].name] == "blurred"
    assert found[files[1].name] in ("upscaled", "blurred")
    assert found[files[2].name] == "dark"


def test_a_truncated_photograph_is_a_failure_by_its_row(shared: Path, tmp_path: Path) -> None:
    for label in ("ants", "bees"):
        (tmp_path / label).mkdir()
        for file in sorted((shared / "data" / "hymenoptera" / "train" / label).glob("*.jpg"))[:4]:
            (tmp_path / label / file.name).write_bytes(file.read_bytes())
    broken = sorted((tmp_path / "bees").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:3000])
    data = load(tmp_path)
    looked = look_closely(data, progress=SilentProgress())
    (row,) = looked.failures
    assert data.files[row] == f"bees/{broken.name}"
    assert sorted([*looked.examined, row]) == list(range(8))
    sample = look_closely(data, progress=SilentProgress(), at_most=3)
    assert len(sample.examined) + len(sample.failures) == 3
