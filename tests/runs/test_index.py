"""Lists of runs say what the folders say now, whatever became of folders and index, also after kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.runs import Run, index, summary
from headstart.runs.index import list_runs, record_run
from headstart.runs.locks import acquire

MakeRun = Callable[..., Path]
FINISH = """
import sys
from pathlib import Path
from headstart.runs import Run
for name in sys.argv[2:]:
    with Run.create(Path(sys.argv[1]) / name, "x", {"source": "data"}) as run:
        for file in ("metrics.json", "audit.json", "ladder.json", "predictions.parquet", "report.html", "model"):
            run.write(file, '{"schema": 1, "strategy": "linear_probe"}')
        print(name, flush=True)
        run.finish()
"""


def names(root: Path) -> list[str]:
    return [run.name for run in list_runs(root)]


def rows(root: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(root / ".headstart" / "index.sqlite") as connection:
        return connection.execute("SELECT name, state, strategy, seed FROM runs ORDER BY name").fetchall()


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "summarise", lambda folder: pytest.fail(f"{folder} was read again"))


def change(path: Path, **values: object) -> None:
    """Edit a JSON file in place, as a person would."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_run_is_recorded_when_it_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create(tmp_path / "runs" / "a", "a", {"source": "x"}, seed=3, command="headstart fit x") as run:
        for name in summary.EXPECTED:
            run.write(name, '{"schema": 1, "strategy": "linear_probe"}')
        assert not (tmp_path / "runs" / ".headstart").exists()
        run.finish()
    assert rows(tmp_path / "runs") == [("a", "finished", "linear_probe", 3)]
    no_reading(monkeypatch)
    (found,) = list_runs(tmp_path / "runs")
    assert (found.state, found.problems, found.command) == ("finished", (), "headstart fit x")


def test_a_summary_has_what_the_records_say(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "a", accuracy=0.875, seed=4, epochs=12, auto=True)
    for _ in range(2):  # read from the folder, then from the index
        (found,) = list_runs(tmp_path)
        assert (found.name, found.state, found.problems) == ("a", "finished", ())
        assert (found.data, found.strategy, found.cut, found.stages, found.seed) == (
            "/data/ants",
            "linear_probe",
            9,
            9,
            4,
        )
        assert (found.tested, found.seconds, found.version, found.metric) == (100, 3.5, "0.1.0", "accuracy")
        assert found.scores["test_accuracy"] == 0.875
        assert found.scores["knn_test_accuracy"] == 0.8
        assert found.intervals["test_accuracy"] == pytest.approx((0.825, 0.925))
        assert found.options == {"strategy": "auto", "metric": "accuracy", "epochs": 12, "auto": True}
        assert found.made_with["numpy"] == "2.0"


def test_only_changed_folders_are_read_again(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        make_run(tmp_path / f"run-{number}")
    list_runs(tmp_path)
    read = []
    monkeypatch.setattr(index, "summarise", lambda folder: read.append(folder.name) or summary.summarise(folder))
    assert len(list_runs(tmp_path)) == 5
    assert read == []
    change(tmp_path / "run-1" / "metrics.json", seconds={"total": 99.0})
    (tmp_path / "run-2" / "report.html").unlink()
    make_run(tmp_path / "run-5")
    list_runs(tmp_path)
    assert sorted(read) == ["run-1", "run-2", "run-5"]


def test_runs_moved_or_removed_by_hand_are_listed_as_they_lie(tmp_path: Path, make_run: MakeRun) -> None:
    for name in ("stays", "goes", "moves"):
        make_run(tmp_path / name)
    list_runs(tmp_path)
    shutil.rmtree(tmp_path / "goes")
    (tmp_path / "moves").rename(tmp_path / "moved")
    assert sorted(names(tmp_path)) == ["moved", "stays"]
    assert [row[0] for row in rows(tmp_path)] == ["moved", "stays"]


def test_the_latest_run_is_the_first(tmp_path: Path, make_run: MakeRun) -> None:
    for day in (3, 1, 2):
        make_run(tmp_path / f"day-{day}", started=f"2026-03-0{day}T10:00:00+00:00")
    assert names(tmp_path) == ["day-3", "day-2", "day-1"]


@pytest.mark.parametrize("damage", ["absent", "empty", "noise", "cut", "bits", "foreign", "folder", "pipe", "link"])
def test_a_damaged_index_costs_nothing_but_time(tmp_path: Path, make_run: MakeRun, damage: str) -> None:
    root = tmp_path / "runs"
    for number in range(20):
        make_run(root / f"run-{number}", accuracy=number / 20)
    wanted = list_runs(root)
    file = root / ".headstart" / "index.sqlite"
    content = file.read_bytes()
    bits = bytearray(content)
    for place in random.Random(0).sample(range(100, len(bits)), 200):
        bits[place] ^= 0xFF
    file.unlink()
    contents = {"empty": b"", "noise": random.Random(1).randbytes(9000), "cut": content[:5000], "bits": bytes(bits)}
    if damage in contents:
        file.write_bytes(contents[damage])
    elif damage == "foreign":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE entries (precious)")
    elif damage == "folder":
        file.mkdir()
    elif damage == "pipe":
        os.mkfifo(file)
    elif damage == "link":
        (tmp_path / "elsewhere").write_bytes(b"precious")
        file.symlink_to(tmp_path / "elsewhere")
    assert list_runs(root) == wanted
    assert list_runs(root) == wanted
    if damage == "link":
        assert (tmp_path / "elsewhere").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "row",
    ["", "7", "[]", "{}", '{"state": "finished", "problems": []}', '{"problems": 1}', "[" * 5000, "null"],
)
def test_a_row_that_is_no_summary_is_read_from_the_folder(tmp_path: Path, make_run: MakeRun, row: str) -> None:
    make_run(tmp_path / "a")
    wanted = list_runs(tmp_path)
    with sqlite3.connect(tmp_path / ".headstart" / "index.sqlite") as connection:
        connection.execute("UPDATE entries SET summary = ?", (row,))
    assert list_runs(tmp_path) == wanted


