"""The command line as a subprocess, watched from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Records what a process does, from inside it: internet sockets are refused, child processes are noted.
SPY = """
import os, sys
_log = os.environ.get("HEADSTART_SPY")
if os.environ.get("HEADSTART_NO_TORCH"):
    for name in ("torch", "torchvision", "timm", "lightning_fabric"):
        sys.modules[name] = None
def _note(text):
    with open(_log, "a") as file:
        file.write(text + "\\n")
def _hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind") and not isinstance(args[-1], (str, bytes)):
        _note(f"{event} {args}")
        raise OSError("sockets are blocked in this test")
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "os.exec"):
        _note(f"{event} {args}")
if _log:
    sys.addaudithook(_hook)
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a process that keeps to ``tmp_path``: its own cache, home, temporary folder, and the spy."""
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SPY)
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    others = ("HEADSTART_", "HF_", "XDG_", "OMP_")  # as a user has it, with as many threads as there are cores
    plain = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    return {
        **plain,
        "PYTHONPATH": str(spy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HEADSTART_CACHE": str(tmp_path / "cache"),
        "HEADSTART_BUDGET": "1s",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
    }


@pytest.fixture
def headstart(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Done]:
    """Run the command line in ``tmp_path/work``."""

    def run(*arguments: object, python: str = sys.executable, **variables: str) -> Done:
        command = [python, "-m", "headstart.cli", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=tmp_path / "work",
            env={**environment, **variables},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
