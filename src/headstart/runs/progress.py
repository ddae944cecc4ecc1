"""Progress of long work: a bar with rate and estimate on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    import rich.progress


class Step(Protocol):
    """Says that ``count`` more items are done."""

    def __call__(self, count: int = 1, /) -> None: ...


class Progress(Protocol):
    """Where long work tells how far it is: ``with progress.task("features", total=n) as step: step(32)``."""

    def task(self, name: str, total: int) -> AbstractContextManager[Step]:
        """Start a task of ``total`` items, which ends with the ``with`` block."""
        ...


class SilentProgress:
    """Tells nothing."""

    def task(self, name: str, total: int) -> AbstractContextManager[Step]:
        """A task that nobody hears of."""
        return contextlib.nullcontext(_no_step)


class LineProgress:
    """Writes a plain line every few seconds, and one when a task is done.

    Parameters
    ----------
    every:
        Seconds between two lines of a task.
    """

    def __init__(self, stream: TextIO, *, every: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Step]:
        """A task whose lines begin with ``name``; one without items writes none."""
        start = last = self._clock()
        done = 0

        def step(count: int = 1, /) -> None:
            nonlocal done, last
            done += count
            now = self._clock()
            if now - last >= self._every and done < total:
                last = now
                rate = done / (now - start)
                self._write(f"{name}: {_of(done, total)}, {rate:,.0f}/s, {_duration((total - done) / rate)} left")

        yield step
        if done:
            seconds = self._clock() - start
            self._write(f"{name}: {done:,} in {_duration(seconds)}{_rate(done, seconds)}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class BarProgress:
    """Draws bars on a terminal, one below the other."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._display: rich.progress.Progress | None = None

    @contextlib.contextmanager
    def task(self, name: str, total: int) -> Iterator[Step]:
        """A task with a bar; one without items draws none. Tasks may be nested."""
        if not total:
            yield _no_step
            return
        with self._displayed() as display:
            bar = display.add_task(name, total=total, rate="")
            start, done = time.monotonic(), 0

            def step(count: int = 1, /) -> None:
                nonlocal done
                done += count
                display.update(bar, completed=done, rate=_rate(done, time.monotonic() - start))

            yield step

    @contextlib.contextmanager
    def _displayed(self) -> Iterator[rich.progress.Progress]:
        if self._display is not None:  # a terminal can have only one
            yield self._display
            return
        try:
            with _bars(self._stream) as self._display:
                yield self._display
        finally:
            self._display = None


def progress_on(stream: TextIO) -> Progress:
    """Bars if ``stream`` is a terminal that can draw them, else lines."""
    drawable = stream.isatty() and os.environ.get("TERM") != "dumb"
    return BarProgress(stream) if drawable else LineProgress(stream)


def _bars(stream: TextIO) -> rich.progress.Progress:
    from rich import progress  # here, because most commands show none and it takes a while to import
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
        console=Console(file=stream),
    )


def _no_step(count: int = 1, /) -> None:
    """Take no notice."""


def _of(done: int, total: int) -> str:
    return f"{done:,} of {total:,} ({done / total:.0%})"


def _rate(done: int, seconds: float) -> str:
    return f", {done / seconds:,.0f}/s" if seconds > 0 else ""


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
