"""The commands that use a saved model: ``predict`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.options import AsJson, Data, Engine, EngineOption, Root, RunFolder
from headstart.cli.output import print_json, say


def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images, or folders of images.")],
    max_error: Annotated[
        float | None, typer.Option(help="Abstain where the model is not sure enough for this error rate.")
    ] = None,
    engine: EngineOption = Engine.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Predict the class of images."""
    import json

    from headstart import records
    from headstart.artifact.model import open_model
    from headstart.reporting import terminal

    model = open_model(run, engine=engine.value, say=say)
    failed = 0
    for source in _expand(images):
        for prediction in model.stream(source, max_error=max_error):
            failed += prediction.error is not None
            if as_json:
                typer.echo(json.dumps(records.to_plain(prediction), ensure_ascii=False))
            else:
                terminal.show_prediction(prediction)
    if failed:
        say(f"{failed} of the images could not be decoded")
        raise typer.Exit(1)


def evaluate(
    run: RunFolder,
    data: Data,
    root: Root = None,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled images; where they have splits, on test, else on val."""
    from headstart.artifact.model import open_model
    from headstart.reporting import terminal

    scores = open_model(run, engine=engine.value, say=say).evaluate(data, root=root)
    if scores["fitted_on"]:
        say(f"{scores['fitted_on']} of these images are among those the model was fitted on: the scores flatter it")
    print_json(scores) if as_json else terminal.show_scores({"data": scores})


def _expand(paths: list[Path]) -> list[Any]:
    """Folders one by one; files together, so that they share batches."""
    files = [path for path in paths if not path.is_dir()]
    return [*([files] if files else []), *(path for path in paths if path.is_dir())]
