"""The command that writes a model for other programs: ``export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import AsJson, Root, RunFolder
from headstart.cli.output import print_json, say


class ExportFormat(StrEnum):
    """What can be written."""

    onnx = "onnx"
    openvino = "openvino"
    pt2 = "pt2"


def export(
    run: RunFolder,
    format: Annotated[ExportFormat, typer.Option(help="What to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits, with training images as examples.")] = False,
    batch: Annotated[str, typer.Option(metavar="dynamic|N", help="Images a call: any number, or N.")] = "dynamic",
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Write it without comparing it with the model, with a warning in it.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images to compare and quantise with, instead of the run's own.")
    ] = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write a model for other programs, once it was seen to answer as the trained one does."""
    from headstart.export.exporting import export as write
    from headstart.reporting.parity_table import show_export

    folder, written = write(
        run, format.value, int8=int8, batch=_images(batch), gate=not no_gate, data=data, root=root, say=say
    )
    print_json(written) if as_json else show_export(folder, written)


def _images(text: str) -> int | None:
    from headstart.errors import OptionError

    if text == "dynamic":
        return None
    if not text.isdecimal():
        raise OptionError(f"--batch {text}: give a number of images, or dynamic")
    return int(text)
