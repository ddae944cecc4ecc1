"""The whole way from Python: every form of data, every protocol, and the same numbers again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

import headstart
from headstart.artifact.saved import read_model
from headstart.errors import DataError, HeadstartError, OptionError
from headstart.runs.budget import Budget, Countdown

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm")]
LABELS = {"0": "round|closed", "1": "straight", "8": "round|crossed"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs go below the current folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def frame(digits: Path) -> pd.DataFrame:
    """300 digits, shuffled: image, label."""
    images = sorted(digits.rglob("*.png"))
    rows = pd.DataFrame({"image": [str(path) for path in images], "label": [path.parent.name for path in images]})
    return rows.sample(frac=1, random_state=0).reset_index(drop=True)


def _metrics(run: Any) -> dict[str, Any]:
    """The numbers to twelve digits: where memory lies may shape the last ones of a sum."""
    text = run.path("metrics.json").read_text()
    return dict(json.loads(text, parse_float=lambda number: float(f"{float(number):.12g}")))


def _predictions(run: Any, split: str) -> pd.DataFrame:
    table = pq.read_table(run.path("predictions.parquet")).to_pandas()
    return table[table.split == split]


def _but_seconds(run: Any) -> dict[str, Any]:
    return {key: value for key, value in _metrics(run).items() if key != "seconds"}


def test_a_folder_a_data_frame_and_arrays_give_the_same_model(
    digits: Path, digits_run: Path, frame: pd.DataFrame, here: Path
) -> None:
    ordered = frame.sort_values("image")
    pixels = [np.array(Image.open(path)) for path in ordered.image]
    for source in (ordered, (pixels, ordered.label.tolist())):
        run = headstart.fit(source)
        assert run.folder.parent == here / "runs"
        assert run.folder.name.startswith("data-")
        saved, wanted = read_model(run.path("model")), read_model(digits_run / "model")
        np.testing.assert_allclose(saved.head.weights, wanted.head.weights, atol=1e-9)
        assert saved.record.classes == wanted.record.classes
        assert _metrics(run)["splits"]["test"]["n"] == 60


def test_equal_seeds_give_equal_numbers_and_others_other_splits(frame: pd.DataFrame) -> None:
    runs = [headstart.fit(frame, headstart.Options(seed=seed)) for seed in (5, 5, 6)]
    assert _but_seconds(runs[0]) == _but_seconds(runs[1])
    assert set(_predictions(runs[0], "test").file) != set(_predictions(runs[2], "test").file)
    assert [run.folder.name for run in runs] == ["data-1", "data-2", "data-3"]


def test_labels_of_test_rows_influence_nothing_that_is_saved(frame: pd.DataFrame) -> None:
    split = frame.assign(split=["test" if row % 4 == 0 else "train" for row in range(300)])
    wrong = split.copy()
    wrong.loc[wrong.split == "test", "label"] = np.roll(wrong.label[wrong.split == "test"], 1)
    ours, theirs = headstart.fit(split), headstart.fit(wrong)
    for name in ("model/model.safetensors", "model/model.json"):
        assert ours.path(name).read_bytes() == theirs.path(name).read_bytes()
    assert _metrics(ours)["splits"]["val"] == _metrics(theirs)["splits"]["val"]
    assert _metrics(theirs)["splits"]["test"]["accuracy"] < 0.6 < _metrics(ours)["splits"]["test"]["accuracy"]


def test_several_labels_an_image_end_to_end(frame: pd.DataFrame, tmp_path: Path) -> None:
    labels = ["" if row % 25 == 0 else LABELS[label] for row, label in enumerate(frame.label)]
    pd.DataFrame({"image": frame.image, "labels": labels}).to_csv(tmp_path / "table.csv", index=False)
    run = headstart.fit(tmp_path / "table.csv", headstart.Options(metric="macro_f1"))
    found = _metrics(run)
    test = found["splits"]["test"]
    assert found["task"] == "multilabel"
    assert found["classes"] == ["closed", "crossed", "round", "straight"]
    assert test["macro_f1"] > 0.85
    assert test["macro_f1"] > found["baselines"]["majority"]["test_macro_f1"]
    assert "confusion" not in test
    thresholds = [row["threshold"] for row in test["per_class"].values()]
    assert all(0 < threshold < 1 for threshold in thresholds)

    rows = _predictions(run, "test")
    for row in rows.itertuples():
        chosen = [name for name, p, t in zip(found["classes"], row.probabilities, thresholds, strict=True) if p >= t]
        assert list(row.predicted) == chosen
    model = headstart.open(run.folder)
    assert model.record.thresholds == pytest.approx(thresholds)
    answers = model.predict([str(frame.image[0]), *rows.image.tolist()[:5]])
    assert [answer.label for answer in answers[1:]] == [list(names) for names in rows.predicted[:5]]
    assert model.evaluate(tmp_path / "table.csv")["micro_f1"] > 0.9


def test_groups_stay_on_one_side(frame: pd.DataFrame) -> None:
    groups = [f"{label}-{row // 3 % 12}" for row, label in enumerate(frame.label)]
    run = headstart.fit(frame.assign(group=groups))
    group_of = dict(zip(frame.image, groups, strict=True))
    test = {group_of[image] for image in _predictions(run, "test").image}
    rest = {group_of[image] for image in _predictions(run, "val").image}
    assert test
    assert not test & rest
    assert _metrics(run)["splits"]["test"]["groups"] == len(test)
    assert _metrics(run)["splits"]["val"]["groups"] == len(rest)


def test_the_users_own_splits_play_their_parts(frame: pd.DataFrame) -> None:
    splits = ["test" if row % 5 == 0 else "val" if row % 5 == 1 else "train" for row in range(300)]
    run = headstart.fit(frame.assign(split=splits))
    found = _metrics(run)
    assert found["protocol"]["test"] == "given"
    assert found["protocol"]["selection"] == "val"
    for name in ("val", "test"):
        assert found["splits"][name]["estimate"] == "held_out_rows"
        wanted = {image for image, split in zip(frame.image, splits, strict=True) if split == name}
        assert set(_predictions(run, name).image) == wanted
    assert len(read_model(run.path("model")).novelty.features) == 240  # one refit on train and val


def test_few_images_are_judged_by_nested_folds(frame: pd.DataFrame) -> None:
    run = headstart.fit(frame[:90])
    found = _metrics(run)
    assert found["protocol"]["test"] == "nested"
    assert found["splits"]["test"]["estimate"] == "nested_out_of_fold"
    assert found["splits"]["val"]["estimate"] == "out_of_fold"
    assert set(_predictions(run, "test").image) == set(frame.image[:90])
    assert found["splits"]["test"]["accuracy"] > 0.85
    assert headstart.open(run.folder).predict(frame.image[200])[0].label is not None


def test_a_class_with_one_image_is_kept_for_training_and_said(frame: pd.DataFrame) -> None:
    few = pd.concat([frame[frame.label != "8"][:80], frame[frame.label == "8"][:1]])
    run = headstart.fit(few)
    audit = json.loads(run.path("audit.json").read_text())
    assert any("one image of the class '8'" in note for note in audit["notes"])
    assert _metrics(run)["splits"]["test"]["n"] == 80
    model = headstart.open(run.folder)
    assert model.classes == ("0", "1", "8")
    assert model.predict(few.image.iloc[-1])[0].probabilities["8"] > 0.2


def test_broken_files_are_left_out_listed_and_counted(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    bad = pd.DataFrame({"image": [str(tmp_path / "text.jpg"), str(tmp_path / "empty.png")], "label": ["0", "1"]})
    run = headstart.fit(pd.concat([bad, frame[:60]]))
    listed = {Path(entry["file"]).name for entry in json.loads(run.path("audit.json").read_text())["left_out"]}
    assert listed == {"text.jpg", "empty.png"}
    assert _metrics(run)["left_out"] == 2
    wanted = headstart.fit(frame[:60])
    assert _but_seconds(run)["splits"] == _but_seconds(wanted)["splits"]


def test_mostly_broken_data_are_refused_with_an_example(frame: pd.DataFrame, tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_text(f"text {number}")
    rows = pd.DataFrame({"image": [str(tmp_path / f"{number}.jpg") for number in range(30)], "label": "0"})
    with pytest.raises(DataError, match=r"30 of 50 images can't be decoded, for example .*\.jpg: not an image"):
        headstart.fit(pd.concat([rows, frame[:20]]))


@pytest.mark.parametrize("option", ["strategy", "metric", "engine", "backbone"])
def test_a_wrong_option_leaves_no_run_behind(option: str, frame: pd.DataFrame, here: Path) -> None:
    with pytest.raises(HeadstartError, match="magic"):
        headstart.fit(frame[:60], headstart.Options(**{option: "magic"}))  # type: ignore[arg-type]
    assert not list(here.iterdir())


def test_data_that_are_not_there_leave_no_run_behind(frame: pd.DataFrame, here: Path) -> None:
    with pytest.raises(DataError, match="absent: no such file"):
        headstart.fit("absent")
    with pytest.raises(DataError, match="3 of 3 images do not exist"):
        headstart.fit(pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "label": ["x", "y", "y"]}))
    assert not list(here.iterdir())


def test_a_test_split_that_is_not_there_is_refused(frame: pd.DataFrame, here: Path) -> None:
    with pytest.raises(OptionError, match="no split 'val'"):
        headstart.fit(frame[:60], headstart.Options(test="val"))
    assert not list(here.iterdir())


def test_a_run_is_named_after_its_data(digits: Path, here: Path) -> None:
    (here / "plants.v2").symlink_to(digits)
    assert headstart.fit("plants.v2", headstart.Options(strategy="prototype")).folder.name == "plants.v2-1"


def test_a_named_strategy_is_the_only_one_tried(frame: pd.DataFrame) -> None:
    run = headstart.fit(frame, headstart.Options(strategy="prototype", test=0.3))
    ladder = json.loads(run.path("ladder.json").read_text())
    assert [rung["strategy"] for rung in ladder["rungs"]] == ["prototype"]
    found = _metrics(run)
    assert found["strategy"] == "prototype"
    assert found["splits"]["test"]["n"] == 90
    assert found["splits"]["test"]["accuracy"] == found["baselines"]["prototype"]["test_accuracy"]
    assert found["splits"]["val"]["ece"] < 0.1


def test_metrics_have_the_keys_that_the_reference_documents(digits_run: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "reference.md").read_text()
    section = text.split("## metrics.json")[1].split("\n## ")[0]
    top, scores = section.split("Each split has")

    def documented(part: str) -> set[str]:
        cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
        return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}

    found = json.loads((digits_run / "metrics.json").read_text())
    assert {name.split(".")[0] for name in documented(top)} == set(found)
    assert found["schema"] == 1
    assert set(found["splits"]) == {"val", "test"}
    assert set(found["baselines"]) == {"majority", "knn", "prototype"}
    wanted = documented(scores) - {"micro_f1"}  # of several labels an image only
    rest = {"n", "groups", "estimate", "per_class", "confusion"}
    for split in found["splits"].values():
        assert set(split) == wanted | {f"{name}_ci95" for name in wanted} | rest


def test_a_named_strategy_does_not_climb_though_there_is_time(digits: Path, here: Path) -> None:
    said: list[str] = []
    run = headstart.fit(
        digits, headstart.Options(strategy="prototype"), say=said.append, countdown=Countdown.from_now(Budget(60.0))
    )
    assert _metrics(run)["strategy"] == "prototype"
    assert not [line for line in said if line.startswith("usable now")]
    assert not (run.folder / "plan.json").exists()
