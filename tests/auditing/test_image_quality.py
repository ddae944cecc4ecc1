"""Image quality: each fault is found in an otherwise sound set, and what all images share is said once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from headstart.auditing.findings import Finding
from headstart.auditing.image_quality import image_quality
from headstart.imaging.appearance import Appearance, Ring
from headstart.imaging.facts import Examined, ImageFacts

RING = Ring((100.0,) * 16)
SOUND = Examined(
    ImageFacts("JPEG", "RGB", 320, 240, 1, channels=3, bits=8, is_grey=False),
    Appearance(20.0, 230.0, 0.0, 50.0, 0.6, 0.6, 4000.0, (120.0,) * 6, RING, RING),
    20_000,
    "JPEG RGB 900",
    "",
)


def _set(count: int = 60, **by_row: Examined) -> list[Examined]:
    """Sound images that differ a little, with others in their places."""
    rows = []
    for row in range(count):
        apart = (row % 11 - 5) / 5
        look = replace(
            SOUND.appearance, dark_end=20 + 10 * apart, bright_end=230 + 15 * apart, detail=0.6 + 0.2 * apart
        )
        rows.append(by_row.get(f"at_{row}", replace(SOUND, appearance=look)))
    return rows


def _found(examined: list[Examined]) -> list[Finding]:
    return list(image_quality([f"{row}.jpg" for row in range(len(examined))], examined))


def _looking(**changes: float | None) -> Examined:
    return replace(SOUND, appearance=replace(SOUND.appearance, **changes))


def _being(**changes: int | bool) -> Examined:
    return replace(SOUND, facts=replace(SOUND.facts, **changes))


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("blurred", _looking(detail=0.08, half_detail=0.09)),
        ("blurred", _looking(detail=0.5, half_detail=0.3, sharpness=12.0)),
        ("upscaled", _looking(detail=0.1, half_detail=0.4)),
        ("dark", _looking(bright_end=40.0, dark_end=1.0, sharpness=20.0)),
        ("overexposed", _looking(dark_end=180.0, bright_end=255.0, clipped=0.6)),
        ("tiny", _being(width=50, height=80)),
        ("near_constant", _looking(contrast=1.1, bright_end=30.0, detail=None, half_detail=None)),
        ("grey_among_colour", _being(is_grey=True)),
        ("exif_rotated", _being(orientation=6)),
    ],
)
def test_each_fault_is_found_once_and_nothing_else(kind: str, image: Examined) -> None:
    (found,) = _found(_set(at_7=image))
    assert (found.file, found.kind) == ("7.jpg", kind)
    assert found.evidence
    assert found.action


def test_sound_images_have_no_findings() -> None:
    assert _found(_set()) == []


def test_the_worst_of_a_kind_is_first() -> None:
    found = _found(_set(at_3=_looking(bright_end=45.0), at_5=_looking(bright_end=20.0)))
    assert [one.file for one in found] == ["5.jpg", "3.jpg"]


def test_what_many_images_share_is_said_once() -> None:
    tiny = [_being(width=32, height=32)] * 50
    (found,) = _found(tiny)
    assert (found.file, found.kind) == ("", "tiny")
    assert found.evidence.startswith("50 of 50 images are tiny, for example 0.jpg")


def test_white_paper_is_the_nature_of_drawings() -> None:
    drawings = [_looking(dark_end=float(120 + 4 * row), bright_end=255.0, clipped=0.9) for row in range(30)]
    assert _found(drawings) == []


def test_dark_scans_are_the_nature_of_scans() -> None:
    assert _found([_looking(dark_end=0.0, bright_end=float(45 + row % 9)) for row in range(30)]) == []


def test_smooth_scans_are_judged_among_themselves() -> None:
    scans = [_looking(detail=0.15 + 0.02 * (row % 10), half_detail=0.2) for row in range(50)]
    scans[0] = _looking(detail=0.14, half_detail=0.2)
    assert _found(scans) == []


def test_half_grey_data_have_no_strangers() -> None:
    assert _found([_being(is_grey=row % 2 == 0) for row in range(40)]) == []
    mostly_grey = [_being(is_grey=row > 0) for row in range(40)]
    assert [one.kind for one in _found(mostly_grey)] == ["colour_among_grey"]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_few_equal_images(count: int) -> None:
    assert _found([SOUND] * count) == []
    assert len(_found([_looking(contrast=0.0, detail=None, half_detail=None)] * count)) == min(count, 1)


def test_a_hundred_equal_images_of_every_fault_stay_one_line_each() -> None:
    image = replace(_looking(detail=0.08, half_detail=0.08, bright_end=20.0), facts=_being(orientation=3).facts)
    counts = Counter(one.kind for one in _found([image] * 100))
    assert counts == {"blurred": 1, "exif_rotated": 1}
