"""Progress tells how far long work is, on a terminal and without one, and never stands in its way."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from headstart.runs import BarProgress, LineProgress, Progress, SilentProgress, progress_on


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_come_every_few_seconds_with_rate_and_estimate() -> None:
    clock, stream = Clock(), io.StringIO()
    with LineProgress(stream, every=5, clock=clock).task("features", total=2000) as step:
        for _ in range(20):
            clock.now += 1
            step(100)
    assert stream.getvalue().splitlines() == [
        "features: 500 of 2,000 (25%), 100/s, 15 s left",
        "features: 1,000 of 2,000 (50%), 100/s, 10 s left",
        "features: 1,500 of 2,000 (75%), 100/s, 5.0 s left",
        "features: 2,000 in 20 s, 100/s",
    ]


def test_long_times_are_in_minutes_and_hours() -> None:
    clock, stream = Clock(), io.StringIO()
    with LineProgress(stream, clock=clock).task("x", total=100) as step:
        clock.now += 90
        step()
        clock.now += 10
        step(49)
    assert "2 h 28 min left" in stream.getvalue()
    assert "1 min 40 s left" in stream.getvalue()


@pytest.mark.parametrize("make", [BarProgress, LineProgress, lambda stream: SilentProgress()])
def test_a_task_without_items_shows_nothing(make: type[BarProgress]) -> None:
    stream = Terminal()
    with make(stream).task("features", total=0):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize("progress", [BarProgress(Terminal()), LineProgress(io.StringIO()), SilentProgress()])
def test_an_error_passes_and_another_task_can_follow(progress: Progress) -> None:
    def fail() -> None:
        with progress.task("first", total=5) as step:
            step(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with progress.task("second", total=5) as step:
        step()
        with progress.task("inner", total=3) as inner:
            inner(3)
        step(4)


def test_a_bar_shows_name_count_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress_on(stream).task("features", total=30) as step:
        step(30)
    assert "features" in stream.getvalue()
    assert "30/30" in stream.getvalue()
    assert "/s" in stream.getvalue()


def test_only_a_terminal_that_can_draw_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress_on(Terminal()), BarProgress)
    assert isinstance(progress_on(io.StringIO()), LineProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_on(Terminal()), LineProgress)


def test_rich_is_not_imported_before_a_bar_is_drawn() -> None:
    code = "import sys, headstart.runs; headstart.runs.progress_on(sys.stderr); sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
