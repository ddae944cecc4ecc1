"""What a list of runs says of one of them, read from its folder, whatever state that is in."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headstart.errors import RecordError
from headstart.files import sha256
from headstart.records import from_plain
from headstart.runs.locks import is_held
from headstart.runs.record import FILE, LOCK, SCHEMA, RunRecord

State = Literal["finished", "running", "interrupted", "damaged"]
Setting = str | int | float | bool

METRICS = "metrics.json"
# What every finished run has.
EXPECTED = (METRICS, "audit.json", "ladder.json", "predictions.parquet", "report.html", "model")
# A folder that lost its run.json is still known as a run by these.
_MARKS = {METRICS, "ladder.json", "predictions.parquet"}
_METRICS_SCHEMA = 1
# Bytes. The confusion matrices of 2,000 classes take about 60 MB.
_LARGEST = {FILE: 1 << 20, METRICS: 64 << 20}
_MOST_SETTINGS, _MOST_SCORES, _LONGEST = 100, 200, 4096


@dataclass(frozen=True)
class RunSummary:
    """One run, as far as its folder tells; what can't be read or isn't known yet is ``None`` or empty.

    Attributes
    ----------
    name:
        Of the folder, without those above it.
    state:
        ``finished``; ``running`` while a process writes it; ``interrupted`` if that has ended; ``damaged`` if
        :attr:`problems` keep it from being used.
    problems:
        What is wrong with its files, in sentences without a full stop.
    data:
        Where the images came from.
    task, strategy, backbone, metric, cut, stages:
        What was chosen and fitted; of an unfinished run what was asked for.
    tested:
        How many images tested.
    scores:
        Finite numbers by their names, as ``test_accuracy``, ``val_log_loss`` and ``knn_test_accuracy``.
    intervals:
        95 % intervals of those that have one.
    seconds:
        Of the whole fit.
    started, finished:
        ISO 8601, UTC.
    version:
        Of headstart.
    command:
        The command line that asks for the same again.
    options:
        What was asked for.
    made_with:
        Python, processor, platform, libraries and the engine.
    """

    name: str
    state: State
    problems: tuple[str, ...] = ()
    data: str | None = None
    task: str | None = None
    strategy: str | None = None
    backbone: str | None = None
    metric: str | None = None
    cut: int | None = None
    stages: int | None = None
    tested: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float | None = None
    seed: int | None = None
    started: str | None = None
    finished: str | None = None
    version: str | None = None
    command: str | None = None
    options: dict[str, Setting] = field(default_factory=dict)
    made_with: dict[str, Setting] = field(default_factory=dict)


def summarise(folder: Path) -> RunSummary | None:
    """Read a run folder, whatever is wrong with it; ``None`` if it holds no trace of a run.

    Only plain files of a sensible size are read, and nothing in them is trusted.
    """
    try:
        names = set(os.listdir(folder))
    except OSError:
        return None
    if not is_run(names):
        return None
    run, problem = read_object(folder, FILE)
    problems = [problem] if problem else _problems_of_record(run)
    facts = _of_record(run)
    if not problems and run["state"] != "finished":
        return live(RunSummary(folder.name, "interrupted", **facts), folder)
    if not problems:
        problems += [f"{name} is missing" for name in EXPECTED if name not in names]
    if METRICS in names:
        metrics, problem = read_object(folder, METRICS, _text(_mapping(run, "sha256"), METRICS))
        problems += [problem] if problem else []
        facts |= {name: value for name, value in _of_metrics(metrics).items() if value is not None}
    return RunSummary(folder.name, "damaged" if problems else "finished", tuple(problems), **facts)


def is_run(names: set[str]) -> bool:
    """Whether a folder with files of these names is, or was, that of a run."""
    return FILE in names or len(names & _MARKS) > 1


def live(summary: RunSummary, folder: Path) -> RunSummary:
    """The same run, said to be ``running`` rather than ``interrupted`` if a process holds its folder now."""
    if summary.state not in ("running", "interrupted"):
        return summary
    return dataclasses.replace(summary, state="running" if is_held(folder / LOCK) else "interrupted")


def read_object(folder: Path, name: str, wanted: str | None = None) -> tuple[dict[str, Any], str]:
    """The object in a file, as far as it can be read, and what is wrong with it."""
    try:
        content = _content(folder / name, _LARGEST[name])
        plain = json.loads(content)
    except FileNotFoundError:
        return {}, f"{name} is missing"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return {}, f"{name} can't be read: {error}"
    if not isinstance(plain, dict):
        return {}, f"{name} can't be read: it holds no object"
    schema, known = plain.get("schema"), SCHEMA if name == FILE else _METRICS_SCHEMA
    if isinstance(schema, int) and schema > known:
        return plain, f"{name} was written by a newer headstart (schema {schema}, known is {known}): update headstart"
    if wanted is not None and sha256(content) != wanted:
        return plain, f"{name} was changed after the run had finished"
    return plain, ""


def _content(path: Path, limit: int) -> bytes:
    # Not blocking, so that a pipe in the place of a file can't make the reader wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no plain file")
        if found.st_size > limit:
            raise OSError(f"it is too large ({found.st_size:,} bytes)")
        return file.read(limit)


def _problems_of_record(run: Mapping[str, Any]) -> list[str]:
    try:
        from_plain(RunRecord, run, where=FILE)
    except RecordError as error:
        return [str(error)]
    return []


def _of_record(run: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a summary that ``run.json`` tells."""
    request = _mapping(run, "request")
    about = {name: run.get(name) for name in ("python", "platform", "cpu")} | _mapping(run, "libraries")
    return {
        "data": _text(request, "source"),
        "strategy": _text(request, "strategy"),
        "backbone": _text(request, "backbone"),
        "metric": _text(request, "metric"),
        "cut": _whole(request.get("cut")),
        "seed": _whole(run.get("seed")),
        "started": _text(run, "started"),
        "finished": _text(run, "finished"),
        "version": _text(run, "headstart"),
        "command": _text(run, "command"),
        "options": _settings(request, but="source"),
        "made_with": _settings(about),
    }


