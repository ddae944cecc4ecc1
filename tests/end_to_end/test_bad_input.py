"""Bad input at the command line: exit code 2, one or two lines that name the value and the way out, no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Headstart = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with twelve images each."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = (level + rng.integers(-40, 40, (40, 40, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def _refused(done: Any, *words: str) -> None:
    assert done.code == 2, (done.code, done.out, done.err)
    assert "Traceback" not in done.err
    said = done.err.strip().splitlines()
    assert 1 <= len([line for line in said if line.startswith("headstart:")]) <= 2, done.err
    for word in words:
        assert word in done.err, f"{word!r} not in {done.err!r}"


def test_an_empty_folder(headstart: Headstart, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    _refused(headstart("fit", tmp_path / "void"), "void")
    _refused(headstart("fit", tmp_path / "absent"), "absent")
    assert not list((tmp_path / "work").iterdir()), "a refused command leaves a run folder behind"


def test_a_single_class(headstart: Headstart, folder: Path) -> None:
    shutil.rmtree(folder / "dark")
    _refused(headstart("fit", folder), "light")


def test_class_names_that_differ_only_in_case(headstart: Headstart, folder: Path) -> None:
    shutil.copytree(folder / "dark", folder / "Dark")
    _refused(headstart("fit", folder), "Dark", "dark")


def test_a_class_with_one_image_is_kept_and_said(headstart: Headstart, folder: Path) -> None:
    (folder / "lone").mkdir()
    Image.new("RGB", (40, 40), "red").save(folder / "lone" / "0.png")
    done = headstart("fit", folder, "--json", "--out", "run")
    assert done.code == 0, done.err
    assert done.json["classes"] == ["dark", "light", "lone"]
    notes = json.loads((folder.parent / "work" / "run" / "audit.json").read_text())["notes"]
    assert any("lone" in note for note in notes)


def test_broken_files_are_left_out_and_listed(headstart: Headstart, folder: Path) -> None:
    (folder / "dark" / "zero.jpg").touch()
    (folder / "dark" / "text.jpg").write_text("not an image")
    whole = (folder / "light" / "0.png").read_bytes()
    (folder / "light" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "light" / "bomb.png").write_bytes(_png_that_claims(40_000, 40_000))
    done = headstart("fit", folder, "--json", "--out", "run")
    assert done.code == 0, done.err
    assert done.json["left_out"] == 4
    left_out = json.loads((folder.parent / "work" / "run" / "audit.json").read_text())["left_out"]
    assert {Path(entry["file"]).name for entry in left_out} == {"zero.jpg", "text.jpg", "cut.png", "bomb.png"}
    assert any("40000" in entry["reason"].replace(",", "") for entry in left_out)


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def test_mostly_broken_files_are_an_error(headstart: Headstart, folder: Path) -> None:
    for number in range(30):
        (folder / "dark" / f"broken{number}.jpg").write_text(f"not an image {number}")
    _refused(headstart("fit", folder), "30", "broken")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.png,x\n", ("image", "file")),
        ("image,label\ndark/0.png,x\nabsent.png,y\n", ("absent.png",)),
        ("image,label\ndark/0.png,x\ndark/1.png,\nlight/1.png,y\n", ("label",)),
        ("image,label\n", ("table.csv",)),
        ("image,label,split\ndark/0.png,x,holdout\nlight/0.png,y,train\n", ("holdout",)),
    ],
)
def test_bad_tables(headstart: Headstart, folder: Path, text: str, words: tuple[str, ...]) -> None:
    (folder / "table.csv").write_text(text)
    _refused(headstart("fit", folder / "table.csv"), *words)


def test_duplicate_and_conflicting_rows_are_left_out_and_listed(headstart: Headstart, folder: Path) -> None:
    rows = [f"{name}/{number}.png,{name}" for name in ("dark", "light") for number in range(12)]
    shutil.copy(folder / "dark" / "5.png", folder / "light" / "copy.png")
    text = "\n".join(["image,label", *rows, "dark/0.png,dark", "light/copy.png,light"])
    (folder / "table.csv").write_text(text)
    done = headstart("fit", folder / "table.csv", "--json", "--out", "run")
    assert done.code == 0, done.err
    left_out = json.loads((folder.parent / "work" / "run" / "audit.json").read_text())["left_out"]
    kinds = sorted((Path(entry["file"]).name, entry["kind"]) for entry in left_out)
    assert kinds == [("0.png", "duplicate"), ("5.png", "conflict"), ("copy.png", "conflict")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backbone", "lite7"), ("lite7", "tf_efficientnet_lite")),
        (("--strategy", "magic"), ("magic", "linear_probe")),
        (("--test", "1.5"), ("1.5",)),
        (("--test", "nosuch"), ("nosuch",)),
        (("--backbone", "file/nowhere"), ("nowhere",)),
        (("--backbone", "timm/resnet18", "--offline"), ("timm/resnet18", "bundled/tf_efficientnet_lite0")),
    ],
)
def test_bad_options(headstart: Headstart, folder: Path, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    if options[1].startswith(("timm/", "file/")):
        pytest.importorskip("timm")
    _refused(headstart("fit", folder, *options), *words)


def test_a_torch_backbone_without_torch_names_the_extra(headstart: Headstart, folder: Path) -> None:
    _refused(headstart("fit", folder, "--backbone", "timm/resnet18", HEADSTART_NO_TORCH="1"), "headstart[train]")


def test_out_onto_a_folder_that_is_not_empty(headstart: Headstart, folder: Path) -> None:
    _refused(headstart("fit", folder, "--out", folder), str(folder))
    assert len(list(folder.rglob("*.png"))) == 24


def test_a_corrupt_store_is_rebuilt_and_said_once_a_kind(headstart: Headstart, folder: Path, tmp_path: Path) -> None:
    first = headstart("fit", folder, "--json")
    segments = list((tmp_path / "cache" / "features").rglob("*.npy"))
    assert segments
    for segment in segments:
        data = bytearray(segment.read_bytes())
        data[-7] ^= 255
        segment.write_bytes(data)
    second = headstart("fit", folder, "--json")
    assert second.code == 0, second.err
    assert second.json["splits"] == first.json["splits"]
    kinds = {segment.parent for segment in segments}  # of rows: features, thumbnails
    said = sum("damaged" in line or "corrupt" in line for line in second.err.splitlines())
    assert said == len(kinds) == 2, second.err


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs to mount a small file system")
def test_a_full_disk(headstart: Headstart, folder: Path, tmp_path: Path) -> None:
    """A file system of 64 kB for the cache, and another for the run."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        _refused(headstart("fit", folder, HEADSTART_CACHE=str(small)), str(small))
        _refused(headstart("fit", folder, "--out", small / "run"), str(small))
        assert not (small / "run" / "model").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
