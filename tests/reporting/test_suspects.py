"""Which labels are shown first, from what an audit and a table of predictions say."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.errors import RunError
from headstart.reporting.labelled_images import labelled_images
from headstart.reporting.suspects import MOST, suspects_of

ROWS = [  # file, split, truth, predicted, confidence
    ("right", "val", "ant", "ant", 0.9),
    ("unsure", "val", "ant", "bee", 0.5),
    ("sure", "val", "bee", "ant", 0.99),
    ("broken", "val", "bee", "ant", float("nan")),
    ("tested", "test", "bee", "ant", 1.0),
]


def folder(path: Path, rows: list[tuple[str, str, object, object, float]], audit: object = None) -> Path:
    names = ("file", "split", "truth", "predicted", "confidence")
    table = [dict(zip(names, row, strict=True)) | {"image": f"/{row[0]}", "hash": "0" * 64} for row in rows]
    pq.write_table(pa.Table.from_pylist(table), path / "predictions.parquet")
    if audit is not None:
        (path / "audit.json").write_text(json.dumps(audit))
    return path


def files(path: Path) -> list[str]:
    return [suspect.image.file for suspect in suspects_of(path, labelled_images(path))]


def test_the_surest_mistakes_come_first_and_those_of_the_test_last(tmp_path: Path) -> None:
    assert files(folder(tmp_path, ROWS)) == ["sure", "unsure", "broken", "tested"]


def test_what_the_audit_suspects_comes_before_mistakes_the_worst_first(tmp_path: Path) -> None:
    found = [
        {"file": "unsure", "kind": "suspicious_label", "evidence": "", "score": None},
        {
            "file": "right",
            "kind": "suspicious_label",
            "evidence": "labelled ant; its neighbours are bees",
            "score": 0.7,
        },
        {"file": "sure", "kind": "blurred", "evidence": "", "score": 1.0},
        "nonsense",
        {"file": ["tested"], "kind": "suspicious_label"},
    ]
    path = folder(tmp_path, ROWS, {"findings": found})
    assert files(path) == ["right", "unsure", "sure", "broken", "tested"]
    first, *others = suspects_of(path, labelled_images(path))
    assert (first.reason, first.audited) == ("its neighbours are bees", True)
    assert others[1].reason == "a model that had not seen it says ant, 99.0% sure"


def test_labels_in_another_order_are_no_mistake(tmp_path: Path) -> None:
    rows = [("a", "val", ["x", "y"], ["y", "x"], 0.9), ("b", "val", ["x"], [], 0.9)]
    path = folder(tmp_path, rows)
    assert files(path) == ["b"]
    assert suspects_of(path, labelled_images(path))[0].reason == "a model that had not seen it says none, 90.0% sure"


def test_a_list_has_an_end(tmp_path: Path) -> None:
    assert len(files(folder(tmp_path, [(str(number), "val", "a", "b", 0.5) for number in range(MOST + 9)]))) == MOST


def test_tables_of_others_and_broken_ones_are_refused(tmp_path: Path) -> None:
    assert labelled_images(tmp_path) == {}
    pq.write_table(pa.table({"file": [1], "image": ["a"]}), tmp_path / "predictions.parquet")
    with pytest.raises(RunError, match="not the table"):
        labelled_images(tmp_path)
    (tmp_path / "predictions.parquet").write_text("no table")
    with pytest.raises(RunError, match="can't be read"):
        labelled_images(tmp_path)
