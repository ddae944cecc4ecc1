"""How a command begins and ends as a process: its exit code, and what a person reads of errors and interruptions."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from headstart.cli.commands import app
from headstart.cli.output import say


def main() -> None:
    """Run the command line and end the process.

    It ends at once: nothing is left to do, and taking OpenVINO apart first would cost every command a moment, in which
    a kill would make a finished run look failed.
    """
    code = run()
    with contextlib.suppress(BrokenPipeError):  # the reader of a pipe may have gone
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run() -> int:
    """The exit code of a command; errors that a user can mend become one or two lines and code 2, Ctrl-C 130."""
    from headstart.errors import HeadstartError

    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")  # it may stand before or behind the command
    try:
        app()
    except HeadstartError as error:
        if debug:
            raise
        say(f"headstart: {error}")
        return error.exit_code
    except SystemExit as end:  # Typer ends so, also after Ctrl-C
        if end.code == 130:
            say("headstart: interrupted; what was computed is kept, the same command goes on from there")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
