"""The nearest training images: from the store, computed again where it has lost them, never the image itself."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headstart
from headstart.errors import RunError
from headstart.explaining.neighbours import TrainingImages
from headstart.features.cache import clear_cache

HASHES = [f"{number:064x}" for number in range(6)]


def made(labels: tuple[str, ...] = ("a", "b", "a", "b", "c", "c")) -> TrainingImages:
    angles = np.array([0.0, 10.0, 20.0, 90.0, 180.0, 180.0]) * np.pi / 180
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    names = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    return TrainingImages(names, [f"/data/{name}" for name in names], labels, HASHES, units)


def test_the_nearest_come_first_with_their_labels() -> None:
    found = made().nearest(np.array([[3.0, 0.1], [0.0, -2.0]], np.float32), ["f" * 64, "e" * 64], 3)
    assert [one.file for one in found[0]] == ["a/0.jpg", "b/1.jpg", "a/2.jpg"]
    assert [one.label for one in found[0]] == ["a", "b", "a"]
    assert found[0][0].image == "/data/a/0.jpg"
    assert found[0][0].similarity == pytest.approx(3 / np.hypot(3, 0.1), abs=1e-5)
    assert found[1][0].similarity == pytest.approx(0, abs=1e-5)


def test_an_image_is_not_its_own_neighbour() -> None:
    found = made().nearest(np.array([[1.0, 0.0]], np.float32), [HASHES[0]], 6)
    assert [one.file for one in found[0]] == ["b/1.jpg", "a/2.jpg", "b/3.jpg", "c/4.jpg", "c/5.jpg"]


def test_no_neighbours_wanted_or_no_images_give_none() -> None:
    assert made().nearest(np.zeros((1, 2), np.float32), [HASHES[0]], 0) == [()]
    assert made().nearest(np.zeros((0, 2), np.float32), [], 5) == []


@pytest.fixture
def run(digits_run: Path, warm_cache: Path, tmp_path: Path, warm: None) -> Path:
    """A copy of the run on the digits, to be damaged, with a copy of its cache."""
    shutil.copytree(digits_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.real
def test_a_run_knows_its_training_images_and_the_store_their_features(run: Path, digits: Path) -> None:
    model = headstart.open(run)
    training = TrainingImages.of_run(run, model)
    test = set(pq.read_table(run / "predictions.parquet", filters=[("split", "=", "test")])["file"].to_pylist())
    assert len(training.files) == 240
    assert not test & set(training.files)
    images = [digits / name for name in sorted(test)[::6]]
    rows = model.embed(images)
    found = training.nearest(rows, ["f" * 64] * len(images), 5)
    agree = [near[0].label == path.parent.name for near, path in zip(found, images, strict=True)]
    assert np.mean(agree) > 0.9
    at_model = TrainingImages.of_run(run / "model", model)  # the model's folder leads there too
    np.testing.assert_array_equal(at_model.units, training.units)


@pytest.mark.real
def test_what_the_store_lost_is_computed_again_and_what_changed_is_left_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None
) -> None:
    model = headstart.open(run)
    before = TrainingImages.of_run(run, model)
    table = pq.read_table(run / "training.parquet").slice(0, 12)
    copies = []
    for number, path in enumerate(table["image"].to_pylist()):
        copies.append(str(shutil.copy(path, tmp_path / f"{number}.png")))
    Path(copies[3]).unlink()
    Path(copies[5]).write_bytes(Path(copies[6]).read_bytes())
    archive = tmp_path / "some.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(copies[0], "first.png")
    copies[0] = f"zip://{archive}!first.png"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(copies)), run / "training.parquet")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    said: list[str] = []
    after = TrainingImages.of_run(run, model, say=said.append)
    kept = [number for number in range(12) if number not in (3, 5)]
    assert after.files == [before.files[number] for number in kept]
    np.testing.assert_array_equal(after.units, before.units[kept])
    assert said == [f"2 training images are not there any more, for example {copies[3]}"]


Damage = Callable[[Path], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing": (lambda path: path.unlink(), "does not say what it was trained on"),
    "no Parquet": (lambda path: path.write_bytes(b"PAR1 or so"), "can't be read"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "can't be read"),
    "other columns": (lambda path: pq.write_table(pa.table({"file": ["a"]}), path), "not the table"),
    "numbers": (
        lambda path: pq.write_table(pa.table({"file": [1], "image": ["a"], "label": ["a"], "hash": ["a"]}), path),
        "not the table",
    ),
    "no hashes": (
        lambda path: pq.write_table(pa.table({name: ["a"] for name in ("file", "image", "label", "hash")}), path),
        "not the table",
    ),
}


@pytest.mark.real
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_named(run: Path, damage: str) -> None:
    change, reason = DAMAGES[damage]
    change(run / "training.parquet")
    with pytest.raises(RunError, match=reason):
        TrainingImages.of_run(run, headstart.open(run))


@pytest.mark.real
def test_when_all_images_and_features_are_gone_it_says_so(run: Path, tmp_path: Path, own_cache: None) -> None:
    model = headstart.open(run)
    table = pq.read_table(run / "training.parquet")
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(["/gone/x.png"] * len(table))), run / "training.parquet")
    model.predict(np.zeros((8, 8), np.uint8))  # compiled before the cache goes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
        clear_cache(print)
        with pytest.raises(RunError, match="none of its training images is there any more"):
            TrainingImages.of_run(run, model)
