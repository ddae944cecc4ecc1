"""Findings of the classes and of the whole data set: balance, names, crops, broken files."""

from __future__ import annotations

import pytest

from headstart.auditing.broken_files import broken_files
from headstart.auditing.centre_crop import centre_crop
from headstart.auditing.class_balance import class_balance
from headstart.auditing.class_names import class_names
from headstart.data import LeftOut
from headstart.imaging import Preprocessing
from headstart.imaging.facts import ImageFacts

VIEW = Preprocessing(size=224, crop=0.875, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")


def _kinds(counts: dict[str, int]) -> list[str]:
    return [found.kind for found in class_balance(counts)]


def test_balance() -> None:
    assert _kinds({"a": 100, "b": 120}) == []
    assert _kinds({"a": 100, "b": 300}) == ["imbalance"]
    assert _kinds({"a": 19, "b": 20}) == ["few_images"]
    assert _kinds({"a": 2, "b": 2}) == ["few_images"]
    assert _kinds({"a": 0, "b": 50, "c": 50}) == ["empty_class"]
    assert _kinds({"a": 0, "b": 0}) == ["empty_class"]
    assert _kinds({}) == []


def test_a_thousand_small_classes_are_one_line() -> None:
    (found,) = class_balance({f"class {number:04}": 3 for number in range(1000)})
    assert found.evidence.startswith("every class has fewer than 20 images: class 0000 (3)")
    assert found.evidence.endswith("and 995 more")


def test_the_smallest_and_largest_are_named() -> None:
    found = class_balance({"cat": 30, "dog": 300, "emu": 90})[0]
    assert found.evidence == "dog has 300 images, cat has 30: 10.0 times as many"
    assert found.score == 10


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("Cat", "cat", "case"),
        ("sun flower", "Sun_Flower", "case, space"),
        ("café", "cafe", "accents"),
        ("cat", "cats", "plural"),
        ("cherry", "Cherries", "plural"),
        ("box", "boxes", "plural"),
        ("dandelion", "dandelon", "slip"),
        ("daisy", "dasiy", "slip"),
        ("sunflower", "sunflover", "slip"),
    ],
)
def test_one_name_in_two_spellings(one: str, other: str, reason: str) -> None:
    (found,) = class_names({one: 3, other: 40})
    assert reason in found.evidence
    assert f"{one!r} (3" in found.evidence
    assert f"{other!r} (40" in found.evidence


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "rat", "bat"),
        ("castle", "cattle"),
        ("type 1", "type 2"),
        ("grade 10", "grade 100"),
        ("stage IIa", "stage IIb"),
        ("glass", "gla"),
        ("virus", "viru"),
        ("male", "female"),
        ("猫", "犬"),
        ("-", "+"),
        ("a",),
        (),
    ],
)
def test_names_that_are_different(names: tuple[str, ...]) -> None:
    assert class_names(dict.fromkeys(names, 5)) == ()


def test_thousands_of_numbered_names_take_no_time() -> None:
    assert class_names({f"product {number:05}": 3 for number in range(3000)}) == ()


def _facts(*sizes: tuple[int, int]) -> list[ImageFacts]:
    return [ImageFacts("JPEG", "RGB", width, height, 1, 3, 8, is_grey=False) for width, height in sizes]


def _crops(view: Preprocessing, *sizes: tuple[int, int]) -> list[tuple[str, float | None]]:
    names = [str(number) for number in range(len(sizes))]
    return [(found.file, found.score) for found in centre_crop(names, _facts(*sizes), view)]


def test_long_images_are_named_the_longest_first() -> None:
    usual = [(320, 240), (320, 213), (160, 90)] * 20
    assert _crops(VIEW, *usual) == []
    assert _crops(VIEW, *usual, (300, 100), (100, 500)) == [("61", 0.8), ("60", 0.6667)]


def test_where_many_are_long_they_are_one_finding() -> None:
    (found,) = centre_crop(["a", "b", "c"], _facts((900, 100), (500, 100), (100, 100)), VIEW)
    assert found.file == ""
    assert found.evidence.startswith(
        "of 2 of 3 images the crop to a square leaves out more than half, up to 89% (a, 900"
    )


def test_weights_that_squash_lose_nothing() -> None:
    squashing = Preprocessing(
        size=224, crop=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", aspect="squash"
    )
    assert _crops(squashing, (900, 100)) == []
    assert centre_crop([], [], VIEW) == ()


def test_broken_files_are_findings_and_duplicates_are_not() -> None:
    left_out = (
        LeftOut("a/1.jpg", "undecodable", "truncated"),
        LeftOut("a/2.jpg", "duplicate", "of a/3.jpg"),
        LeftOut("a/4.jpg", "unreadable", "permission denied"),
    )
    found = broken_files(left_out)
    assert [(one.file, one.kind, one.evidence) for one in found] == [
        ("a/1.jpg", "undecodable", "truncated"),
        ("a/4.jpg", "unreadable", "permission denied"),
    ]
