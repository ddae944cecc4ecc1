"""Two models on the same rows: who is better, what is lost, and runs that can't be compared."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.errors import RunError
from headstart.evaluation.comparison import Decided
from headstart.reporting.comparing import compare_rows, compare_runs
from headstart.reporting.comparison_table import show_comparison
from headstart.reporting.run_rows import RunRows, rows_of_run

CLASSES = ("ants", "bees")


def rows(right: Any, name: str = "a", *, groups: Any = None, first: int = 0, hashed: bool = True) -> RunRows:
    """A model of two classes that is right on some rows; all are ants."""
    correct = np.asarray(right, bool)
    n = len(correct)
    chances = np.where(correct[:, None], [0.8, 0.2], [0.3, 0.7])
    return RunRows(
        name,
        "classification",
        CLASSES,
        tuple(f"{first + row}.png" for row in range(n)),
        tuple(f"{first + row:064x}" for row in range(n)) if hashed else None,
        tuple(groups) if groups is not None else (None,) * n,
        np.zeros(n, int),
        Decided(np.where(correct, 0, 1), chances),
    )


def test_a_better_model_is_called_better_and_its_losses_are_listed() -> None:
    a = [True] * 200 + [False] * 40 + [True] * 10
    b = [True] * 200 + [True] * 40 + [False] * 10
    found = compare_rows(rows(a), rows(b, "b")).record
    assert found.better == "b"
    assert found.verdict.startswith("B is better by 12.0 points (")
    assert found.verdict.endswith("on 250 rows; 10 rows that A had right are lost, 40 won")
    assert [row.file for row in found.lost] == [f"{row}.png" for row in range(240, 250)]
    assert (found.lost[0].truth, found.lost[0].a, found.lost[0].b) == ("ants", "ants", "bees")
    assert (len(found.won), found.both_right, found.both_wrong) == (40, 200, 0)
    assert found.p == found.mcnemar_p < 0.001
    assert found.scores["accuracy"].difference == pytest.approx(0.12)
    back = compare_rows(rows(b), rows(a, "b")).record
    assert back.better == "a"
    assert back.verdict.startswith("A is better by 12.0 points (")


def test_a_few_rows_show_nothing_and_equal_models_nothing_either() -> None:
    found = compare_rows(rows([True] * 40), rows([True] * 36 + [False] * 4, "b")).record
    assert found.better is None  # the bootstrap alone would call it: all four lie on one side
    assert found.scores["accuracy"].ci95[1] < 0
    assert found.verdict.startswith("No difference can be shown: B has -10.0 points")
    same = compare_rows(rows([True, False]), rows([True, False], "b")).record
    assert (same.better, same.p) == (None, 1.0)
    assert "right on the same of 2 rows" in same.verdict
    assert compare_rows(rows([True]), rows([False], "b")).record.better is None


def test_groups_count_as_wholes() -> None:
    a, b = np.zeros(120, bool), np.arange(120) < 60
    alone = compare_rows(rows(a), rows(b, "b")).record
    assert alone.better == "b"
    names = [f"patient {row // 30}" for row in range(120)]
    grouped = compare_rows(rows(a, groups=names), rows(b, "b", groups=names)).record
    assert (grouped.better, grouped.groups) == (None, 4)
    assert grouped.p > 0.1 > grouped.mcnemar_p


def test_rows_are_paired_by_hash_and_what_is_left_out_is_said() -> None:
    a, b = rows([True] * 30), rows([True] * 30, "b", first=10)
    renamed = dataclasses.replace(b, files=tuple(f"moved/{name}" for name in b.files))
    found = compare_rows(a, renamed).record
    assert found.rows == 20
    assert found.notes == ("10 rows tested a alone and are left out", "10 rows tested b alone and are left out")
    by_name = compare_rows(a, dataclasses.replace(b, hashes=None)).record
    assert by_name.rows == 20
    other = dataclasses.replace(b, truth=np.where(np.arange(30) < 5, 1, 0))
    assert "5 rows are left out, as the runs have different labels for them" in compare_rows(a, other).record.notes
    with pytest.raises(RunError, match="label all rows that they share differently"):
        compare_rows(a, dataclasses.replace(b, truth=np.ones(30, int)))
    with pytest.raises(RunError, match=r"share no row .* --data"):
        compare_rows(a, rows([True], "b", first=99))


def test_runs_of_other_tasks_and_classes_are_named() -> None:
    a = rows([True])
    with pytest.raises(RunError, match=r"a is for classification, b for multilabel"):
        compare_rows(a, dataclasses.replace(a, name="b", task="multilabel"))
    with pytest.raises(RunError, match=r"different classes, bees, wasps for example"):
        compare_rows(a, dataclasses.replace(a, name="b", classes=("ants", "wasps")))


def test_labels_are_compared_whole() -> None:
    truth = np.array([[True, False], [True, True]])
    said = Decided(truth, truth.astype(float))
    half = Decided(np.array([[True, False], [True, False]]), truth.astype(float))
    a = RunRows("a", "multilabel", CLASSES, ("x", "y"), None, (None, None), truth, said)
    found = compare_rows(a, dataclasses.replace(a, name="b", said=half)).record
    (lost,) = found.lost
    assert (lost.file, lost.truth, lost.a, lost.b) == ("y", "ants|bees", "ants|bees", "ants")


def test_the_table_holds_every_row_and_the_record_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = compare_rows(rows([True, False, True, False]), rows([False, True, True, False], "b"))
    comparison.write(tmp_path)
    table = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert [row["outcome"] for row in table] == ["lost", "won", "both wrong", "both right"]
    assert table[0] == {"outcome": "lost", "file": "0.png", "truth": "ants", "a": "ants", "b": "bees"}
    plain = json.loads((tmp_path / "comparison.json").read_text())
    assert (plain["schema"], plain["rows"], len(plain["lost"])) == (1, 4, 1)
    show_comparison(comparison.record, tmp_path)
    shown = capsys.readouterr().out
    assert "No difference can be shown" in shown
    assert "lost: 0.png is ants; A ants, B bees" in shown


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_run, tmp_path / "other"))


@pytest.mark.real
def test_a_run_equals_its_copy(digits_run: Path, run: Path) -> None:
    found = compare_runs(digits_run, run, say=print).record
    assert (found.rows, found.better, found.lost, found.won) == (60, None, (), ())
    assert found.scores["log_loss"].difference == 0.0
    metrics = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss"):
        assert found.scores[name].a == pytest.approx(metrics[name])


@pytest.mark.real
@pytest.mark.parametrize("name", ["predictions.parquet", "metrics.json", "run.json"])
def test_a_run_that_lacks_a_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunError, match=str(run)):
        rows_of_run(run)
    with pytest.raises(RunError, match="is absent"):
        rows_of_run(run / "nowhere")


@pytest.mark.real
@pytest.mark.parametrize("damage", ["bytes", "column", "class", "probability", "json", "task"])
def test_a_run_with_an_altered_file_is_named(run: Path, damage: str) -> None:
    path = run / "predictions.parquet"
    table = pq.read_table(path)
    place = table.column_names.index
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    elif damage in ("json", "task"):
        (run / "metrics.json").write_text("[1" if damage == "json" else '{"task": "regression", "classes": []}')
    else:
        changed = {
            "column": lambda: table.drop_columns(["truth"]),
            "class": lambda: table.set_column(place("truth"), "truth", pa.array(["nine"] * len(table))),
            "probability": lambda: table.set_column(
                place("probabilities"), "probabilities", pa.array([[0.1, 7.0, 0.1]] * len(table))
            ),
        }[damage]()
        pq.write_table(changed, path)
    with pytest.raises(RunError, match="can't be read"):
        rows_of_run(run)


@pytest.mark.real
def test_a_run_of_an_older_version_without_hashes_is_paired_by_file(digits_run: Path, run: Path) -> None:
    path = run / "predictions.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["hash", "group", "domain"]), path)
    assert compare_runs(digits_run, run, say=print).record.rows == 60
