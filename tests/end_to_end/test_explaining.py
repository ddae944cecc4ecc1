"""``headstart explain`` as a user meets it: without torch, without a network, with bad input among good."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Headstart = Callable[..., Any]
pytestmark = pytest.mark.real


def test_a_prediction_is_explained_in_pictures_and_json(
    headstart: Headstart, digits: Path, digits_run: Path, tmp_path: Path
) -> None:
    spy = tmp_path / "spied.txt"
    quiet = {"HEADSTART_NO_TORCH": "1", "HEADSTART_SPY": str(spy)}
    good = [*sorted((digits / "8").iterdir())[:2], sorted((digits / "1").iterdir())[0]]
    notes = tmp_path / "notes.png"
    notes.write_text("no image")
    done = headstart("explain", digits_run, *good, notes, "--out", "out", "--neighbours", 2, **quiet)
    assert done.code == 1, done.err
    assert "1 of the images could not be decoded" in done.err
    assert "notes.png" in done.out
    assert "not decoded" in done.out
    out = tmp_path / "work" / "out"
    record = json.loads((out / "explanation.json").read_text())
    assert [one["label"] for one in record["images"]] == ["8", "8", "1", None]
    assert "not an image" in record["images"][3]["error"]
    for one, path in zip(record["images"], good, strict=False):
        assert one["map"] == f"{path.stem}-map.png"
        with Image.open(out / one["map"]) as picture:
            assert max(picture.size) == 32, "an 8-pixel image grows fourfold"
        assert [near["label"] for near in one["neighbours"]] == [one["label"]] * 2
        assert one["target"] == one["label"]
        assert 0 <= one["deletion"]["auc"] <= 1
        assert one["method"] == "class_activation"
    other = headstart("explain", digits_run, good[0], "--class", "1", "--json", **quiet)
    assert other.code == 0, other.err
    assert other.json["images"][0]["target"] == "1"
    assert other.json["images"][0]["logit"] < record["images"][0]["logit"]
    assert (tmp_path / "work" / "explanation" / "explanation.json").is_file()
    assert not spy.exists(), spy.read_text()


def test_errors_say_what_to_do(headstart: Headstart, digits: Path, digits_run: Path, tmp_path: Path) -> None:
    image = next((digits / "8").iterdir())
    unknown = headstart("explain", digits_run, image, "--class", "9")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "the model has no class '9': it knows 0, 1, 8" in unknown.err
    missing = headstart("explain", digits_run, tmp_path / "none.jpg")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "none.jpg: no such file or folder" in missing.err
    no_run = headstart("explain", tmp_path, image)
    assert no_run.code == 2
    assert "no run folder" in no_run.err


def test_a_model_without_its_run_is_explained_without_neighbours(
    headstart: Headstart, digits: Path, digits_run: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(digits_run / "model", tmp_path / "alone")
    done = headstart("explain", tmp_path / "alone", next((digits / "8").iterdir()), "--json")
    assert done.code == 0, done.err
    assert "without neighbours" in done.err
    assert done.json["images"][0]["neighbours"] == []