@pytest.mark.parametrize(
    ("field", "value"), [("state", "lost"), ("scores", {"a": "high"}), ("intervals", {"a": [1.0]}), ("cut", "1"),
     ("problems", [1]), ("options", {"a": []}), ("seconds", {}), ("started", 3), ("scores", [1])],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_read_from_the_folder(
    tmp_path: Path, make_run: MakeRun, field: str, value: object
) -> None:
    make_run(tmp_path / "a")
    wanted = list_runs(tmp_path)
    with sqlite3.connect(tmp_path / ".headstart" / "index.sqlite") as connection:
        ((text,),) = connection.execute("SELECT summary FROM entries").fetchall()
        connection.execute("UPDATE entries SET summary = ?", (json.dumps({**json.loads(text), field: value}),))
    assert list_runs(tmp_path) == wanted


def test_an_index_that_cannot_be_written_is_done_without(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "a")
    (tmp_path / ".headstart").write_text("a file in the way")
    assert names(tmp_path) == ["a"]
    with Run.create(tmp_path / "b", "b", {}) as run:
        run.finish()
    assert sorted(names(tmp_path)) == ["a", "b"]


def test_a_link_in_the_place_of_the_index_leads_nowhere(tmp_path: Path, make_run: MakeRun) -> None:
    root, other = tmp_path / "runs", tmp_path / "cache"
    make_run(root / "a")
    other.mkdir()
    (other / "index.sqlite").write_bytes(b"the index of something else")
    (root / ".headstart").symlink_to(other)
    record_run(root / "a")
    assert names(root) == ["a"]
    assert [(path.name, path.read_bytes()) for path in other.iterdir()] == [
        ("index.sqlite", b"the index of something else")
    ]


def test_a_folder_without_runs_is_left_as_it_is(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "run.txt").touch()
    (tmp_path / ".a.0123456789ab.old").mkdir()
    (tmp_path / ".a.0123456789ab.old" / "run.json").touch()
    assert list_runs(tmp_path) == []
    assert not (tmp_path / ".headstart").exists()
    assert not (tmp_path / "absent").exists()


def test_names_may_hold_anything(tmp_path: Path, make_run: MakeRun) -> None:
    odd = [
        "spaced out",
        "-x",
        "'; DROP TABLE entries; --",
        "a\nb",
        "\x1b[31mred",
        "日本",
        os.fsdecode(b"\xff\xfe"),
        "%_",
    ]
    for name in odd:
        make_run(tmp_path / name, data=name)
    for _ in range(2):
        assert sorted(names(tmp_path)) == sorted(odd)
    assert {run.data for run in list_runs(tmp_path)} >= {"日本", "a\nb"}
    shutil.rmtree(tmp_path / odd[-2])
    assert sorted(names(tmp_path)) == sorted(set(odd) - {odd[-2]})


def test_running_and_interrupted_are_told_apart_at_the_moment(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a", state="running")
    for _ in range(2):
        lock = acquire(folder / ".lock", "exclusive", timeout=0)
        assert lock is not None
        assert [run.state for run in list_runs(tmp_path)] == ["running"]
        lock.release()
        assert [run.state for run in list_runs(tmp_path)] == ["interrupted"]


def test_runs_within_a_run_are_left_to_it(tmp_path: Path, make_run: MakeRun) -> None:
    outer = make_run(tmp_path / "a")
    record_run(make_run(outer / "repeats" / "seed-1"))
    assert names(tmp_path) == ["a"]
    assert not (outer / "repeats" / ".headstart").exists()


def test_two_processes_that_finish_at_once_are_both_recorded(tmp_path: Path) -> None:
    wanted = [[f"{process}-{number}" for number in range(15)] for process in "ab"]
    running = [subprocess.Popen([sys.executable, "-c", FINISH, tmp_path, *each]) for each in wanted]
    assert [process.wait() for process in running] == [0, 0]
    assert [row[0] for row in rows(tmp_path)] == sorted(wanted[0] + wanted[1])
    assert sorted(names(tmp_path)) == sorted(wanted[0] + wanted[1])


def test_a_killed_process_leaves_an_index_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    for kill in range(4):
        wanted = [f"{kill}-{number}" for number in range(500)]
        process = subprocess.Popen([sys.executable, "-c", FINISH, tmp_path, *wanted], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        started = len(process.stdout.read().split()) + 1
        process.wait()
        states = {run.name: run.state for run in list_runs(tmp_path) if run.name.startswith(f"{kill}-")}
        assert started - 1 <= sum(state == "finished" for state in states.values()) <= started
        assert set(states.values()) <= {"finished", "interrupted"}
    found = list_runs(tmp_path)
    no_reading(monkeypatch)
    assert list_runs(tmp_path) == found
