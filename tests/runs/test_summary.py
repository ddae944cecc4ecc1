"""A run folder with anything wrong in it is summarised with what is wrong, and never raises or hangs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.runs.summary import summarise

MakeRun = Callable[..., Path]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_holds_no_trace_of_a_run_is_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")  # of some other program
    assert summarise(tmp_path) is None
    assert summarise(tmp_path / "absent") is None
    assert summarise(tmp_path / "metrics.json") is None


@pytest.mark.parametrize("name", ["metrics.json", "audit.json", "ladder.json", "predictions.parquet", "report.html"])
def test_a_missing_file_is_named(tmp_path: Path, make_run: MakeRun, name: str) -> None:
    folder = make_run(tmp_path / "a")
    (folder / name).unlink()
    found = summarise(folder)
    assert found is not None
    assert (found.state, found.problems) == ("damaged", (f"{name} is missing",))
    assert found.data == "/data/ants"
    assert (found.strategy == "linear_probe") == (name != "metrics.json")


def test_without_its_record_a_run_still_tells_its_scores(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a")
    (folder / "run.json").unlink()
    found = summarise(folder)
    assert found is not None
    assert (found.state, found.problems, found.data) == ("damaged", ("run.json is missing",), None)
    assert found.scores["test_accuracy"] == 0.9


def test_edited_scores_are_shown_and_said_to_be_edited(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a")
    change(folder / "metrics.json", splits={"test": {"n": 100, "accuracy": 1.0}})
    found = summarise(folder)
    assert found is not None
    assert found.problems == ("metrics.json was changed after the run had finished",)
    assert (found.state, found.scores["test_accuracy"]) == ("damaged", 1.0)


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
def test_a_newer_headstart_is_named(tmp_path: Path, make_run: MakeRun, name: str) -> None:
    folder = make_run(tmp_path / "a")
    change(folder / name, schema=7, novelty=["unknown"])
    found = summarise(folder)
    assert found is not None
    (problem,) = found.problems
    assert f"{name} was written by a newer headstart (schema 7, known is 1)" in problem
    assert (found.data, found.strategy, found.version) == ("/data/ants", "linear_probe", "0.1.0")


HOSTILE = [
    b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}",
    b'{"schema": true, "request": 3, "libraries": [], "seed": 1e999, "state": ["finished"], "splits": 5}',
    b'{"splits": {"test": 1, "val": {"accuracy": NaN, "accuracy_ci95": [1], "n": {}}}, "baselines": {"a": 3}}',
    b'{"splits": {"test": {"accuracy": ' + b"9" * 400 + b', "a\\ud800": 1}}, "seconds": [], "strategy": 3}',
]  # fmt: skip


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
@pytest.mark.parametrize("content", HOSTILE)
def test_no_content_makes_it_fail(tmp_path: Path, make_run: MakeRun, name: str, content: bytes) -> None:
    folder = make_run(tmp_path / "a")
    (folder / name).write_bytes(content)
    found = summarise(folder)
    assert found is not None
    assert found.state == "damaged"
    assert found.problems[0].startswith(name)


@pytest.mark.parametrize("name", ["run.json", "metrics.json", ".lock"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "huge", "dangling"])
def test_no_kind_of_file_makes_it_wait(tmp_path: Path, make_run: MakeRun, name: str, kind: str) -> None:
    folder = make_run(tmp_path / "a", state="finished" if name == "metrics.json" else "running")
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.symlink_to(folder / "nothing")
    found = summarise(folder)
    assert found is not None
    if name == ".lock":
        assert found.state in ("running", "interrupted")
    else:
        assert found.state == "damaged"
        assert name in found.problems[0]