def _of_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a summary that ``metrics.json`` tells."""
    splits = _mapping(metrics, "splits")
    scores, intervals = _scores(splits, _mapping(metrics, "baselines"))
    return {
        **{name: _text(metrics, name) for name in ("task", "strategy", "backbone", "metric")},
        **{name: _whole(metrics.get(name)) for name in ("cut", "stages", "seed")},
        "tested": _whole(_mapping(splits, "test").get("n")),
        "scores": scores,
        "intervals": intervals,
        "seconds": _number(_mapping(metrics, "seconds").get("total")),
    }


def _scores(
    splits: Mapping[str, Any], baselines: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every score of both splits and of the baselines, and the intervals of those that have one."""
    sources = {split: _mapping(splits, split) for split in ("test", "val")}
    sources |= {name: _mapping(baselines, name) for name in list(baselines)[:_MOST_SCORES]}
    scores, intervals = {}, {}
    for source, values in sources.items():
        for name in list(values)[:_MOST_SCORES]:
            value = _number(values[name])
            if value is not None and name not in ("n", "groups"):
                scores[f"{source}_{name}"[:_LONGEST]] = value
                if interval := _interval(values.get(f"{name}_ci95")):
                    intervals[f"{source}_{name}"[:_LONGEST]] = interval
    return scores, intervals


def _interval(value: Any) -> tuple[float, float] | None:
    low, high = map(_number, value) if isinstance(value, list) and len(value) == 2 else (None, None)
    return None if low is None or high is None else (low, high)


def _mapping(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _text(values: Mapping[str, Any], name: str) -> str | None:
    found = values.get(name)
    return found[:_LONGEST] if isinstance(found, str) else None


def _whole(value: Any) -> int | None:
    """A whole number that a float holds exactly, so that none is too long to be shown."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _number(value: Any) -> float | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    whole = _whole(value)
    return None if whole is None else float(whole)


def _settings(values: Mapping[str, Any], but: str = "") -> dict[str, Setting]:
    """Those that are plain values, ``None`` left out."""
    found: dict[str, Setting] = {}
    for name, value in list(values.items())[:_MOST_SETTINGS]:
        if name == but:
            continue
        if isinstance(value, str):
            found[name[:_LONGEST]] = value[:_LONGEST]
        elif isinstance(value, bool) or _whole(value) is not None or _number(value) is not None:
            found[name[:_LONGEST]] = value
    return found
