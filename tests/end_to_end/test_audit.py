"""Auditing as a user does: what is found, where it is written, and how a leak stops a fit."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

Headstart = Callable[..., Any]
pytestmark = pytest.mark.real


COPIES = ("leak", "conflicting_labels", "near_duplicate")


def _copies(audit: dict[str, Any]) -> list[str]:
    """The kinds of those findings that are about copies."""
    return [finding["kind"] for finding in audit["findings"] if finding["kind"] in COPIES]


def _picture(seed: int, kind: str) -> Image.Image:
    """Clouds with edges; those of a kind are warmer or colder."""
    rng = np.random.default_rng(seed)
    layers = []
    for side in (4, 9, 20, 45):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        layers.append(np.asarray(noise.resize((160, 120), Image.Resampling.BICUBIC), float))
    tint = np.array([1.15, 1, 0.85]) if kind == "warm" else np.array([0.85, 1, 1.15])
    return Image.fromarray(np.clip(np.mean(layers, axis=0) * tint * 1.3 - 30, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20, one copy within each."""
    folder = tmp_path_factory.mktemp("pictures") / "clouds"
    for number in range(40):
        kind = "warm" if number % 2 else "cold"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        _picture(number, kind).save(folder / kind / f"{'abcdefghij'[number // 4]}{number}.png")
    for kind in ("warm", "cold"):
        first = min((folder / kind).iterdir())
        Image.open(first).crop((6, 4, 156, 118)).save(folder / kind / "zz.jpg", quality=70)
    return folder


@pytest.fixture
def leaking(pictures: Path, tmp_path: Path) -> Path:
    """The same with splits; the copies test."""
    folder = tmp_path / "leaking"
    for place, path in enumerate(sorted(pictures.rglob("*.*"))):
        split = "test" if path.stem == "zz" or place % 4 == 3 else "train"
        target = folder / split / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def test_an_audit_says_and_writes_what_it_finds(headstart: Headstart, leaking: Path, tmp_path: Path) -> None:
    before = sorted(path.read_bytes() for path in leaking.rglob("*.*"))
    done = headstart("audit", leaking, HEADSTART_NO_TORCH="1")
    assert done.code == 0, done.err
    assert "copies across splits: 2" in done.out
    assert "--fix-leaks" in done.out
    folder = tmp_path / "work" / "audit" / "leaking"
    found = json.loads((folder / "audit.json").read_text())
    assert _copies(found) == ["leak", "leak"]
    with (folder / "audit.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in COPIES]
    assert {(row["file"].split("/")[0], row["other"].split("/")[-1]) for row in rows} == {("train", "zz.jpg")}
    assert sorted(path.read_bytes() for path in leaking.rglob("*.*")) == before
    again = headstart("audit", leaking, "--json", "--out", tmp_path / "other")
    assert again.json == found
    assert json.loads((tmp_path / "other" / "audit.json").read_text()) == found
    assert "thumbnails" not in again.err


def test_a_leak_stops_a_fit_unless_it_is_allowed_or_mended(headstart: Headstart, leaking: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    refused = headstart("fit", leaking, "--out", "run")
    assert refused.code == 3
    assert "2 images have a copy in another split" in refused.err
    assert "--allow-leaks" in refused.err
    assert not (work / "run").exists()
    assert headstart("plan", leaking).code == 3

    allowed = headstart("fit", leaking, "--out", "allowed", "--allow-leaks")
    assert allowed.code == 0, allowed.err
    audit = json.loads((work / "allowed" / "audit.json").read_text())
    assert _copies(audit) == ["leak", "leak"]
    assert not audit["left_out"]

    mended = headstart("fit", leaking, "--out", "mended", "--fix-leaks")
    assert mended.code == 0, mended.err
    audit = json.loads((work / "mended" / "audit.json").read_text())
    assert [entry["kind"] for entry in audit["left_out"]] == ["leak", "leak"]
    assert all(entry["file"].startswith("train/") for entry in audit["left_out"])
    rows = {name: pq.read_table(work / name / "predictions.parquet").to_pandas() for name in ("allowed", "mended")}
    tested = {name: set(table[table.split == "test"].file) for name, table in rows.items()}
    assert tested["allowed"] == tested["mended"]
    assert len(rows["allowed"]) - len(rows["mended"]) == 2
    assert (work / "mended" / "audit.csv").is_file()

    both = headstart("fit", leaking, "--allow-leaks", "--fix-leaks")
    assert both.code == 2
    assert "give one of them" in both.err


def test_splits_that_we_make_keep_copies_together(headstart: Headstart, pictures: Path, tmp_path: Path) -> None:
    for seed in range(2):
        done = headstart("fit", pictures, "--test", "0.4", "--seed", seed, "--out", f"run{seed}")
        assert done.code == 0, done.err
        folder = tmp_path / "work" / f"run{seed}"
        table = pq.read_table(folder / "predictions.parquet").to_pandas()
        split = dict(zip(table.file, table.split, strict=True))
        findings = json.loads((folder / "audit.json").read_text())["findings"]
        pairs = [(one["file"], one["other"]) for one in findings if one["kind"] == "near_duplicate"]
        assert len(pairs) == 2
        for first, second in pairs:
            assert split[first] == split[second]
    grouped = headstart("fit", pictures, "--test", "0.4", "--group-by", "/([a-j])", "--json")
    assert grouped.code == 0, grouped.err
    assert grouped.json["splits"]["test"]["groups"] <= 10


def test_one_image_and_damaged_ones_are_no_trouble(headstart: Headstart, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(pictures, folder)
    (folder / "lone").mkdir()
    _picture(99, "warm").save(folder / "lone" / "only.png")
    (folder / "cold" / "broken.png").write_bytes((folder / "cold" / "a0.png").read_bytes()[:900])
    done = headstart("audit", folder, "--json")
    assert done.code == 0, done.err
    assert {entry["kind"] for entry in done.json["left_out"]} == {"undecodable"}
    assert _copies(done.json) == ["near_duplicate", "near_duplicate"]
    assert {one["file"] for one in done.json["findings"] if one["kind"] == "undecodable"} == {"cold/broken.png"}
