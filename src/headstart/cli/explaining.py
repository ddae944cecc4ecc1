"""The command that shows what an answer rests on: ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.options import AsJson, Engine, EngineOption, RunFolder
from headstart.cli.output import progress, say

if TYPE_CHECKING:
    from headstart.artifact.model import Model
    from headstart.explaining.neighbours import TrainingImages


def explain(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder for the pictures and explanation.json.")] = Path("explanation"),
    target: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="What speaks for this class, not the predicted one.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest training images to name.")] = 5,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Show what a prediction rests on: a map over the image, and the training images most like it."""
    from headstart.artifact.model import open_model
    from headstart.data.listing import list_images
    from headstart.explaining.explain import Explainer
    from headstart.explaining.writing import FILE, write_explanations
    from headstart.reporting.explanation_table import show_explanations

    files = [path for source in images for path in list_images(source)]
    model = open_model(run, engine=engine.value, say=say)
    explainer = Explainer(model)
    explainer.check(target)
    explainer.training = _training(run, model) if neighbours else None
    found = write_explanations(explainer, files, out, target=target, neighbours=neighbours, progress=progress())
    if as_json:
        typer.echo((out / FILE).read_text(), nl=False)
    else:
        show_explanations(found, out)
    broken = sum(one.map is None for one in found)
    if broken:
        say(f"{broken} of the images could not be decoded")
        raise typer.Exit(1)


def _training(run: Path, model: Model) -> TrainingImages | None:
    """Where neighbours are looked for; a run without them is explained all the same."""
    from headstart.errors import RunError
    from headstart.explaining.neighbours import TrainingImages

    try:
        return TrainingImages.of_run(run, model, progress=progress(), say=say)
    except RunError as error:
        say(f"without neighbours: {error}")
        return None
