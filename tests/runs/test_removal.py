"""Removing a run takes its folder and nothing else, and refuses whatever may not be a finished piece of work."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.errors import RunError
from headstart.runs import removal
from headstart.runs.index import list_runs
from headstart.runs.locks import acquire
from headstart.runs.removal import check_removable, remove_run

MakeRun = Callable[..., Path]


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize("state", ["finished", "running"])
def test_a_run_is_gone_from_disk_and_list(tmp_path: Path, make_run: MakeRun, state: str) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / "runs" / name, state=state)
    list_runs(tmp_path / "runs")
    remove_run(tmp_path / "runs" / "a")
    assert [run.name for run in list_runs(tmp_path / "runs")] == ["b"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".headstart", "b"]


def test_what_would_go_is_told_first(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a")
    (folder / "model" / "notes.txt").write_text("12345")
    found = check_removable(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert (found.folder, found.files) == (folder, len(files))
    assert found.size == sum(path.stat().st_size for path in files)
    assert "model" in found.names
    assert ".lock" not in found.names


def test_links_in_a_run_go_and_what_they_point_to_stays(tmp_path: Path, make_run: MakeRun) -> None:
    folder, precious = make_run(tmp_path / "a"), tmp_path / "precious"
    (precious / "deep").mkdir(parents=True)
    (precious / "deep" / "photo.jpg").write_text("x")
    (folder / "photos").symlink_to(precious)
    (folder / "model" / "photos").symlink_to(precious / "deep")
    (folder / "photo.jpg").symlink_to(precious / "deep" / "photo.jpg")
    before = everything(precious)
    remove_run(folder)
    assert not folder.exists()
    assert everything(precious) == before


@pytest.mark.parametrize("way", ["link", "dots", "root", "here"])
def test_only_a_folder_that_is_named_itself_is_removed(
    tmp_path: Path, make_run: MakeRun, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "away" / "a")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    named = {"link": tmp_path / "link", "dots": folder / "model" / "..", "root": Path("/"), "here": Path(".")}
    before = everything(tmp_path)
    with pytest.raises(RunError):
        remove_run(named[way])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("current", [".", "model"])
def test_the_current_folder_stays(
    tmp_path: Path, make_run: MakeRun, current: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "a")
    monkeypatch.chdir(folder / current)
    with pytest.raises(RunError, match="go elsewhere first"):
        remove_run(folder)
    assert (folder / "run.json").exists()


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"name": "vite", "scripts": {}}', None])
def test_a_folder_that_may_not_be_a_run_stays(tmp_path: Path, make_run: MakeRun, content: str | None) -> None:
    folder = make_run(tmp_path / "a")
    (folder / "run.json").unlink() if content is None else (folder / "run.json").write_text(content)
    with pytest.raises(RunError, match="not surely a run"):
        remove_run(folder)
    assert (folder / "metrics.json").exists()


def test_what_is_no_folder_stays(tmp_path: Path, make_run: MakeRun) -> None:
    file = make_run(tmp_path / "a") / "run.json"
    for path in (file, tmp_path / "absent", tmp_path):
        with pytest.raises(RunError):
            remove_run(path)
    assert file.exists()


def test_a_folder_with_other_runs_in_it_stays(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a")
    make_run(folder / "b")
    with pytest.raises(RunError, match="holds another run, b"):
        remove_run(folder)
    make_run(tmp_path / "c")
    make_run(tmp_path / "c" / "repeats" / "seed-1")  # these belong to it
    remove_run(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".headstart", "a"]


def test_a_run_that_is_written_stays(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a", state="running")
    lock = acquire(folder / ".lock", "exclusive", timeout=0)
    assert lock is not None
    with lock, pytest.raises(RunError, match="is being written by another process"):
        remove_run(folder)
    assert (folder / "run.json").exists()
    remove_run(folder)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_of_another_kind_is_not_touched(tmp_path: Path, make_run: MakeRun, kind: str) -> None:
    folder = make_run(tmp_path / "a")
    (folder / ".lock").unlink()
    if kind == "link":
        (folder / ".lock").symlink_to(tmp_path / "made")
    elif kind == "pipe":
        os.mkfifo(folder / ".lock")
    else:
        (folder / ".lock").mkdir()
    with pytest.raises(RunError, match="no plain file"):
        remove_run(folder)
    assert not (tmp_path / "made").exists()


def test_runs_of_a_newer_headstart_can_be_removed(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "a")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "schema": 9, "more": 1}))
    remove_run(folder)
    assert not folder.exists()


def test_a_removal_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name)

    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(removal.shutil, "rmtree", kill)
        with pytest.raises(Killed):
            remove_run(tmp_path / "a")
    assert [run.name for run in list_runs(tmp_path)] == ["b"]
    (tmp_path / ".a.removed").mkdir()  # somebody else's
    remove_run(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.removed", ".headstart"]
