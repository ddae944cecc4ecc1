"""The command that shows runs in a browser: ``ui``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.output import say


def ui(
    folder: Annotated[Path, typer.Option(help="The folder that holds the run folders.")] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="On this machine.", show_default="any free one")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the link, and open nothing.")] = False,
) -> None:
    """Look at runs in a browser on this machine: reports, single images, and labels that may be wrong."""
    from headstart.errors import MissingExtraError

    if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise MissingExtraError("headstart ui", "ui")
    from headstart.ui.server import Site, open_browser

    site = Site(folder, port=port, say=say)
    typer.echo(f"runs in {folder}: {site.entry.link()}")
    say("only this machine can open it, and only with this link; Ctrl-C ends it")
    if not no_browser:
        open_browser(site.entry)
    try:
        site.serve()
    except KeyboardInterrupt:
        say("ended; verdicts on labels are kept in each run's corrections.csv")
