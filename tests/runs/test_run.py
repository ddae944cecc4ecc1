"""A run folder has one writer, is taken over only by the same request, and is read only when it is finished."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import RunError, StorageError
from headstart.runs import Run, find_run

REQUEST: dict[str, Any] = {"source": "data/ants", "strategy": "auto", "sizes": (1, 2)}


@pytest.fixture(autouse=True)
def inside_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def interrupted(out: Path | None, request: dict[str, Any] = REQUEST, seed: int = 0) -> Path:
    """The folder of a run that began, wrote something and ended."""
    with Run.create(out, "ants", request, seed=seed) as run:
        run.write("plan.json", "{}")
    return run.folder


def finished(out: Path | None) -> Path:
    with Run.create(out, "ants", REQUEST) as run:
        run.finish()
    return run.folder


def test_a_run_says_where_when_and_with_what_it_ran() -> None:
    with Run.create(None, "ants", REQUEST, seed=3) as run:
        record = json.loads((run.folder / "run.json").read_text())
        assert (record["schema"], record["state"], record["seed"], record["finished"]) == (1, "running", 3, None)
        assert record["request"] == {"source": "data/ants", "strategy": "auto", "sizes": [1, 2]}
        assert record["started"].endswith("+00:00")
        assert record["python"] == ".".join(map(str, sys.version_info[:3]))
        assert record["cpu"]
        assert "numpy" in record["libraries"]
        run.finish()
    record = find_run(run.folder).record
    assert record == run.record
    assert record.state == "finished"
    assert record.finished is not None
    assert record.finished >= record.started


def test_numbers_are_the_first_free_ones() -> None:
    folders = [finished(None) for _ in range(3)]
    assert [folder.name for folder in folders] == ["ants-1", "ants-2", "ants-3"]
    assert folders[0].parent == Path("runs").absolute()
    for path in folders[1].iterdir():
        path.unlink()
    folders[1].rmdir()
    assert finished(None).name == "ants-2"


@pytest.mark.parametrize(
    ("name", "folder"), [("a/b c", "a-b-c-1"), ("..", "run-1"), ("", "run-1"), ("Blätter", "Blätter-1")]
)
def test_any_name_gives_a_folder_below_runs(name: str, folder: str) -> None:
    with Run.create(None, name, REQUEST) as run:
        assert run.folder == Path("runs").absolute() / folder


def test_the_latest_interrupted_run_of_the_same_request_is_taken_over() -> None:
    first = interrupted(None)
    other = interrupted(None, {"source": "other"})
    third = interrupted(None, seed=1)
    finished_one = Run.create(None, "bees", REQUEST)
    finished_one.finish()
    assert len({first, other, third}) == 3
    with Run.create(None, "ants", REQUEST) as run:
        assert run.folder == first
        assert run.resumed
    with Run.create(None, "bees", REQUEST) as run:
        assert run.folder.name == "bees-2"
        assert not run.resumed


def test_a_run_in_progress_is_not_taken_over() -> None:
    with Run.create(None, "ants", REQUEST) as first, Run.create(None, "ants", REQUEST) as second:
        assert first.folder != second.folder


def test_out_may_be_absent_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "deep" / "absent"):
        with Run.create(out, "ants", REQUEST) as run:
            assert run.folder == out
            run.finish()
        assert find_run(out).path("run.json").exists()


def test_out_with_an_interrupted_run_of_the_same_request_is_taken_over(tmp_path: Path) -> None:
    out = interrupted(tmp_path / "out")
    half = [out / ".plan.json.0123456789ab.tmp", out / "model" / ".model.json.0123456789ab.tmp"]
    (out / "model").mkdir()
    for path in half:
        path.write_text("half")
    (out / ".model.0123456789ab.old").mkdir()
    (out / "notes.txt").write_text("by a person")
    with Run.create(out, "ants", REQUEST) as run:
        assert run.resumed
        assert run.record.state == "running"
    assert not any(path.exists() for path in half)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "model", "notes.txt", "plan.json", "run.json"]


def test_out_that_holds_anything_else_is_refused(tmp_path: Path) -> None:
    def refusal(out: Path, seed: int = 0) -> str:
        before = sorted(out.rglob("*")) if out.is_dir() else []
        with pytest.raises(RunError) as caught:
            Run.create(out, "ants", REQUEST, seed=seed)
        assert [path for path in before if not path.exists()] == []
        assert str(out) in str(caught.value)
        return str(caught.value)

    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").write_text("")
    assert "can't be made there" in refusal(Path("/proc/headstart"))
    assert "a file is in the way" in refusal(tmp_path / "file")
    assert "a file is in the way" in refusal(tmp_path / "file" / "below")
    assert "not empty" in refusal(tmp_path / "full")
    assert not (tmp_path / "full" / ".lock").exists()
    assert "finished run" in refusal(finished(tmp_path / "finished"))
    assert "another request" in refusal(interrupted(tmp_path / "other", {"source": "x"}))
    assert "another request (seed 0 there, 1 now)" in refusal(interrupted(tmp_path / "seed"), seed=1)
    interrupted(tmp_path / "broken").joinpath("run.json").write_text("{")
    assert "not empty" in refusal(tmp_path / "broken")
    with Run.create(tmp_path / "live", "ants", REQUEST):
        assert "another process" in refusal(tmp_path / "live")


def test_another_request_is_named_by_what_differs(tmp_path: Path) -> None:
    there = {"source": "/data/" + "deep/" * 30 + "ants", "backbone": "timm/a", "cut": None, "strategy": "auto"}
    now = {**there, "source": there["source"].replace("ants", "bees"), "backbone": "timm/b", "cut": 3}
    out = interrupted(tmp_path / "out", there)
    with pytest.raises(RunError) as caught:
        Run.create(out, "ants", now)
    message = str(caught.value)
    assert 'ants" there, …' in message
    assert 'bees" now' in message
    assert 'backbone "timm/a" there, "timm/b" now; cut null there, 3 now' in message
    assert "strategy" not in message
    assert "seed" not in message
    assert "ask for the same again" in message
    assert "--out" in message
    assert len(message) < 400 + len(str(out))
    assert "\n" not in message
    with pytest.raises(RunError, match=r"a absent there, 0 now; .*d absent there, 3 now; 5 more\)"):
        Run.create(out, "ants", {**dict(zip("abcdefghi", range(9), strict=True)), **there})
    with Run.create(out, "ants", there) as run:
        assert run.resumed


@pytest.mark.parametrize("leftover", [None, ".lock", ".run.json.0123456789ab.tmp"])
def test_a_run_killed_before_its_record_was_written_is_taken_over(leftover: str | None, tmp_path: Path) -> None:
    for out in (tmp_path / "out", tmp_path / "runs" / "ants-1"):
        out.mkdir(parents=True)
        if leftover:
            (out / leftover).write_text("")
    with Run.create(tmp_path / "out", "ants", REQUEST) as run:
        assert not run.resumed
    with Run.create(None, "ants", REQUEST) as run:
        assert run.folder.name == "ants-1"
        assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "run.json"]


def test_files_are_written_whole_as_text_bytes_or_records() -> None:
    @dataclass(frozen=True)
    class Plan:
        cut: int

    with Run.create(None, "ants", REQUEST) as run:
        run.write("a.txt", "é")
        run.write("b.bin", b"\0\1")
        run.write("deep/plan.json", Plan(3))
        assert run.path("a.txt").read_text() == "é"
        assert run.path("b.bin").read_bytes() == b"\0\1"
        assert json.loads(run.path("deep/plan.json").read_text()) == {"cut": 3}


def test_only_finished_runs_are_found(tmp_path: Path) -> None:
    out = interrupted(tmp_path / "out")
    with pytest.raises(RunError, match="interrupted: run the same command again"):
        find_run(out)
    with Run.create(out, "ants", REQUEST), pytest.raises(RunError, match="still being written"):
        find_run(out)
    with pytest.raises(RunError, match="absent"):
        find_run(tmp_path / "absent")
    with pytest.raises(RunError, match="a file"):
        find_run(out / "run.json")
    with pytest.raises(RunError, match=r"no run\.json"):
        find_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"schema": 2}, "newer headstart"), ({"state": "lost"}, "lost"), ({"extra": 1}, "extra"), ({"seed": "x"}, "seed")],
)
def test_a_record_that_can_not_be_read_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = finished(tmp_path / "out") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=message) as caught:
        find_run(tmp_path / "out")
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="not allowed"):
        Run.create(tmp_path / "closed" / "out", "ants", REQUEST)


WORKER = """
import sys
from headstart.runs import Run
print("ready", flush=True)
sys.stdin.readline()
with Run.create(None, "ants", {"source": "data"}) as run:
    print(run.folder.name, flush=True)
    sys.stdin.readline()
    for number in range(200):
        run.write(f"file-{number % 5}", "x" * 1000)
    sys.stdin.readline()
    run.finish()
