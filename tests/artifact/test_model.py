"""A saved model answers the same for an image in any form, and as it was evaluated."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

import headstart
from headstart.artifact import model as module
from headstart.artifact.saved import Evidence, image_marks, read_model, write_model
from headstart.errors import ArtifactError, DataError, ImageError, OptionError, RunError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def model(digits_run: Path, warm_cache: Path) -> headstart.Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        return headstart.open(digits_run)


@pytest.fixture(scope="module")
def test_rows(digits_run: Path) -> pd.DataFrame:
    table = pq.read_table(digits_run / "predictions.parquet").to_pandas()
    return table[table.split == "test"].reset_index(drop=True)


@pytest.fixture(scope="module")
def some(digits: Path) -> list[Path]:
    return [path for name in ("0", "1", "8") for path in sorted((digits / name).iterdir())[:3]]


def _assert_same(found: Any, wanted: Any) -> None:
    """The same probabilities, but for the last digit: matrix products may add up in another order where memory lies."""
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _image(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


def _webp(path: Path) -> bytes:
    buffer = BytesIO()
    _image(path).convert("RGB").save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


FORMS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "bytes": _bytes,
    "webp bytes": _webp,
    "PIL": _image,
    "PIL RGB": lambda path: _image(path).convert("RGB"),
    "grey array": lambda path: np.array(_image(path)),
    "RGB array": lambda path: np.array(_image(path).convert("RGB")),
    "16-bit array": lambda path: np.array(_image(path)).astype(np.uint16) * 257,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_gives_the_same_probabilities(
    model: headstart.Model, some: list[Path], form: str
) -> None:
    wanted = model.predict_proba(some)
    _assert_same(model.predict_proba([FORMS[form](path) for path in some]), wanted)
    np.testing.assert_allclose(model.predict_proba(FORMS[form](some[4])), wanted[4:5], rtol=1e-9)


def test_a_model_with_thresholds_names_the_same_classes_once_saved(
    model: headstart.Model,
    some: list[Path],
    digits: Path,
    digits_run: Path,
    tmp_path: Path,
    warm_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(warm_cache))
    saved = read_model(digits_run / "model")
    thresholds = (1e-6, *(1.0 for _ in saved.record.classes[1:]))
    write_model(
        tmp_path / "m", dataclasses.replace(saved, record=dataclasses.replace(saved.record, thresholds=thresholds))
    )
    opened = headstart.open(tmp_path / "m")
    chances = opened.predict_proba(some)
    _assert_same(chances, model.predict_proba(some))
    named = (chances / thresholds).argmax(1)
    assert (named != chances.argmax(1)).any()
    answers = opened.predict(some)
    assert [answer.label for answer in answers] == [opened.classes[number] for number in named]
    _assert_same([answer.confidence for answer in answers], chances[np.arange(len(some)), named])
    truth = [opened.classes.index(path.parent.name) for path in some]
    folder = tmp_path / "few"
    for path in some:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    scores = opened.evaluate(folder)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, named))


def test_a_mixed_list_a_tuple_and_a_folder_too(model: headstart.Model, some: list[Path], digits: Path) -> None:
    wanted = model.predict_proba(some)
    forms = list(FORMS.values())
    mixed = [forms[number % len(forms)](path) for number, path in enumerate(some)]
    _assert_same(model.predict_proba(mixed), wanted)
    _assert_same(model.predict_proba(tuple(mixed)), wanted)
    folder = model.predict(digits / "1")
    assert [answer.file for answer in folder[:3]] == [str(path) for path in some[3:6]]
    np.testing.assert_allclose([list(answer.probabilities.values()) for answer in folder[:3]], wanted[3:6], rtol=1e-9)
    assert [answer.file for answer in model.predict(mixed)[:4]] == [str(some[0]), "image 1", "image 2", "image 3"]
    assert model.predict([]) == []
    assert model.predict_proba([]).shape == (0, 3)


def test_a_batch_and_an_iterator_are_several_images(model: headstart.Model, some: list[Path]) -> None:
    wanted = model.predict_proba(some)
    batch = np.stack([np.array(_image(path).convert("RGB")) for path in some])
    _assert_same(model.predict_proba(batch), wanted)
    _assert_same(model.predict_proba(path for path in some), wanted)


@pytest.mark.parametrize("thing", [None, 3, {"a"}, pd.Series(["a.png"]), [["a.png"]], {"image": "a.png"}])
def test_what_is_no_image_is_refused_rather_than_called_broken(model: headstart.Model, thing: object) -> None:
    with pytest.raises(OptionError, match="is no image: give a path"):
        model.predict(thing)


@pytest.mark.parametrize("name", ["a\0b.png", "a" * 5000, "."])
def test_a_name_that_can_not_be_a_file_is_a_broken_image(model: headstart.Model, name: str) -> None:
    assert "can't be read" in str(model.predict([name])[0].error)


def test_answers_hang_together(model: headstart.Model, some: list[Path]) -> None:
    for answer, row in zip(model.predict(some), model.predict_proba(some), strict=True):
        assert tuple(answer.probabilities) == model.classes == ("0", "1", "8")
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-12)
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.label == max(answer.probabilities, key=lambda name: answer.probabilities[name])
        assert answer.confidence == max(answer.probabilities.values())
        assert answer.is_novel == (answer.novelty > model.record.novelty_threshold)
        assert not answer.abstained
        assert answer.error is None


def test_predictions_are_those_that_the_run_was_judged_by(
    model: headstart.Model, test_rows: pd.DataFrame, digits: Path
) -> None:
    answers = model.predict([digits / file for file in test_rows.file])
    assert [answer.label for answer in answers] == test_rows.predicted.tolist()
    found = [list(answer.probabilities.values()) for answer in answers]
    np.testing.assert_allclose(found, np.stack(test_rows.probabilities.to_list()), atol=1e-6)
    np.testing.assert_allclose([answer.confidence for answer in answers], test_rows.confidence, atol=1e-6)


def test_evaluation_on_the_test_images_gives_the_numbers_of_the_run(
    model: headstart.Model, test_rows: pd.DataFrame, digits: Path, digits_run: Path
) -> None:
    data = pd.DataFrame({"image": test_rows.file, "label": test_rows.truth})
    found = model.evaluate(data, root=digits)
    wanted = json.loads((digits_run / "metrics.json").read_text())["splits"]["test"]
    assert (found.pop("left_out"), found.pop("fitted_on")) == (0, 0)
    assert wanted.pop("estimate") == "held_out_rows"
    details = json.loads((digits_run / "evaluation.json").read_text())["splits"]["test"]
    ours, theirs = found.pop("details"), details
    assert ours.keys() == theirs.keys()
    for points in (ours["coverage_risk"], theirs["coverage_risk"]):
        assert [point["coverage"] for point in points] == pytest.approx(np.arange(1, 21) / 20)
    assert [p["risk"] for p in ours["coverage_risk"]] == pytest.approx([p["risk"] for p in theirs["coverage_risk"]])
    assert found.keys() == wanted.keys()
    assert found.pop("confusion") == wanted.pop("confusion")
    ours, theirs = found.pop("per_class"), wanted.pop("per_class")
    for name in model.classes:
        assert ours[name].keys() == theirs[name].keys()
        for key, value in theirs[name].items():
            assert ours[name][key] == (value if value is None else pytest.approx(value, abs=1e-6)), key
    for key, value in wanted.items():
        assert found[key] == (value if value is None else pytest.approx(value, abs=1e-6)), key


@pytest.mark.parametrize(("splits", "scored"), [("train val test", 3), ("train val", 4), ("train", 9)])
def test_evaluation_scores_the_split_that_plays_the_test(
    model: headstart.Model, some: list[Path], splits: str, scored: int
) -> None:
    names = splits.split()
    parts = {"test": names[-1:] * 3, "val": names[-1:] * 4, "train": names[-1:] * 9}[names[-1]]
    rows = [*["train"] * (9 - len(parts)), *parts]
    if splits == "train val test":
        rows[0] = "val"
    data = pd.DataFrame({"image": some, "label": [path.parent.name for path in some], "split": rows})
    assert model.evaluate(data)["n"] == scored


def test_evaluation_matches_classes_by_name(model: headstart.Model, some: list[Path]) -> None:
    """Also where the data have fewer, so that a class has another number there."""
    few = some[3:]
    found = model.evaluate((few, [path.parent.name for path in few]))
    right = [answer.label == path.parent.name for answer, path in zip(model.predict(few), few, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["per_class"]["0"]["support"] == 0
    assert len(found["confusion"]) == 3


def test_data_that_do_not_fit_the_model_are_refused(model: headstart.Model, some: list[Path]) -> None:
    labels = [path.parent.name for path in some]
    with pytest.raises(DataError, match="does not know: seven; it knows 0, 1, 8"):
        model.evaluate((some, ["seven", *labels[1:]]))
    with pytest.raises(DataError, match="is for multilabel, the model for classification"):
        model.evaluate((some, [[label] for label in labels]))


def test_images_that_can_not_be_decoded_are_listed_left_out_or_raised(
    model: headstart.Model, some: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    mixed = [some[0], text, tmp_path / "absent.png", np.zeros((2, 2, 7), np.uint8), b"", some[1]]
    answers = model.predict(mixed)
    assert [answer.error is None for answer in answers] == [True, False, False, False, False, True]
    for answer, name in zip(answers[1:5], ("text.jpg", "absent.png", "image 3", "image 4"), strict=True):
        assert name in str(answer.error)
        assert answer.label is None
        assert answer.probabilities == {}
    assert answers[5].probabilities == pytest.approx(model.predict(some[1])[0].probabilities)
    with pytest.raises(ImageError, match=r"text\.jpg"):
        model.predict_proba(mixed)
    with pytest.raises(ImageError, match=r"text\.jpg"):
        model.embed(mixed)
    found = model.evaluate(([*some, text], [*(path.parent.name for path in some), "1"]))
    assert (found["n"], found["left_out"]) == (9, 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in this folder"):
        model.predict(tmp_path / "empty")


def test_a_wished_error_rate_makes_it_abstain_where_it_is_unsure(
    model: headstart.Model, test_rows: pd.DataFrame, digits: Path
) -> None:
    images = [digits / file for file in test_rows.file]
    free, strict = model.predict(images), model.predict(images, max_error=0.03)
    abstained = [answer for answer in strict if answer.abstained]
    accepted = [answer for answer in strict if not answer.abstained]
    assert accepted
    assert all(answer.label is None for answer in abstained)
    assert [a.confidence for a in strict] == [a.confidence for a in free]
    if abstained:
        assert max(a.confidence for a in abstained) < min(a.confidence for a in accepted)
    loose = model.predict(images, max_error=0.5)
    assert sum(a.abstained for a in loose) <= len(abstained)


def test_abstention_follows_the_evidence_that_is_saved(model: headstart.Model, digits: Path) -> None:
    """With evidence of a model that is wrong whenever it is unsure, exactly the unsure are refused."""
    confidence = np.linspace(0.3, 1.0, 400)
    saved = dataclasses.replace(model._saved, evidence=Evidence(confidence, confidence > 0.8, image_marks([])))
    answers = headstart.Model(saved, model._compiled).predict(digits / "8", max_error=0.1)
    accepted = [answer.confidence for answer in answers if not answer.abstained]
    refused = [answer.confidence for answer in answers if answer.abstained]
    assert min(accepted) > 0.75
    assert max(refused, default=0.0) < 0.88


@pytest.mark.parametrize(("wish", "words"), [(0.0, "between 0 and 1"), (1.5, "between 0 and 1"), (1e-6, "can't bound")])
def test_an_error_rate_that_can_not_be_promised_is_refused(
    model: headstart.Model, some: list[Path], wish: float, words: str
) -> None:
    with pytest.raises(OptionError, match=words):
        model.predict(some, max_error=wish)


def test_noise_and_photographs_are_novel_and_unseen_digits_mostly_are_not(
    model: headstart.Model, test_rows: pd.DataFrame, digits: Path
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(10)]
    assert all(answer.is_novel for answer in model.predict(noise))
    like = model.predict([digits / file for file in test_rows.file])
    assert np.mean([answer.is_novel for answer in like]) < 0.15
    seen = [path for path in sorted((digits / "1").iterdir()) if f"1/{path.name}" not in set(test_rows.file)]
    assert max(answer.novelty for answer in model.predict(seen[:5])) < 1e-3


def test_embeddings_are_the_pooled_features(model: headstart.Model, some: list[Path]) -> None:
    rows = model.embed(some)
    assert rows.dtype == np.float32
    assert rows.shape == (9, 1280)
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(model.embed(some[2]), rows[2:3])


def test_a_stream_is_lazy_and_in_order(model: headstart.Model, some: list[Path]) -> None:
    assert [answer.file for answer in model.stream(some * 5)] == [str(path) for path in some * 5]
    assert next(model.stream([some[0]] * 1000)).label == "0"


@pytest.mark.usefixtures("warm")
def test_the_run_and_its_model_folder_open_to_the_same(
    model: headstart.Model, digits_run: Path, some: list[Path]
) -> None:
    again = headstart.open(str(digits_run / "model"))
    _assert_same(again.predict_proba(some), model.predict_proba(some))


@pytest.mark.usefixtures("warm")
def test_other_weights_or_another_preprocessing_are_refused(digits_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = module.find_backbone("bundled/tf_efficientnet_lite0")
    monkeypatch.setattr(found, "weights_sha256", "f" * 64)
    monkeypatch.setattr(module, "find_backbone", lambda name, **_: found)
    with pytest.raises(ArtifactError, match="fitted on weights"):
        headstart.open(digits_run)


@pytest.mark.parametrize("place", ["absent", "empty", "file"])
def test_what_is_no_model_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=place):
        headstart.open(tmp_path / place)


def test_a_model_whose_tensors_do_not_fit_its_backbone_is_refused(model: headstart.Model) -> None:
    """Hashes can be forged together with the tensors; shapes are checked all the same."""
    head = dataclasses.replace(model._saved.head, weights=model._saved.head.weights[:-1])
    with pytest.raises(ArtifactError, match="wide"):
        headstart.Model(dataclasses.replace(model._saved, head=head), model._compiled)
    record = dataclasses.replace(model.record, outputs=("stage99",))
    with pytest.raises(ArtifactError, match="stage99"):
        headstart.Model(dataclasses.replace(model._saved, record=record), model._compiled)


def test_a_pipe_and_a_giant_are_listed_and_never_read(model: headstart.Model, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "giant.jpg").open("wb") as file:
        file.truncate(10**10)
    found = model.predict([tmp_path / "pipe.jpg", tmp_path / "giant.jpg"])
    assert all(answer.error and answer.label is None for answer in found)
