"""Robustness on real weights: the clean scores are those of the evaluation, and the record adds up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import headstart
from headstart.artifact.robustness import Robustness, measure_robustness
from headstart.errors import DataError
from headstart.imaging.corruptions import CORRUPTIONS, STRENGTHS
from headstart.records import from_json, to_json
from headstart.reporting.robustness_table import measure, show_robustness
from headstart.runs import SilentProgress

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def model(digits_run: Path, warm_cache: Path) -> headstart.Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        return headstart.open(digits_run)


@pytest.fixture(scope="module")
def data(digits: Path) -> pd.DataFrame:
    """Ten images, two of them of one group."""
    files = [path for name in ("0", "1", "8") for path in sorted((digits / name).iterdir())[:4]][:10]
    names = [str(path) for path in files]
    labels = [path.parent.name for path in files]
    return pd.DataFrame({"image": names, "label": labels, "group": ["p", "p", *map(str, range(8))]})


@pytest.fixture(scope="module")
def found(model: headstart.Model, data: pd.DataFrame) -> Robustness:
    return measure_robustness(model, data)


def test_it_adds_up(model: headstart.Model, data: pd.DataFrame, found: Robustness) -> None:
    scores = model.evaluate(data)
    assert (found.n, found.groups, found.metric) == (10, 9, "accuracy")
    assert (found.left_out, found.fitted_on) == (scores["left_out"], scores["fitted_on"])
    assert found.clean.accuracy == found.clean.score == scores["accuracy"]
    assert list(found.clean.accuracy_ci95) == scores["accuracy_ci95"]
    assert [(one.corruption, one.strength) for one in found.scores] == [(c, s) for c in CORRUPTIONS for s in STRENGTHS]
    accuracies = [one.accuracy for one in found.scores]
    assert found.mean_accuracy == pytest.approx(np.mean(accuracies))
    assert found.mean_drop == pytest.approx(found.clean.accuracy - found.mean_accuracy)
    for one in found.scores:
        assert one.drop == pytest.approx(found.clean.accuracy - one.accuracy)
        assert one.accuracy_ci95[0] <= one.accuracy <= one.accuracy_ci95[1]
    assert found.mean_accuracy_ci95 is not None
    assert found.mean_accuracy_ci95[0] < found.mean_accuracy < found.mean_accuracy_ci95[1]
    worst = {name: [one.accuracy for one in found.scores if one.corruption == name][2] for name in CORRUPTIONS}
    assert min(worst.values()) < found.clean.accuracy


def test_the_same_model_and_images_give_the_same_record_and_it_comes_back(
    model: headstart.Model, data: pd.DataFrame, found: Robustness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = measure(model, data, tmp_path, root=None, progress=SilentProgress())
    assert again == found
    assert from_json(Robustness, (tmp_path / "robustness.json").read_text()) == found
    assert json.loads(to_json(found))["schema"] == 1
    show_robustness(found, tmp_path / "robustness.json")
    shown = capsys.readouterr().out
    assert "as they are" in shown
    assert "low resolution" in shown
    assert "mean over all corruptions" in shown


def test_data_that_the_model_does_not_know_are_refused(model: headstart.Model, data: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="does not know"):
        measure_robustness(model, data.assign(label=["nine", *data.label[1:]]))
