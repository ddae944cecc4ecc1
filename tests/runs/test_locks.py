"""Locks hold against other processes and against this one, and end with their holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headstart.errors import StorageError
from headstart.runs.locks import acquire, is_held

HOLDER = """
import sys
from pathlib import Path
from headstart.runs.locks import acquire
lock = acquire(Path(sys.argv[1]), "exclusive", timeout=0)
print("held" if lock else "refused", flush=True)
sys.stdin.read()
"""


def test_an_exclusive_lock_is_held_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = acquire(path, "exclusive", timeout=0)
    assert first is not None
    assert acquire(path, "exclusive", timeout=0.01) is None
    assert acquire(path, "shared", timeout=0) is None
    first.release()
    first.release()
    assert acquire(path, "exclusive", timeout=0) is not None


def test_a_shared_lock_is_held_by_many(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with acquire(path, "shared", timeout=0) or pytest.fail("refused"):
        second = acquire(path, "shared", timeout=0)
        assert second is not None
        assert acquire(path, "exclusive", timeout=0) is None
        second.release()
    with acquire(path, "exclusive", timeout=0) or pytest.fail("refused"):
        assert is_held(path)
    assert not is_held(path)


def test_a_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        assert acquire(path, "exclusive", timeout=0) is None
        holder.kill()
        holder.wait()
    assert not is_held(path)
    assert acquire(path, "exclusive", timeout=1) is not None


def test_an_absent_file_is_held_by_nobody(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "absent")


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, flag: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError, match="no locks"):
        acquire(tmp_path / "lock", "shared", timeout=0)
