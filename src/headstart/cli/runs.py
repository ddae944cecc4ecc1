"""The commands about runs that are there: ``runs``, and below it ``show``, ``compare``, ``delete`` and ``log``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import AsJson, Mlflow
from headstart.cli.output import print_json, say

if TYPE_CHECKING:
    from headstart.reporting.mlflow_log import Server

app = typer.Typer(help="List, show, compare and delete runs.", no_args_is_help=False)

RUN = typer.Argument(metavar="RUN", help="The name of a run in the folder, or the path of any run folder.")
Run = Annotated[str, RUN]
Runs = Annotated[list[str], RUN]


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="The folder that holds the run folders.")] = Path("runs"),
    data: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only runs on data whose path has this in it.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only runs that ended with this strategy.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help='"test_accuracy>0.9", "state=finished", "data~ants"; may be repeated.'),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD,…", help="Ascending; -FIELD descending.", show_default="-started")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many.", show_default="25; with --json all")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a folder, the latest first; what is wrong with one is said below."""
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    from headstart.records import to_plain
    from headstart.reporting import run_list
    from headstart.runs.index import list_runs
    from headstart.runs.query import Condition, order, select

    conditions = [Condition.parse(text) for text in where or ()]
    conditions += [] if data is None else [Condition("data", "~", data)]
    conditions += [] if strategy is None else [Condition("strategy", "=", strategy)]
    found = select(list_runs(folder), conditions)
    if sort is not None:
        found = order(found, sort)
    if as_json:
        print_json([{"folder": str(folder / run.name), **to_plain(run)} for run in found[:limit]])
        return
    named = [condition.field for condition in conditions] + [
        name.strip(" -") for name in (sort or "").split(",") if name
    ]
    run_list.show_runs(found, limit=limit or run_list.SHOWN, more=list(dict.fromkeys(named)))


@app.command()
def show(context: typer.Context, run: Run, as_json: AsJson = False) -> None:
    """Show all about one run: scores, what was asked for, versions, and what is wrong with its files."""
    from headstart.errors import RunError
    from headstart.records import to_plain
    from headstart.reporting.run_list import show_run_summary
    from headstart.runs.summary import summarise

    folder = _folder(context, run)
    found = summarise(folder)
    if found is None:
        raise RunError(f"{folder} is no run folder; headstart runs lists those that there are")
    print_json({"folder": str(folder), **to_plain(found)}) if as_json else show_run_summary(found, folder)


@app.command()
def compare(context: typer.Context, runs: Runs, as_json: AsJson = False) -> None:
    """Put runs side by side: the settings in which they differ, and their scores."""
    from headstart.reporting.side_by_side import put_side_by_side, show_side_by_side

    folders = [_folder(context, run) for run in runs]
    found = put_side_by_side(folders)
    if as_json:
        print_json(found)
        return
    show_side_by_side(found)
    if len(folders) == 2 and _has_command(context, "compare"):
        typer.echo(f"Is it more than luck? headstart compare {shlex.join(map(str, folders))}")


@app.command()
def delete(
    context: typer.Context,
    runs: Runs,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete run folders for good, after asking. Links in them go, what they point to stays."""
    from headstart.reporting.run_list import show_removable
    from headstart.reporting.wording import TEXT_LENGTH, shorten
    from headstart.runs.removal import check_removable, remove_run

    every = [check_removable(_folder(context, run)) for run in runs]  # all of them before the first one goes
    found = list({each.folder: each for each in every}.values())
    if not yes:
        for each in found:
            show_removable(each)
        typer.confirm(f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'} for good?", abort=True)
    for each in found:
        remove_run(each.folder)
        say(f"deleted {shorten(str(each.folder), TEXT_LENGTH)}")


@app.command()
def log(context: typer.Context, runs: Runs, mlflow: Mlflow) -> None:
    """Log finished runs to an MLflow server: parameters, metrics, records, report and model."""
    from headstart.reporting.mlflow_log import connect, log_run

    server = connect(mlflow)
    for run in runs:
        typer.echo(log_run(server, _folder(context, run)))


def tracking_server(address: str, *, offline: bool) -> Server:
    """The MLflow server of a fit, asked before anything is computed whether it is there."""
    from headstart.backbones.offline import go_offline
    from headstart.reporting.mlflow_log import connect

    if offline:
        go_offline()
    return connect(address)


def log_finished(server: Server, folder: Path) -> None:
    """Log the run that has just finished. Whatever happens, it lies in its folder; a failure ends with code 1."""
    from headstart.errors import HeadstartError
    from headstart.reporting.mlflow_log import log_later, log_run

    try:
        say(f"logged      {log_run(server, folder)}")
    except HeadstartError as error:
        say(f"headstart: {error}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        say(f"headstart: not logged; {log_later(server, folder)}")
        raise


def _folder(context: typer.Context, run: str) -> Path:
    """A run by its name in the folder, or else by its path."""
    inside: Path = context.obj / run
    return inside if inside.is_dir() or not Path(run).exists() else Path(run)


def _has_command(context: typer.Context, name: str) -> bool:
    """Whether the whole command line has a command of this name."""
    return name in getattr(context.find_root().command, "commands", {})
