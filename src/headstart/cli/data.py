"""The commands that look at images before a training: ``inspect`` and ``gap``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import AsJson, Channels, Data, Root
from headstart.cli.output import print_json, progress, say


def inspect(data: Data, root: Root = None, as_json: AsJson = False) -> None:
    """Say what a data set is: classes, sizes, what is broken, and how far it lies from what networks know."""
    from headstart.planning.fingerprint import inspect as look
    from headstart.reporting.inspection import show_inspection

    found = look(data, root=root, progress=progress(), say=say)
    print_json(found) if as_json else show_inspection(found)


def gap(
    a: Annotated[Path, typer.Argument(metavar="A", help="Labelled data, or a folder or zip of any images.")],
    b: Annotated[
        Path | None, typer.Argument(metavar="B", help="The like to compare with.", show_default="ImageNet")
    ] = None,
    split: Annotated[bool, typer.Option("--split", help="Compare the test split of A with its other images.")] = False,
    root: Root = None,
    channels: Channels = 3,
    as_json: AsJson = False,
) -> None:
    """Measure how far images lie from ImageNet, or from other images: training and test, yesterday and today."""
    from headstart.planning.gap_report import report_gap
    from headstart.reporting.gap_table import show_gap

    report = report_gap(a, b, split=split, root=root, channels=channels, progress=progress(), say=say)
    print_json(report) if as_json else show_gap(report)
