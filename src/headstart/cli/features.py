"""The commands about features: ``embed`` and ``cache``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import DEFAULT_BACKBONE, Backbone, Channels, Engine, EngineOption, ImageSize
from headstart.cli.output import progress, say


def embed(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of images, labelled or not.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write: file, and features as float32.")],
    backbone: Backbone = DEFAULT_BACKBONE,
    engine: EngineOption = Engine.auto,
    image_size: ImageSize = None,
    channels: Channels = 3,
) -> None:
    """Write the backbone's pooled features of every image in a folder."""
    from headstart.features.embedding import embed_folder

    written, failures = embed_folder(
        folder,
        out,
        backbone=backbone,
        size=image_size,
        channels=channels,
        engine=engine.value,
        progress=progress(),
        say=say,
    )
    for reason in failures:
        say(f"left out: {reason}")
    typer.echo(f"{written} {'row' if written == 1 else 'rows'} in {out}")


def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False) -> None:
    """Show how large the cache of features and compiled graphs is, or clear it."""
    from headstart.features.cache import clear_cache, describe_cache
    from headstart.reporting import terminal

    if clear:
        typer.echo(f"removed {terminal.size(clear_cache(say))}")
    else:
        terminal.show_cache(describe_cache(say))
