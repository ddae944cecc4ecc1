"""Costs, operating points, groups and domains, robustness and comparison, from the command line on real weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headstart.cli import process

pytestmark = pytest.mark.real
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def headstart(warm: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: its exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headstart", *map(str, arguments)])
        capsys.readouterr()
        code = process.run()
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def table(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ones and eights; each ten images of one writer, half of the writers from each of two schools."""
    folder = tmp_path_factory.mktemp("table")
    lines = ["image,label,group,domain"]
    for label in ("1", "8"):
        for number, path in enumerate(sorted((digits / label).iterdir())):
            writer = f"writer {label}-{number // 10}"
            lines.append(f"{path},{label},{writer},{'north' if number < 50 else 'south'}")
    (folder / "digits.csv").write_text("\n".join(lines))
    (folder / "costs.csv").write_text("true,1,8\n1,0,1\n8,30,0\n")
    return folder / "digits.csv"


def test_costs_decide_and_are_reported_and_saved(headstart: Run, table: Path, digits: Path, tmp_path: Path) -> None:
    costs, out = table.parent / "costs.csv", tmp_path / "run"
    code, shown, said = headstart("fit", table, "--out", out, "--costs", costs, "--strategy", "prototype")
    assert code == 0, said
    assert "least expected cost" in shown
    model = json.loads((out / "model" / "model.json").read_text())
    assert model["costs"] == [[0.0, 1.0], [30.0, 0.0]]
    record = json.loads((out / "evaluation.json").read_text())
    rows = [row for row in pq.read_table(out / "predictions.parquet").to_pylist() if row["split"] == "test"]
    named = ["8" if 30 * row["probabilities"][1] > row["probabilities"][0] else "1" for row in rows]
    assert [row["predicted"] for row in rows] == named
    cost = np.mean([0 if r["truth"] == r["predicted"] else 30 if r["truth"] == "8" else 1 for r in rows])
    told = record["splits"]["test"]["costs"]
    assert told["decided"]["mean"] == pytest.approx(cost)
    assert told["constant_class"] == "8"

    code, shown, _ = headstart("predict", out, digits / "1", "--json")
    answers = [json.loads(line) for line in shown.splitlines()]
    assert [one["label"] for one in answers] == [
        "8" if 30 * one["probabilities"]["8"] > one["probabilities"]["1"] else "1" for one in answers
    ]
    mild = tmp_path / "mild.csv"
    mild.write_text("true,8,1\n8,0,1\n1,1,0\n")
    code, shown, _ = headstart("predict", out, digits / "1", "--json", "--costs", mild)
    plain = [json.loads(line) for line in shown.splitlines()]
    assert [one["label"] for one in plain] == [max(one["probabilities"], key=one["probabilities"].get) for one in plain]
    assert headstart("predict", out, digits / "1", "--costs", mild, "--max-error", "0.1")[0] == 2
    code, shown, _ = headstart("evaluate", out, table, "--costs", mild, "--json")
    assert json.loads(shown)["details"]["costs"]["saved"]["mean"] == 0.0

    test = record["splits"]["test"]
    assert {part["name"] for part in test["domains"]["parts"]} <= {"north", "south"}
    assert test["groups"]["total"] == len({row["group"] for row in rows}) > 1
    assert {row["domain"] for row in rows} == {part["name"] for part in test["domains"]["parts"]}
    assert set(test["thresholds"]) == {"1", "8"}
    assert len(test["operating_points"]) == 12
    assert record["splits"]["val"]["operating_points"] == []


def test_the_metric_at_a_point_governs_decides_and_is_told(headstart: Run, table: Path, tmp_path: Path) -> None:
    out, metric = tmp_path / "run", "sensitivity@specificity=0.95"
    code, shown, said = headstart(
        "fit", table, "--out", out, "--metric", metric, "--strategy", "prototype", "--test", "0.4"
    )
    assert code == 0, said
    assert "sensitivity at a specificity of 0.95" in shown
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["metric"] == json.loads((out / "ladder.json").read_text())["metric"] == metric
    assert 0 <= metrics["splits"]["test"][metric] <= 1
    assert f"test_{metric}" in metrics["baselines"]["knn"]
    low, high = json.loads((out / "model" / "model.json").read_text())["thresholds"]
    assert low + high == pytest.approx(1)
    rows = [row for row in pq.read_table(out / "predictions.parquet").to_pylist() if row["split"] == "val"]
    left_alone = [row["predicted"] == "1" for row in rows if row["truth"] == "1"]
    assert np.mean(left_alone) >= 0.95  # on the rows that chose the threshold
    points = json.loads((out / "evaluation.json").read_text())["splits"]["test"]["operating_points"]
    wanted = ["8", "specificity", 0.95]
    (own,) = (one for one in points if list(one["point"].values())[:3] == wanted)
    assert own["point"]["threshold"] == pytest.approx(high)  # what the model decides by
    tested = [row for row in pq.read_table(out / "predictions.parquet").to_pylist() if row["split"] == "test"]
    found = [row["predicted"] == "8" for row in tested if row["truth"] == "8"]
    assert own["sensitivity"]["value"] == pytest.approx(np.mean(found))
    assert "at a specificity of 0.95" in (out / "report.html").read_text()


def test_what_does_not_fit_is_said_in_a_line(headstart: Run, table: Path, digits: Path, digits_run: Path) -> None:
    costs = table.parent / "costs.csv"
    for arguments, words in (
        (("fit", digits, "--costs", costs), "no costs for the class '0'"),
        (("fit", digits, "--metric", "sensitivity@specificity=0.9"), "needs two classes"),
        (("predict", digits_run, digits / "1", "--costs", costs), "no costs for the class '0'"),
        (("evaluate", digits_run, digits, "--costs", table), "is 'writer 1-0'"),
        (("compare", digits_run, table.parent), "no run"),
    ):
        code, _, said = headstart(*arguments)
        assert code == 2, arguments
        assert words in said
        assert len(said.strip().splitlines()) <= 2


def test_two_runs_are_compared_and_a_model_is_corrupted(
    headstart: Run, digits: Path, digits_run: Path, tmp_path: Path
) -> None:
    a = shutil.copytree(digits_run, tmp_path / "a")
    code, _, said = headstart("fit", digits, "--out", tmp_path / "b", "--strategy", "prototype")
    assert code == 0, said
    code, shown, _ = headstart("compare", a, tmp_path / "b")
    assert code == 0
    assert "test rows of both (60 rows)" in shown
    record = json.loads((tmp_path / "b" / "comparison.json").read_text())
    code, shown, _ = headstart("compare", a, tmp_path / "b", "--json", "--out", tmp_path / "out")
    assert json.loads(shown) == record
    lines = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert len(lines) == 61

    few = tmp_path / "few"
    for label in ("0", "1", "8"):
        (few / label).mkdir(parents=True)
        for path in sorted((digits / label).iterdir())[:3]:
            shutil.copy(path, few / label)
    code, shown, said = headstart("compare", a, tmp_path / "b", "--data", few, "--json")
    assert code == 0, said
    found = json.loads(shown)
    assert (found["on"], found["rows"]) == ("few", 9)
    assert any("fitted on" in note for note in found["notes"])

    code, shown, said = headstart("evaluate", a / "model", few, "--robustness")
    assert code == 0, said
    assert "mean over all corruptions" in shown
    assert len(json.loads((a / "robustness.json").read_text())["scores"]) == 36