"""


def start(count: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    assert [hear(worker) for worker in workers] == ["ready"] * count
    return workers


def tell(worker: subprocess.Popen[str], lines: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(lines)
    worker.stdin.flush()


def hear(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def test_processes_that_start_at_once_get_folders_of_their_own() -> None:
    workers = start(4)
    for worker in workers:
        tell(worker, "\n")
    names = {hear(worker) for worker in workers}
    for worker in workers:
        worker.communicate("\n\n")
    assert names == {"ants-1", "ants-2", "ants-3", "ants-4"}
    assert all(find_run(Path("runs") / name).record.state == "finished" for name in names)


def test_a_run_killed_at_any_moment_is_finished_by_the_next() -> None:
    rng = random.Random(0)
    for _ in range(5):
        (worker,) = start(1)
        tell(worker, "\n\n")
        time.sleep(rng.uniform(0, 0.03))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    (worker,) = start(1)
    worker.communicate("\n\n\n")
    assert worker.returncode == 0
    assert [path.name for path in Path("runs").glob("[!.]*")] == ["ants-1"]
    assert find_run(Path("runs/ants-1")).record.state == "finished"
    assert list(Path("runs").rglob("*.tmp")) == []


def test_an_error_before_anything_is_written_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad data"), Run.create(tmp_path / "runs" / "a", "a", {}):
        raise ValueError("bad data")
    assert not list(tmp_path.iterdir())


def test_an_error_after_something_was_written_keeps_it(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", "a", {})
    run.write("audit.json", "{}")
    with pytest.raises(ValueError, match="late"), run:
        raise ValueError("late")
    assert (tmp_path / "a" / "audit.json").exists()
