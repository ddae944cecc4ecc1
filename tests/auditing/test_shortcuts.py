"""Shortcuts: a class that one cue gives away is found, chance is not, and what odd data have does no harm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headstart.auditing.cues import binned, named
from headstart.auditing.findings import Finding
from headstart.auditing.shortcuts import shortcuts
from headstart.imaging.appearance import Appearance, Ring
from headstart.imaging.facts import Examined, ImageFacts

CLASSES = ("ants", "bees", "flies")


def _images(count: int = 240, seed: int = 0) -> list[Examined]:
    """Images that differ at random in everything that a cue could be."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        width, height = int(rng.integers(200, 400)), int(rng.integers(200, 400))
        rings = [Ring(tuple(rng.uniform(0, 255, 16).tolist())) for _ in range(2)]
        colour = tuple(rng.uniform(0, 255, 6).tolist())
        facts = ImageFacts("JPEG", "RGB", width, height, 1, 3, 8, is_grey=False)
        look = Appearance(20.0, 230.0, 0.0, 50.0, 0.6, 0.6, 4000.0, colour, *rings)
        encoding = f"JPEG RGB {rng.choice([500, 900])}"
        found.append(Examined(facts, look, int(rng.integers(9000, 30000)), encoding, str(rng.choice(["", "Acme"]))))
    return found


TARGETS = np.arange(240) % 3
OWNERS = np.arange(240)


def _model(targets: np.ndarray, accuracy: float = 0.9, classes: int = 3) -> np.ndarray:
    rng = np.random.default_rng(1)
    said = np.where(rng.random(len(targets)) < accuracy, targets, rng.integers(0, classes, len(targets)))
    return 0.1 / classes + 0.9 * np.eye(classes)[said]


def _found(images: list[Examined], targets: np.ndarray = TARGETS, **options: np.ndarray) -> tuple[Finding, ...]:
    owners = options.get("owners", np.arange(len(images)))
    model = options["model"] if "model" in options else _model(targets)
    return shortcuts(images, CLASSES, targets, owners, model)


def _with(image: Examined, kind: str) -> Examined:
    """The image with what gives it away."""
    look, facts = image.appearance, image.facts
    if kind == "size":
        return replace(image, facts=replace(facts, width=512, height=384))
    if kind == "file_size":
        return replace(image, bytes=image.bytes + 40_000)
    if kind == "encoding":
        return replace(image, encoding="PNG RGB")
    if kind == "camera":
        return replace(image, camera="Zenith")
    ring = Ring((200.0, 30.0, 40.0, 0.0) * 4)
    if kind == "border":
        return replace(image, appearance=replace(look, border=ring))
    if kind == "both rings":
        return replace(image, appearance=replace(look, border=ring, inside=ring))
    return replace(image, appearance=replace(look, colour=(200.0, 30.0, 40.0, 9.0, 9.0, 9.0)))


def _planted(kind: str, share: float = 0.95) -> list[Examined]:
    rng = np.random.default_rng(2)
    return [
        _with(image, kind) if label == 1 and rng.random() < share else image
        for image, label in zip(_images(), TARGETS, strict=True)
    ]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("size", "the image size alone tells bees"),
        ("file_size", "the file size alone tells bees"),
        ("encoding", "the file format and compression alone tells bees"),
        ("camera", "the camera data in EXIF alone tells bees"),
        ("border", "the border alone tells bees"),
    ],
)
def test_a_shortcut_of_one_class_is_found(kind: str, said: str) -> None:
    (found,) = _found(_planted(kind))
    assert (found.file, found.kind) == ("", "shortcut")
    assert found.evidence.startswith(said)
    assert "guessing tells 50 %" in found.evidence
    assert found.score is not None
    assert 0.5 <= found.score <= 1


def test_colour_is_a_note() -> None:
    (found,) = _found(_planted("colour"))
    assert found.kind == "colour_tells"


def test_a_border_that_goes_on_inside_is_no_shortcut() -> None:
    assert _found(_planted("both rings")) == ()


def test_chance_is_no_shortcut() -> None:
    for seed in range(5):
        assert _found(_images(seed=seed)) == ()


def test_a_weak_hint_from_the_picture_is_no_shortcut_where_the_model_knows_better() -> None:
    hinted = _planted("file_size", share=0.7)
    assert _found(hinted, model=_model(TARGETS, accuracy=1.0)) == ()
    assert _found(hinted, model=_model(TARGETS, accuracy=0.6))


def test_one_group_is_no_evidence() -> None:
    """All images of the class with the mark come from four videos: so may the mark."""
    owners = np.where(TARGETS == 1, OWNERS % 4 + 1000, OWNERS)
    assert _found(_planted("camera"), owners=owners) == ()


def test_several_labels() -> None:
    targets = np.column_stack([TARGETS == 1, TARGETS != 0, TARGETS == 2])
    (found,) = _found(_planted("camera"), targets=targets, model=np.where(targets, 0.9, 0.1))
    assert "tells ants from" in found.evidence


@pytest.mark.parametrize("a_class", [1, 2, 3])
def test_a_few_images_are_no_evidence(a_class: int) -> None:
    targets = np.repeat(np.arange(3), a_class)
    images = [_with(image, "size") if label == 1 else image for image, label in zip(_images(9), targets, strict=False)]
    assert _found(images[: len(targets)], targets=targets) == ()


def test_an_empty_class_and_equal_images() -> None:
    targets = np.arange(240) % 2
    assert _found([_images(1)[0]] * 240, targets=targets, model=_model(targets)) == ()
    marked = [_with(image, "camera") if label else image for image, label in zip(_images(), targets, strict=True)]
    (found,) = _found(marked, targets=targets, model=_model(targets))
    assert "flies" not in found.evidence


def test_a_thousand_classes_of_three() -> None:
    targets = np.repeat(np.arange(1000), 3)
    images = _images(60) * 50
    found = shortcuts(images, [str(c) for c in range(1000)], targets, np.arange(3000), _model(targets, classes=1000))
    assert found == ()


def test_rows_without_a_prediction_take_no_part() -> None:
    assert _found(_planted("size"), model=np.full((240, 3), np.nan)) == ()


def test_bins_and_words() -> None:
    assert binned([[1.0], [1.0]]).shape == (2, 0)
    assert binned([[1.0, 5.0], [2.0, 5.0], [1.0, 5.0]]).tolist() == [[1, 0], [0, 1], [1, 0]]
    octiles = binned(np.arange(100.0)[:, None])
    assert octiles.shape == (100, 8)
    assert set(octiles.sum(0)) <= {12, 13}
    assert (binned(np.random.default_rng(0).normal(size=(50, 3))).sum(1) == 3).all()
    assert named(["a", "a"]).shape == (2, 0)
    assert named(["a", "b", "a"]).sum(0).tolist() == [2, 1]
    many = named([f"{number}" for number in range(50)])
    assert many.shape == (50, 21)
    assert (many.sum(1) == 1).all()
