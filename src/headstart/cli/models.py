"""The commands that use a saved model: ``predict`` and ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import AsJson, CostFile, Data, Engine, EngineOption, Root, RunFolder
from headstart.cli.output import print_json, progress, say

if TYPE_CHECKING:
    from headstart.artifact.model import Model


def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images, or folders of images.")],
    max_error: Annotated[
        float | None, typer.Option(help="Abstain where the model is not sure enough for this error rate.")
    ] = None,
    costs: CostFile = None,
    engine: EngineOption = Engine.auto,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Parquet file instead; goes on where it was ended.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Predict the class of images."""
    import json

    from headstart import records
    from headstart.reporting import terminal

    model = _open(run, engine, costs)
    if out is not None:
        _predict_to(out, model, images, max_error, as_json)
        return
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
    costs: CostFile = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Score it on corrupted images too, and write robustness.json.")
    ] = False,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled images; where they have splits, on test, else on val."""
    from headstart.reporting import terminal
    from headstart.reporting.robustness_table import FILE, measure, show_robustness
    from headstart.runs import owning_folder

    model = _open(run, engine, costs)
    if robustness:
        found = measure(model, data, run, root=root, progress=progress())
        _warn(found.fitted_on)
        print_json(found) if as_json else show_robustness(found, owning_folder(run) / FILE)
        return
    scores = model.evaluate(data, root=root)
    _warn(scores["fitted_on"])
    if as_json:
        print_json(scores)
        return
    terminal.show_scores({"data": scores})
    if scores["details"]["costs"] is not None:
        terminal.show_costs(scores["details"]["costs"])


def _predict_to(out: Path, model: Model, images: list[Path], max_error: float | None, as_json: bool) -> None:
    from headstart.artifact.batch_prediction import predict_files

    sources = [path for given in _expand(images) for path in (given if isinstance(given, list) else [given])]
    written = predict_files(model, sources, out, max_error=max_error, progress=progress())
    print_json(written) if as_json else typer.echo(f"{written.file}: {written.rows} rows")
    if written.errors:
        say(f"{written.errors} of the images could not be decoded: the column error has the reasons")
        raise typer.Exit(1)


def _open(run: Path, engine: Engine, costs: Path | None) -> Model:
    from headstart.artifact.model import open_model
    from headstart.evaluation.costs import read_costs

    model = open_model(run, engine=engine.value, say=say)
    return model if costs is None else model.deciding_by(read_costs(costs), str(costs))


def _warn(fitted_on: int) -> None:
    if fitted_on:
        say(f"{fitted_on} of these images are among those the model was fitted on: the scores flatter it")


def _expand(paths: list[Path]) -> list[Any]:
    """Folders one by one; files together, so that they share batches."""
    files = [path for path in paths if not path.is_dir()]
    return [*([files] if files else []), *(path for path in paths if path.is_dir())]
