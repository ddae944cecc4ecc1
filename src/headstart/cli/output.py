"""Where commands write: results to standard output, what happens meanwhile to standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from headstart.runs import Progress


def say(line: str) -> None:
    """A line to standard error."""
    typer.echo(line, err=True)


def print_json(record: Any) -> None:
    """A record to standard output."""
    from headstart import records

    typer.echo(records.to_json(record), nl=False)


def progress() -> Progress:
    """Bars or lines on standard error."""
    from headstart.runs import progress_on

    return progress_on(sys.stderr)
