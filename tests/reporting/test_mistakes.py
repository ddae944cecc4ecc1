"""The surest mistakes come first, and a picture that is gone costs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.reporting.evidence import Labels, Predictions
from headstart.reporting.illustrations import Illustration, Illustrations, Near, Wanted, without
from headstart.reporting.mistakes import Mistakes, surest_mistakes
from headstart.reporting.pictures import SIDE, Pictures, Read, thumbnail
from headstart.reporting.reliability import measure_reliability

CLASSES = ("ants", "bees")


def rows(truth: Sequence[Labels], predicted: Sequence[Labels], confidence: list[float]) -> Predictions:
    files = tuple(f"{i}.jpg" for i in range(len(truth)))
    chances = np.stack([1 - np.array(confidence), np.array(confidence)], axis=1)
    return Predictions("test", files, files, tuple(truth), tuple(predicted), np.array(confidence), chances)


def missing(image: str) -> bytes:
    raise ImageError(f"{image}: gone")


def shown(table: Predictions, read: Read = missing, most: int = 12) -> Mistakes:
    return surest_mistakes(table, CLASSES, Pictures(read), without("no model"), most)


def test_only_wrong_rows_are_shown_the_surest_first() -> None:
    table = rows([("ants",)] * 4, [("bees",), ("ants",), ("bees",), ("bees",)], [0.6, 0.99, 0.9, float("nan")])
    found = shown(table)
    assert [mistake.file for mistake in found.shown] == ["2.jpg", "0.jpg", "3.jpg"]
    assert (found.count, found.images) == (3, 4)
    first = found.shown[0]
    assert (first.truth, first.predicted, first.confidence, first.chance_of_truth) == ("ants", "bees", "90.0%", "10.0%")


def test_no_more_pictures_are_read_than_are_shown() -> None:
    asked = []

    def read(image: str) -> bytes:
        asked.append(image)
        return missing(image)

    table = rows([("ants",)] * 50, [("bees",)] * 50, [0.5 + i / 200 for i in range(50)])
    found = shown(table, read, most=5)
    assert asked == ["49.jpg", "48.jpg", "47.jpg", "46.jpg", "45.jpg"]
    assert found.count == 50


def test_the_order_of_labels_does_not_make_a_mistake() -> None:
    table = rows([("ants", "bees"), (), ("ants",)], [("bees", "ants"), (), ()], [0.9, 0.9, 0.7])
    found = shown(table)
    assert [(mistake.truth, mistake.predicted, mistake.picture) for mistake in found.shown] == [("ants", "none", None)]


@pytest.mark.parametrize("size", [(640, 480), (30, 20), (3000, 2)])
def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(size: tuple[int, int]) -> None:
    buffer = BytesIO()
    Image.new("RGBA", size, (200, 30, 30, 128)).save(buffer, "PNG")
    head, _, data = thumbnail(buffer.getvalue(), "red.png").partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(BytesIO(base64.b64decode(data)))
    assert picture.format == "JPEG"
    assert max(picture.size) <= SIDE
    assert max(picture.size) == min(SIDE, max(size))


def test_a_file_that_is_no_image_has_no_picture() -> None:
    table = rows([("ants",)], [("bees",)], [0.9])
    assert shown(table, lambda _: b"text").shown[0].picture is None


def picture(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def test_each_mistake_is_illustrated_for_the_class_that_was_answered() -> None:
    asked: list[Wanted] = []

    def illustrate(wanted: Sequence[Wanted]) -> Illustrations:
        asked.extend(wanted)
        near = (Near("t/1.jpg", "t1", ("bees",), 0.912), Near("t/2.jpg", "t2", ("ants",), 0.5))
        return Illustrations(tuple(Illustration(one.target, f"map of {one.image}", near) for one in wanted))

    table = rows([("ants",), ("ants",), ("ants", "bees")], [("bees",), ("ants",), ("ants",)], [0.9, 0.9, 0.6])
    found = surest_mistakes(table, CLASSES, Pictures(lambda _: picture()), illustrate)
    assert asked == [Wanted("0.jpg", "bees"), Wanted("2.jpg", "bees")], "what was answered; else what was missed"
    first = found.shown[0]
    assert (first.map, first.target) == ("map of 0.jpg", "bees")
    assert [(one.label, one.likeness, one.supports) for one in first.neighbours] == [
        ("bees", "0.91", True),
        ("ants", "0.50", False),
    ]
    assert found.mapped
    assert found.compared


def test_why_there_are_no_maps_is_said_only_where_there_are_mistakes() -> None:
    assert shown(rows([("ants",)], [("bees",)], [0.9])).note == "no model"
    assert shown(rows([("ants",)], [("ants",)], [0.9])).note == ""


def test_a_picture_is_read_once_and_the_room_is_kept() -> None:
    asked = []

    def read(image: str) -> bytes:
        asked.append(image)
        return picture()

    one = len(thumbnail(picture(), "a"))
    pictures = Pictures(read, room=2 * one)
    assert [pictures("a", "a") is None for _ in range(3)] == [False, False, True]
    assert asked == ["a"]
    assert pictures.full


def test_reliability_counts_every_row_once() -> None:
    confidence = [0.55] * 10 + [0.95] * 20 + [1.0]
    table = rows([("ants",)] * 31, [("ants",)] * 25 + [("bees",)] * 6, confidence)
    found = measure_reliability(table, CLASSES, multilabel=False)
    assert found is not None
    assert [(b.count, round(b.hit_rate, 3)) for b in found.bins] == [(10, 1.0), (21, 0.714)]
    assert found.claims == 31
    assert found.hit_rate == pytest.approx(25 / 31)
    for b in found.bins:
        assert b.start <= b.confidence <= b.start + b.width + 1e-9
        assert b.low <= b.hit_rate <= b.high


def test_reliability_of_labels_asks_about_every_label() -> None:
    table = rows([("bees",)] * 20, [("bees",)] * 20, [0.9] * 20)
    found = measure_reliability(table, CLASSES, multilabel=True)
    assert found is not None
    assert found.claims == 40
    assert [(b.count, b.hit_rate) for b in found.bins] == [(20, 0.0), (20, 1.0)]


def test_few_rows_have_no_reliability() -> None:
    assert measure_reliability(rows([("ants",)], [("ants",)], [0.9]), CLASSES, multilabel=False) is None
