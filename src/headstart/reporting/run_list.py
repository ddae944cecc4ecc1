"""The text of ``headstart runs`` and ``headstart runs show``: runs in a table, and all about one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePath

from rich.console import Console
from rich.markup import escape

from headstart.reporting.columns import aligned
from headstart.reporting.wording import TEXT_LENGTH, count_text, listed, seconds_text, shorten
from headstart.runs.query import value_of
from headstart.runs.removal import Removable
from headstart.runs.summary import RunSummary, Setting

SHOWN = 25
_OUT = Console(highlight=False, emoji=False)
_FACTS = ("data", "task", "strategy", "backbone", "metric", "cut", "stages", "tested", "seed", "version", "command")
_NUMBERS = {"cut", "seconds"}


def show_runs(runs: Sequence[RunSummary], *, limit: int = SHOWN, more: Sequence[str] = ()) -> None:
    """A line a run, then what is wrong with those that are damaged, and how many more there are.

    Parameters
    ----------
    more:
        Fields that get a column of their own, where they have none already.
    """
    shown = runs[:limit]
    if not shown:
        _OUT.print("no runs", soft_wrap=True)
        return
    columns = _columns(shown, more)
    rows = [tuple(columns), *(tuple(cell(run) for cell in columns.values()) for run in shown)]
    right = {number for number, title in enumerate(columns) if title in _NUMBERS or title in more}
    heading, *lines = aligned(rows, right)
    _OUT.print(f"[bold]{escape(heading)}[/bold]", soft_wrap=True)
    for line in lines:
        _OUT.print(escape(line), soft_wrap=True)
    for run in shown:
        if run.problems:
            _OUT.print(escape(f"• {shorten(run.name)}: {_problems(run)}"), soft_wrap=True)
    rest = len(runs) - len(shown)
    if rest:
        _OUT.print(f"\nand {rest:,} more; --limit {len(runs)} shows them all", soft_wrap=True)


def show_run_summary(run: RunSummary, folder: Path) -> None:
    """Everything that the folder tells about one run."""
    _OUT.print(f"[bold]{escape(shorten(str(folder), TEXT_LENGTH))}[/bold]  {_state(run)}", soft_wrap=True)
    for problem in run.problems:
        _OUT.print(f"• {escape(shorten(problem, TEXT_LENGTH))}", soft_wrap=True)
    facts = [(name, shorten(str(value), TEXT_LENGTH)) for name in _FACTS if (value := value_of(run, name)) is not None]
    times = [
        ("started", local_time(run.started)),
        ("finished", local_time(run.finished)),
        ("took", seconds_text(run.seconds)),
    ]
    _show_pairs([*facts, *((name, value) for name, value in times if value not in ("", "–"))])
    _show_scores(run)
    for title, values in (("asked for", run.options), ("made with", run.made_with)):
        if values:
            _OUT.print(f"\n[bold]{title}[/bold]")
            _show_pairs([(shorten(name), setting_text(value)) for name, value in values.items()])
    report = folder / "report.html"
    if report.is_file():
        _OUT.print(f"\nreport  {escape(shorten(str(report), TEXT_LENGTH))}", soft_wrap=True)


def show_removable(found: Removable) -> None:
    """What would go with a run."""
    from headstart.reporting import terminal  # here, because it brings all that a prediction needs

    size = terminal.size(found.size)
    _OUT.print(f"[bold]{escape(shorten(str(found.folder), TEXT_LENGTH))}[/bold]", soft_wrap=True)
    _OUT.print(
        escape(f"  {count_text(found.files, 'file')}, {size}: {listed(found.names, TEXT_LENGTH)}"), soft_wrap=True
    )


def setting_text(value: Setting | None) -> str:
    """A setting for a person: a dash where it is not given."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shorten(f"{value:.6g}" if isinstance(value, float) else str(value), 100)


def score_with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """``0.950  0.900–0.980``."""
    if value is None:
        return "–"
    return f"{value:.3f}" + ("" if interval is None else f"  {interval[0]:.3f}–{interval[1]:.3f}")


def _columns(runs: Sequence[RunSummary], more: Sequence[str]) -> dict[str, Callable[[RunSummary], str]]:
    """What each column says of a run, by its title."""
    metrics = {run.metric for run in runs}
    of_all = f" {shorten(str(*metrics)).replace('_', ' ')}" if len(metrics) == 1 and None not in metrics else ""
    columns: dict[str, Callable[[RunSummary], str]] = {
        "run": lambda run: shorten(run.name),
        "data": lambda run: shorten(PurePath(run.data or "–").name, 30),
        "strategy": lambda run: shorten(run.strategy or "–", 30),
        "cut": _cut,
        "backbone": lambda run: shorten((run.backbone or "–").rpartition("/")[2], 30),
    }
    if not of_all:
        columns["metric"] = lambda run: shorten(run.metric or "–", 20)
    columns[f"test{of_all}"] = lambda run: _score(run, "test")
    columns["validation"] = lambda run: _score(run, "val").partition(" ")[0]
    for name in more:
        if name not in (*columns, "name", "state", "started", "seconds"):
            columns[name] = lambda run, name=name: setting_text(value_of(run, name))  # type: ignore[misc]
    columns["seconds"] = lambda run: "–" if run.seconds is None else f"{run.seconds:.1f}"
    columns["started"] = lambda run: local_time(run.started)
    return columns


def _score(run: RunSummary, split: str) -> str:
    """The governing score, or in the test's place the state of a run that isn't finished."""
    name = f"{split}_{run.metric}"
    if run.state in ("running", "interrupted"):
        return run.state if split == "test" else "–"
    text = score_with_interval(run.scores.get(name), run.intervals.get(name))
    return f"{text}  {run.state}" if run.state == "damaged" and split == "test" else text


def _cut(run: RunSummary) -> str:
    return "–" if run.cut is None else f"{run.cut}" + ("" if run.stages is None else f"/{run.stages}")


def _state(run: RunSummary) -> str:
    return f"{run.state}, {count_text(len(run.problems), 'problem')}" if run.problems else run.state


def _problems(run: RunSummary) -> str:
    first, *others = run.problems
    more = f", and {count_text(len(others), 'other problem')}" if others else ""
    return shorten(first, TEXT_LENGTH) + more


def local_time(moment: str | None) -> str:
    """A moment in the time zone of the reader, to the minute."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M") if moment else "–"
    except (ValueError, OverflowError):
        return shorten(moment or "–", 20)


def _show_scores(run: RunSummary) -> None:
    names = list(dict.fromkeys(name for split in ("test", "val") for name in _names_of(run, split)))
    if not names:
        return
    rows: list[tuple[str, ...]] = [("score", "test", "validation")]
    for name in names:
        ends = (f"{split}_{name}" for split in ("test", "val"))
        rows.append(
            (shorten(name), *(score_with_interval(run.scores.get(end), run.intervals.get(end)) for end in ends))
        )
    _OUT.print()
    for line in aligned(rows):
        _OUT.print(escape(line), soft_wrap=True)


def _names_of(run: RunSummary, split: str) -> Iterator[str]:
    yield from (name.removeprefix(f"{split}_") for name in run.scores if name.startswith(f"{split}_"))


def _show_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    for line in aligned(pairs) if pairs else ():
        _OUT.print(escape(line), soft_wrap=True)
