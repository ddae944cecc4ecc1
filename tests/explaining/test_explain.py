"""An explanation agrees with the prediction that it explains, for every form of an image and every class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.errors import ImageError, OptionError
from headstart.explaining.explain import Explainer, explain
from headstart.explaining.neighbours import TrainingImages
from headstart.explaining.writing import write_explanations
from headstart.features.extract import embed
from headstart.features.float32 import compile_float32

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def explainer(digits_run: Path, warm_cache: Path) -> Explainer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        model = headstart.open(digits_run)
        return Explainer(model, training=TrainingImages.of_run(digits_run, model))


@pytest.fixture(scope="module")
def some(digits: Path) -> list[Path]:
    return [path for name in ("0", "1", "8") for path in sorted((digits / name).iterdir())[:3]]


def test_it_explains_what_is_predicted(explainer: Explainer, some: list[Path]) -> None:
    found = explainer.explain(some, neighbours=3)
    assert [one.prediction for one in found] == explainer.model.predict(some)
    assert all(one.target == one.prediction.label for one in found)
    assert all(len(one.neighbours) == 3 for one in found)
    assert all(one.evidence is not None and one.evidence.ndim == 2 for one in found)
    assert all(str(path) not in [near.image for near in one.neighbours] for one, path in zip(found, some, strict=True))


def test_the_logit_is_the_heads_own(explainer: Explainer, some: list[Path]) -> None:
    model = explainer.model
    exact = compile_float32(model.trunk.trunk)
    rows = np.concatenate([batch for _, batch, _ in embed(lambda i: some[i].read_bytes(), list(map(str, some)), exact)])
    columns = np.r_[tuple(exact.trunk.columns[name] for name in model.record.outputs)]
    logits = model.saved.head.logits(rows[:, columns])
    logits -= logits.mean(axis=1, keepdims=True)
    for number, name in enumerate(model.classes):
        found = [one.logit for one in explainer.explain(some, target=name, neighbours=0)]
        scale = np.abs(logits).max()
        np.testing.assert_allclose(found, logits[:, number], rtol=1e-3, atol=1e-3 * scale)


def test_the_evidence_for_the_classes_adds_up_to_nothing(explainer: Explainer, some: list[Path]) -> None:
    maps = [explainer.explain(some[:1], target=name, neighbours=0)[0].evidence for name in explainer.model.classes]
    assert np.abs(sum(maps)).max() < 1e-3 * np.abs(maps).max()


def test_one_image_in_any_form(explainer: Explainer, some: list[Path]) -> None:
    wanted = explain(explainer.model, some[0])
    assert wanted.neighbours == ()
    for form in (some[0].read_bytes(), str(some[0])):
        found = explain(explainer.model, form)
        np.testing.assert_array_equal(found.evidence, wanted.evidence)
        assert found.prediction.probabilities == wanted.prediction.probabilities


def test_what_is_no_image_is_an_error_alone_and_an_answer_among_others(
    explainer: Explainer, some: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "notes.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        explain(explainer.model, broken)
    found = explainer.explain([some[0], broken, some[1]])
    assert [one.prediction.error is None for one in found] == [True, False, True]
    assert found[1].evidence is None
    assert np.isnan(found[1].logit)
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        explainer.deletion(broken, found[1])


def test_unknown_classes_and_negative_counts_are_named(explainer: Explainer, some: list[Path]) -> None:
    with pytest.raises(OptionError, match="no class 'nine': it knows 0, 1, 8"):
        explainer.explain(some[:1], target="nine")
    with pytest.raises(OptionError, match="-1 neighbours"):
        explainer.explain(some[:1], neighbours=-1)


def test_files_of_one_name_get_pictures_of_their_own(explainer: Explainer, some: list[Path], tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        path = tmp_path / str(number) / ("Same.png" if number == 1 else "same.png")
        path.parent.mkdir()
        path.write_bytes(some[number].read_bytes())
        paths.append(path)
    found = write_explanations(explainer, paths, tmp_path / "out", neighbours=1)
    assert [one.map for one in found] == ["same-map.png", "Same-2-map.png", "same-3-map.png"]
    record = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert [one["map"] for one in record["images"]] == [one.map for one in found]
    assert all((tmp_path / "out" / one["map"]).is_file() for one in record["images"])