def run(headstart: Headstart, folder: Path, tmp_path: Path) -> Path:
    assert headstart("fit", folder, "--out", "run").code == 0
    return tmp_path / "work" / "run"


def test_a_damaged_model_is_refused(headstart: Headstart, folder: Path, run: Path) -> None:
    image = folder / "dark" / "0.png"
    record, tensors = run / "model" / "model.json", run / "model" / "model.safetensors"
    text, data = record.read_text(), tensors.read_bytes()

    record.write_text(text.replace('"temperature": ', '"temperature": 1'))
    _refused(headstart("predict", run, image), "model.json", "hash")
    record.write_text(re.sub('"format": [0-9]+', '"format": 99', text))
    _refused(headstart("predict", run, image), "99", "pip install -U headstart")
    record.write_text("{")
    _refused(headstart("predict", run, image), "model.json")
    record.unlink()
    _refused(headstart("predict", run, image), "model.json")
    record.write_text(text)

    tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    _refused(headstart("predict", run, image), "model.safetensors", "hash")
    tensors.unlink()
    _refused(headstart("predict", run, image), "model.safetensors")
    tensors.write_bytes(data)
    assert headstart("predict", run, image).code == 0


def test_prediction_of_bad_images_lists_them_and_goes_on(headstart: Headstart, folder: Path, run: Path) -> None:
    (folder / "dark" / "text.jpg").write_text("not an image")
    done = headstart("predict", run, folder / "dark", "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [Path(row["file"]).name for row in rows if row["error"]] == ["text.jpg"]
    assert sum(row["label"] == "dark" for row in rows) >= 11
    _refused(headstart("predict", run, folder, "--max-error", "0.0001"), "0.0001")
    _refused(headstart("predict", folder, folder), str(folder))


def test_evaluation_on_unknown_classes_is_refused(headstart: Headstart, folder: Path, run: Path) -> None:
    (folder / "dark").rename(folder / "night")
    _refused(headstart("evaluate", run, folder), "night")


def test_debug_shows_the_traceback(headstart: Headstart, tmp_path: Path) -> None:
    done = headstart("fit", tmp_path / "absent", "--debug")
    assert done.code != 0
    assert "Traceback" in done.err
