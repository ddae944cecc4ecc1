"""An export is written whole and verified, or not at all; what can't be exported is said in words."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart import files, runtime
from headstart.cli import process
from headstart.errors import ArtifactError, DataError, MissingExtraError, OptionError, ParityError
from headstart.export import exporting, rows
from headstart.export.exporting import UNCHECKED, export
from headstart.export.quantising import FEWEST
from headstart.export.source import Source

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm", "untimed")]
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def run(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of its own, compared on few images."""
    monkeypatch.setattr(rows, "FEWEST", 24)
    monkeypatch.setattr(exporting, "FEWEST", 24)
    monkeypatch.setattr(rows, "MOST", 24)
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def _silent(line: str) -> None:
    raise AssertionError(line)


@pytest.mark.parametrize(("format", "batch"), [("onnx", None), ("openvino", 3)])
def test_what_is_written_answers_as_the_model(run: Path, digits: Path, format: Any, batch: int | None) -> None:
    folder, written = export(run, format, batch=batch, say=_silent)
    assert folder == run / "export" / format
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        {"onnx": ["model.onnx", "parity.json"], "openvino": ["model.bin", "model.xml", "parity.json"]}[format]
    )
    record = json.loads((folder / "parity.json").read_text())
    assert record["images"] == record["validation"] == 24
    assert record["size"] == sum(path.stat().st_size for path in folder.glob("model.*"))
    assert record["warning"] is None
    model = runtime.load(folder)
    assert model.record.batch == batch
    assert "f32" in model.record.precisions
    assert [one.precision for one in written.results] == list(model.record.precisions)
    images = sorted(digits.rglob("*.png"))[::60]
    source = Source.open(run)
    wanted = source.in_float32()
    answers = model.predict(images)
    assert [answer.label for answer in answers] == [answer.label for answer in wanted.predict(images)]
    np.testing.assert_allclose(model.predict_proba(images), wanted.predict_proba(images), atol=0.05)
    assert model.record.model_sha256 == source.saved.record.tensors_sha256
    assert model.record.abstain
    assert model.record.licence == "Apache-2.0"


def test_a_file_that_differs_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faithful = exporting.onnx_file.whole_model

    def shuffled(network: Any, head: Any, record: Any) -> Any:
        import dataclasses

        turned = dataclasses.replace(head, weights=np.roll(head.weights, 1, axis=1))
        return faithful(network, turned, record)

    monkeypatch.setattr(exporting.onnx_file, "whole_model", shuffled)
    with pytest.raises(ParityError, match="most different: ") as refused:
        export(run, "onnx", say=_silent)
    assert refused.value.exit_code == 4
    assert ".png by " in str(refused.value)
    assert "it agrees on" in str(refused.value)
    assert not (run / "export").exists()

    argv = ["headstart", "export", str(run), "--format", "onnx"]
    monkeypatch.setattr(sys, "argv", argv)
    assert process.run() == 4
    assert not (run / "export").exists()

    folder, written = export(run, "onnx", gate=False, say=_silent)
    assert written.warning == UNCHECKED
    assert not written.results
    assert runtime.load(folder).record.warning == UNCHECKED


def test_a_refused_export_leaves_the_one_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = export(run, "openvino", gate=False, say=_silent)
    before = {path.name: files.sha256_of(path) for path in folder.iterdir()}
    monkeypatch.setattr(exporting, "compare", lambda *_: pytest.fail("killed here"))
    with pytest.raises(pytest.fail.Exception):
        export(run, "openvino", say=_silent)
    assert {path.name: files.sha256_of(path) for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["openvino"]


def test_wrong_wishes_are_refused(run: Path) -> None:
    with pytest.raises(OptionError, match="unknown format 'tflite': known are onnx, openvino, pt2"):
        export(run, "tflite")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="int8"):
        export(run, "pt2", int8=True)
    with pytest.raises(OptionError, match="a batch of 0"):
        export(run, "onnx", batch=0)


def test_quantising_wants_images_enough(run: Path, digits: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for image in sorted(digits.rglob("*.png"))[::10]:
        (few / image.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, few / image.parent.name)
    with pytest.raises(DataError, match=f"needs {FEWEST} training images .*, here are 30"):
        export(run, "openvino", int8=True, data=few)
    assert not (run / "export").exists()


def test_a_damaged_model_is_not_exported(run: Path) -> None:
    tensors = run / "model" / "model.safetensors"
    data = tensors.read_bytes()
    tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="altered"):
        export(run, "onnx")
    assert not (run / "export").exists()


def test_images_that_moved_are_asked_for(run: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((run / "run.json").read_text())
    record["request"]["source"] = "/nowhere/digits"
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"lay at /nowhere/digits; say where they are now with --data"):
        export(run, "openvino")
    monkeypatch.setattr(exporting, "FEWEST", 25)
    said: list[str] = []
    folder, written = export(run, "openvino", data=digits, say=said.append)
    assert any("24 images only, 25 are wanted" in line for line in said)
    assert written.images == 24
    assert written.validation == 0
    assert runtime.load(folder).record.warning is None


def test_test_rows_are_never_looked_at(run: Path) -> None:
    import pyarrow.parquet as pq

    from headstart.runs import find_run

    table = pq.read_table(run / "predictions.parquet").to_pandas()
    tested = set(table[table.split == "test"].image)
    assert tested
    development = rows.development_of(find_run(run), Source.open(run).saved.record.classes, None, None)
    seen = {development.dataset.images[place] for place in {*development.validation, *development.training}}
    assert len(seen) == 240
    assert not seen & tested


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_converter_names_the_extra(run: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (missing, f"{missing}.compose"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"headstart\[export\]"):
        export(run, "onnx")
    assert not (run / "export").exists()


def test_a_multilabel_model_is_exported_with_its_thresholds(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import headstart

    images = sorted(digits.rglob("*.png"))
    labels = {"0": "round", "1": "line", "8": "round|double"}
    lines = [f"{image},{labels[image.parent.name]}" for image in images]
    (tmp_path / "table.csv").write_text("\n".join(["image,labels", *lines]))
    options = headstart.Options(strategy="prototype")
    run = headstart.fit(tmp_path / "table.csv", options, out=tmp_path / "run").folder
    for limit in ("FEWEST", "MOST"):
        monkeypatch.setattr(rows, limit, 24)
    folder, written = export(run, "onnx", say=lambda line: None)
    model, wanted = runtime.load(folder), Source.open(run).in_float32()
    assert model.record.task == "multilabel"
    assert written.results[0].score == "right decisions"
    some = images[::40]
    assert [answer.label for answer in model.predict(some)] == [answer.label for answer in wanted.predict(some)]
    np.testing.assert_allclose(model.predict_proba(some), wanted.predict_proba(some), atol=0.02)


@pytest.mark.soak
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_eight_bits_are_a_third_of_the_size(flowers_run: Path, format: Any) -> None:
    pytest.importorskip("nncf")
    whole, plain = export(flowers_run, format, gate=False, say=_silent)
    folder, written = export(flowers_run, format, int8=True, say=lambda line: None)
    assert folder.name == f"{format}-int8"
    assert written.results[0].precision == "int8"
    assert written.results[0].agreement >= 0.97
    assert written.size < 0.4 * plain.size
    assert runtime.load(folder).record.weights == "int8"
    assert whole != folder
