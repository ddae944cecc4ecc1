"""The command that holds two models against each other: ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import AsJson, Engine, EngineOption, Root
from headstart.cli.output import print_json, say


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The run to compare with, the older one.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The run that might be better.")],
    data: Annotated[
        Path | None, typer.Option(help="Compare on these images.", show_default="test rows of both")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the rows are listed.", show_default="RUN_B")] = None,
    root: Root = None,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Say which of two models is better on the same images, and which images the one lost that the other had."""
    from headstart.reporting.comparing import compare_runs
    from headstart.reporting.comparison_table import show_comparison
    from headstart.runs import owning_folder

    found = compare_runs(run_a, run_b, data, root=root, engine=engine.value, say=say)
    folder = owning_folder(run_b) if out is None else out
    found.write(folder)
    print_json(found.record) if as_json else show_comparison(found.record, folder)
