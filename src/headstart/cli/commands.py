"""The table of commands, and what goes for all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from headstart.cli import runs
from headstart.cli.auditing import audit
from headstart.cli.backbones import backbones
from headstart.cli.comparing import compare
from headstart.cli.data import gap, inspect
from headstart.cli.explaining import explain
from headstart.cli.exporting import export
from headstart.cli.features import cache, embed
from headstart.cli.fitting import demo, fit
from headstart.cli.models import evaluate, predict
from headstart.cli.planning import plan
from headstart.cli.reporting import report
from headstart.cli.serving import serve

app = typer.Typer(
    help="Transfer learning for computer vision: a folder of labelled images in, a measured classifier out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_LOOKING = (inspect, audit, gap, plan, predict, explain, evaluate, compare, report)
for _command in (demo, fit, *_LOOKING, export, serve, embed, backbones, cache):
    app.command()(_command)
app.add_typer(runs.app, name="runs")


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import headstart

        typer.echo(headstart.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.fail("Missing command.")
