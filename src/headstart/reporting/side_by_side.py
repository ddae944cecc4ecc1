"""Runs side by side: in which settings they differ, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from headstart.errors import RunError
from headstart.reporting.columns import aligned
from headstart.reporting.run_list import score_with_interval, setting_text
from headstart.reporting.wording import TEXT_LENGTH, count_text, shorten
from headstart.runs.summary import METRICS, RunSummary, Setting, read_object, summarise

_OUT = Console(highlight=False, emoji=False)
_CHOSEN = ("state", "data", "task", "strategy", "backbone", "metric", "cut", "stages", "tested", "seed", "version")
_SPLITS = ("test_", "val_")
_UNFINISHED = ("running", "interrupted")


@dataclass(frozen=True)
class SettingRow:
    """A setting, and what it was in each run; ``None`` where a run doesn't have it."""

    name: str
    values: tuple[Setting | None, ...]


@dataclass(frozen=True)
class ScoreRow:
    """A score of each run with its 95 % interval; ``difference`` is the second minus the first where there are two."""

    name: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    difference: float | None


@dataclass(frozen=True)
class SideBySide:
    """Runs side by side.

    Attributes
    ----------
    runs:
        Their folders, as they were named.
    chosen, options, made_with:
        What they differ in: what was chosen, what was asked for, and the versions.
    equal:
        How many settings are the same in all.
    scores:
        Of the test, the validation, and the baselines.
    notes:
        What speaks against comparing them, and what is wrong with their files.
    """

    runs: tuple[str, ...]
    chosen: tuple[SettingRow, ...]
    options: tuple[SettingRow, ...]
    made_with: tuple[SettingRow, ...]
    equal: int
    scores: tuple[ScoreRow, ...]
    notes: tuple[str, ...]


def put_side_by_side(folders: Sequence[Path]) -> SideBySide:
    """Put two or more runs side by side; they need not be finished.

    Raises
    ------
    RunError
        If there are fewer than two, or a folder holds no run.
    """
    if len(folders) < 2:
        raise RunError("a comparison needs two runs or more")
    runs = [_summary(folder) for folder in folders]
    chosen = [SettingRow(name, tuple(getattr(run, name) for run in runs)) for name in _CHOSEN]
    options = _setting_rows([run.options for run in runs])
    made_with = _setting_rows([run.made_with for run in runs])
    return SideBySide(
        runs=tuple(map(str, folders)),
        chosen=tuple(filter(_differs, chosen)),
        options=tuple(filter(_differs, options)),
        made_with=tuple(filter(_differs, made_with)),
        equal=sum(not _differs(row) for row in (*chosen, *options, *made_with)),
        scores=_score_rows(runs),
        notes=_notes(runs, [read_object(folder, METRICS)[0] for folder in folders]),
    )


def show_side_by_side(found: SideBySide) -> None:
    """Two tables, what differs and the scores, then the notes."""
    titles = [shorten(Path(run).name, 40) for run in found.runs]
    settings = [("what differs", *titles)]
    for rows in (found.chosen, found.options, found.made_with):
        settings += [(shorten(row.name), *map(setting_text, row.values)) for row in rows]
    if len(settings) > 1:
        _show_table(settings)
    _OUT.print(f"{count_text(found.equal, 'other setting')} the same in all", style="dim")
    if found.scores:
        _OUT.print()
        _show_table(_score_table(found, titles))
    for note in found.notes:
        _OUT.print(f"• {escape(shorten(note, TEXT_LENGTH))}", soft_wrap=True)


def _score_table(found: SideBySide, titles: Sequence[str]) -> list[tuple[str, ...]]:
    two = len(titles) == 2
    rows: list[tuple[str, ...]] = [("score", *titles, *(["difference"] if two else []))]
    for row in found.scores:
        cells = map(score_with_interval, row.values, row.intervals)
        difference = "–" if row.difference is None else f"{row.difference:+.3f}"
        rows.append((shorten(row.name.replace("_", " ")), *cells, *([difference] if two else [])))
    return rows


def _summary(folder: Path) -> RunSummary:
    run = summarise(folder)
    if run is None:
        raise RunError(f"{folder} is no run folder; headstart runs lists those that there are")
    return run


def _setting_rows(runs: Sequence[dict[str, Setting]]) -> list[SettingRow]:
    names = dict.fromkeys(name for values in runs for name in values)
    return [SettingRow(name, tuple(values.get(name) for values in runs)) for name in names]


def _differs(row: SettingRow) -> bool:
    return any(value != row.values[0] for value in row.values[1:])


def _score_rows(runs: Sequence[RunSummary]) -> tuple[ScoreRow, ...]:
    """The test's scores first, then the validation's, then the baselines'."""
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    names.sort(key=lambda name: next((at for at, split in enumerate(_SPLITS) if name.startswith(split)), len(_SPLITS)))
    rows = []
    for name in names:
        values = tuple(run.scores.get(name) for run in runs)
        first, second = values[:2]
        difference = second - first if len(runs) == 2 and first is not None and second is not None else None
        rows.append(ScoreRow(name, values, tuple(run.intervals.get(name) for run in runs), difference))
    return tuple(rows)


def _notes(runs: Sequence[RunSummary], metrics: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    notes = [f"{run.name}: {problem}" for run in runs for problem in run.problems]
    notes += [f"{run.name} is {run.state}: it has no scores yet" for run in runs if run.state in _UNFINISHED]
    finished = [run for run in runs if run.state not in _UNFINISHED]
    if _vary(finished, lambda run: run.task):
        notes.append("The runs are of different tasks: their scores mean different things.")
    elif _vary([found for found in metrics if found], lambda found: found.get("classes")):
        notes.append("The runs have different classes: their scores can't be compared.")
    elif _vary(finished, lambda run: run.data):
        notes.append("The runs were fitted on different data: a difference may come from those.")
    elif _vary(finished, lambda run: run.tested) or (_vary(finished, lambda run: run.seed) and _held_out(metrics)):
        notes.append("The runs were tested on different images: a part of each difference is the luck of that draw.")
    return tuple(notes)


def _held_out(metrics: Sequence[dict[str, Any]]) -> bool:
    """Whether a run drew its own test from the data."""
    protocols = [found.get("protocol") for found in metrics]
    return any(isinstance(protocol, dict) and protocol.get("test") == "held_out" for protocol in protocols)


def _vary(items: Sequence[Any], fact: Callable[[Any], object]) -> bool:
    found = [fact(item) for item in items]
    return any(value != found[0] for value in found[1:])


def _show_table(rows: Sequence[tuple[str, ...]]) -> None:
    heading, *lines = aligned(rows)
    _OUT.print(f"[bold]{escape(heading)}[/bold]", soft_wrap=True)
    for line in lines:
        _OUT.print(escape(line), soft_wrap=True)
