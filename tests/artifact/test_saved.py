"""A saved model comes back to the bit, and whatever is missing, altered or newer is refused with its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from headstart import files
from headstart.artifact.saved import (
    FORMAT,
    Evidence,
    ModelRecord,
    SavedModel,
    image_marks,
    read_model,
    write_model,
)
from headstart.errors import ArtifactError, StorageError
from headstart.evaluation.abstention import AbstainRule
from headstart.features.engine import EngineIdentity
from headstart.imaging import Preprocessing
from headstart.training.linear import LinearModel
from headstart.training.novelty import NoveltyReference

MEAN = (0.5, 0.5, 0.5)


@pytest.fixture
def model() -> SavedModel:
    rng = np.random.default_rng(0)
    record = ModelRecord(
        format=FORMAT,
        headstart="0.1.0",
        task="classification",
        strategy="linear_probe",
        metric="accuracy",
        backbone="bundled/tf_efficientnet_lite0",
        weights_sha256="0" * 64,
        licence="Apache-2.0",
        preprocessing=Preprocessing(size=224, crop=0.875, interpolation="bicubic", mean=MEAN, std=MEAN),
        stages=9,
        cut=9,
        outputs=("features",),
        classes=("ünï", "b|c", ""),
        temperature=1.0 / 3.0,
        thresholds=None,
        abstain=AbstainRule(0.9, 0.05, 0.95, 0.5, 1, 100, 0.047),
        novelty_threshold=0.1,
        novelty_neighbour=1,
        novelty_quantile=0.95,
        engine=EngineIdentity("openvino", "2025.0", "bf16", "cpu"),
        versions={"numpy": "2.0"},
        seed=3,
    )
    head = LinearModel(rng.normal(size=(8, 3)), rng.normal(size=3), "softmax")
    novelty = NoveltyReference(rng.normal(size=(5, 8)).astype(np.float16), 0.1, 1, 0.95)
    return SavedModel(
        record,
        head,
        novelty,
        Evidence(rng.random(10), rng.random(10) < 0.5, image_marks([files.sha256(b"a"), files.sha256(b"b")])),
    )


@pytest.fixture
def folder(model: SavedModel, tmp_path: Path) -> Path:
    write_model(tmp_path / "model", model)
    return tmp_path / "model"


def _reseal(folder: Path, **changes: Any) -> None:
    """Change the record and give it a right hash, as a forger could."""
    plain = {**json.loads((folder / "model.json").read_bytes()), **changes}
    plain.pop("sha256")
    digest = files.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode())
    (folder / "model.json").write_text(json.dumps({**plain, "sha256": digest}))


def _reseal_tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    change(tensors)
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    _reseal(folder, tensors_sha256=files.sha256(data))


def test_a_model_comes_back_to_the_bit(model: SavedModel, folder: Path) -> None:
    found = read_model(folder)
    assert dataclasses.replace(found.record, tensors_sha256="") == model.record
    assert found.record.tensors_sha256 == files.sha256_of(folder / "model.safetensors")
    assert found.head.kind == "softmax"
    for one, other in (
        (found.head.weights, model.head.weights),
        (found.head.bias, model.head.bias),
        (found.novelty.features, model.novelty.features),
        (found.evidence.confidence, model.evidence.confidence),
        (found.evidence.correct, model.evidence.correct),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("thresholds", [None, (2.4, 1 / 3, 0.1)])
def test_thresholds_come_back_to_the_bit(
    model: SavedModel, tmp_path: Path, thresholds: tuple[float, ...] | None
) -> None:
    record = dataclasses.replace(model.record, thresholds=thresholds)
    write_model(tmp_path / "model", dataclasses.replace(model, record=record))
    assert read_model(tmp_path / "model").record.thresholds == thresholds


def test_the_folder_holds_json_and_safetensors_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((folder / "model.json").read_bytes())["classes"] == ["ünï", "b|c", ""]


def test_equal_models_are_equal_files(model: SavedModel, folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "again", model)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_is_cut_off_leaves_the_old_model(
    model: SavedModel, folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "write_text", fail)
    newer = dataclasses.replace(model, record=dataclasses.replace(model.record, seed=4))
    with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
        write_model(folder, newer)
    assert read_model(folder).record.seed == 3
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_changed_byte_anywhere_is_found(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= 1 + int(place) % 7
        (folder / name).write_bytes(changed)
        if name == "model.json" and _same_json(changed, data):
            continue
        with pytest.raises(ArtifactError, match="model"):
            read_model(folder)
    (folder / name).write_bytes(data)
    read_model(folder)


def _same_json(one: bytearray, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_a_cut_and_an_empty_file_are_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for part in (b"", data[: len(data) // 2]):
        (folder / name).write_bytes(part)
        with pytest.raises(ArtifactError, match=name):
            read_model(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing"):
        read_model(folder)


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, '{"format": "1"}', "\0"])
def test_a_record_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        read_model(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": FORMAT + 1}, "pip install -U headstart"),
        ({"task": "segmentation"}, "segmentation"),
        ({"temperature": "1"}, "temperature"),
        ({"extra": 1}, "extra"),
        ({"classes": ["a", "b"]}, "one column a class"),
        ({"tensors_sha256": "1" * 64}, "altered"),
        ({"thresholds": [1.0, 1.0]}, "one number a class"),
        ({"thresholds": [1.0, 1.0, "1"]}, "thresholds"),
        ({"thresholds": [1.0, 0.0, 2.0]}, "positive"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_also_with_a_right_hash(
    folder: Path, changes: dict[str, Any], words: str
) -> None:
    _reseal(folder, **changes)
    with pytest.raises(ArtifactError, match=words):
        read_model(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    _reseal_tensors(folder, lambda tensors: tensors.pop("novelty.features"))
    with pytest.raises(ArtifactError, match=r"novelty\.features"):
        read_model(folder)


def test_tensors_of_another_shape_are_refused(folder: Path) -> None:
    _reseal_tensors(folder, lambda tensors: tensors.update({"head.bias": np.zeros(4)}))
    with pytest.raises(ArtifactError, match="one column a class"):
        read_model(folder)


def test_a_pickle_in_the_place_of_tensors_is_not_loaded(folder: Path) -> None:
    import pickle

    data = pickle.dumps({"head.weights": np.zeros((8, 3))})
    (folder / "model.safetensors").write_bytes(data)
    _reseal(folder, tensors_sha256=files.sha256(data))
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        read_model(folder)


def test_images_that_shaped_the_model_are_counted() -> None:
    marks = image_marks([files.sha256(b"a"), files.sha256(b"b")])
    evidence = Evidence(np.ones(1), np.ones(1, bool), marks)
    assert evidence.count_fitted([files.sha256(name) for name in (b"b", b"c", b"b")]) == 2
    assert evidence.count_fitted([]) == 0
