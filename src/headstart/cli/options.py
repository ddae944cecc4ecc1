"""The arguments and options that several commands take, and the words that options accept."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_BACKBONE = "bundled/tf_efficientnet_lite0"


class Engine(StrEnum):
    """What runs the frozen trunk."""

    auto = "auto"
    openvino = "openvino"
    torch = "torch"


class Licence(StrEnum):
    """Which licences of weights are taken."""

    permissive = "permissive"
    any = "any"


class Quality(StrEnum):
    """What a budget is spent for."""

    fast = "fast"
    balanced = "balanced"
    best = "best"


class Order(StrEnum):
    """What a list of backbones is sorted by."""

    accuracy = "accuracy"
    speed = "speed"
    size = "size"


Data = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="A folder per class, train/ val/ test/, a CSV or Parquet table, or a zip."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or the model folder in it.")]
Test = Annotated[
    str | None, typer.Option(metavar="FRACTION|SPLIT", help="Hold out this fraction, or test on this split.")
]
Metric = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What governs every choice: accuracy, balanced_accuracy, macro_f1, auroc, map, log_loss, or for two "
        "classes sensitivity@specificity=0.95 or the reverse.",
    ),
]
CostFile = Annotated[
    Path | None, typer.Option("--costs", help="Decide for the least expected cost: a CSV table, true by decided class.")
]
Corrections = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Correct labels first: a run's corrections.csv, as `headstart ui` writes it."),
]
Root = Annotated[Path | None, typer.Option(help="What the paths in a table are relative to.")]
Mlflow = Annotated[
    str, typer.Option("--mlflow", metavar="URI", help="An MLflow server, for example http://127.0.0.1:5000.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Out = Annotated[Path | None, typer.Option(help="The run folder.")]
EngineOption = Annotated[Engine, typer.Option(help="What runs the backbone.")]
ImageSize = Annotated[int | None, typer.Option(min=1, help="Side of the input, if not the weights' own.")]
Channels = Annotated[int, typer.Option(min=1, max=64, help="Of the images: 1 is grey, more than 3 need .npy or TIFF.")]
Backbone = Annotated[str, typer.Option(help="A name from `headstart backbones`.")]
RunBackbone = Annotated[
    str | None, typer.Option("--backbone", help="A name from `headstart backbones`.", show_default=DEFAULT_BACKBONE)
]
Backbones = Annotated[
    str | None, typer.Option(metavar="A,B@SIZE,…", help="Compare these by their linear probes, and take the best.")
]
MaxSize = Annotated[str | None, typer.Option(metavar="SIZE", help="Most that the weights may take: 10MB.")]
MaxLatency = Annotated[str | None, typer.Option(metavar="TIME", help="Most that an image may take here: 20ms.")]
GroupBy = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Find the group (patient, video) in each file's name by this.")
]
AllowLeaks = Annotated[
    bool, typer.Option("--allow-leaks", help="Go on where copies of one picture lie in several splits.")
]
FixLeaks = Annotated[
    bool, typer.Option("--fix-leaks", help="Leave copies of what judges them out of training, and go on.")
]


def split_or_fraction(text: str | None) -> str | float | None:
    """What ``--test`` says: a fraction to hold out, or the name of a split."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
