"""The command line: one command a verb, which parses, calls and prints."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headstart.runs import Progress, Run

app = typer.Typer(
    help="Transfer learning for computer vision: a folder of labelled images in, a measured classifier out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Metric(StrEnum):
    """The metrics that can govern a run."""

    accuracy = "accuracy"
    balanced_accuracy = "balanced_accuracy"
    macro_f1 = "macro_f1"
    auroc = "auroc"
    map = "map"
    log_loss = "log_loss"


class Engine(StrEnum):
    """What runs the frozen trunk."""

    auto = "auto"
    openvino = "openvino"
    torch = "torch"


class Licence(StrEnum):
    """Which licences of weights are taken."""

    permissive = "permissive"
    any = "any"


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
Root = Annotated[Path | None, typer.Option(help="What the paths in a table are relative to.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Out = Annotated[Path | None, typer.Option(help="The run folder.")]
EngineOption = Annotated[Engine, typer.Option(help="What runs the backbone.")]
ImageSize = Annotated[int | None, typer.Option(min=1, help="Side of the input, if not the weights' own.")]
Channels = Annotated[int, typer.Option(min=1, max=64, help="Of the images: 1 is grey, more than 3 need .npy or TIFF.")]
Backbone = Annotated[str, typer.Option(help="A name from `headstart backbones`.")]
DEFAULT_BACKBONE = "bundled/tf_efficientnet_lite0"


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


@app.command()
def demo(out: Out = None, as_json: AsJson = False) -> None:
    """Fit a classifier of handwritten digits, which come with scikit-learn: a first look, in seconds."""
    from headstart.data.digits import digits_folder

    _fit(digits_folder(), out, as_json)


@app.command()
def fit(
    data: Data,
    out: Out = None,
    backbone: Backbone = DEFAULT_BACKBONE,
    strategy: Annotated[
        str,
        typer.Option(
            help="auto, prototype, linear_probe, linear_probe_all_stages, partial, progressive, full or scratch."
        ),
    ] = "auto",
    test: Annotated[
        str | None, typer.Option(metavar="FRACTION|SPLIT", help="Hold out this fraction, or test on this split.")
    ] = None,
    metric: Annotated[Metric, typer.Option(help="What governs every choice.")] = Metric.accuracy,
    seed: Annotated[int, typer.Option(min=0, help="Of splits, folds and bootstraps.")] = 0,
    engine: EngineOption = Engine.auto,
    root: Root = None,
    offline: Annotated[bool, typer.Option("--offline", help="Open no socket.")] = False,
    licence: Annotated[
        Licence, typer.Option(help="any also takes weights that are for non-commercial use only.")
    ] = Licence.permissive,
    image_size: ImageSize = None,
    channels: Channels = 3,
    cut: Annotated[int | None, typer.Option(min=0, help="partial: how many stages stay frozen.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of fine-tuning.")] = None,
    lr: Annotated[float | None, typer.Option(help="Fine-tuning's learning rate in the highest stage.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Augmented views of an image in use at a time.")] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Of fine-tuning: none, light, medium, strong, medical or overhead.", show_default="medium"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Of fine-tuning.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    as_json: AsJson = False,
) -> None:
    """Adapt a pretrained backbone to labelled images, measure the result and keep the evidence."""
    from headstart.workflow import Options

    wanted = Options(
        backbone=backbone,
        strategy=strategy,
        test=_split_or_fraction(test),
        metric=metric.value,
        seed=seed,
        engine=engine.value,
        root=str(root) if root else None,
        offline=offline,
        licence=licence.value,
        image_size=image_size,
        channels=channels,
        cut=cut,
        epochs=epochs,
        rate=lr,
        views=views,
        augment=augment,
        batch_size=batch_size,
    )
    _fit(data, _interrupted(resume) if resume else out, as_json, wanted)


@app.command()
def inspect(data: Data, root: Root = None, as_json: AsJson = False) -> None:
    """Say what a data set is: classes, splits, sizes, formats, and the files that can't be used."""
    from headstart import records
    from headstart.auditing.inspection import inspect as look
    from headstart.reporting import terminal

    found = look(data, root=root, progress=_progress())
    typer.echo(records.to_json(found), nl=False) if as_json else terminal.show_inspection(found)


@app.command()
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

    model = open_model(run, engine=engine.value, say=_say)
    failed = 0
    for source in _expand(images):
        for prediction in model.stream(source, max_error=max_error):
            failed += prediction.error is not None
            if as_json:
                typer.echo(json.dumps(records.to_plain(prediction), ensure_ascii=False))
            else:
                terminal.show_prediction(prediction)
    if failed:
        _say(f"{failed} of the images could not be decoded")
        raise typer.Exit(1)


@app.command()
def evaluate(
    run: RunFolder,
    data: Data,
    root: Root = None,
    engine: EngineOption = Engine.auto,
    as_json: AsJson = False,
) -> None:
    """Score a model on labelled images; where they have splits, on test, else on val."""
    from headstart import records
    from headstart.artifact.model import open_model
    from headstart.reporting import terminal

    scores = open_model(run, engine=engine.value, say=_say).evaluate(data, root=root)
    if scores["fitted_on"]:
        _say(f"{scores['fitted_on']} of these images are among those the model was fitted on: the scores flatter it")
    typer.echo(records.to_json(scores), nl=False) if as_json else terminal.show_scores({"data": scores})


@app.command()
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
        progress=_progress(),
        say=_say,
    )
    for reason in failures:
        _say(f"left out: {reason}")
    typer.echo(f"{written} {'row' if written == 1 else 'rows'} in {out}")


@app.command()
def backbones(
    search: Annotated[
        list[str] | None,
        typer.Argument(metavar="SEARCH", help="Words in the name, family, data or domain; with --measure, names."),
    ] = None,
    family: Annotated[str | None, typer.Option(help="For example vit, dinov2, or mobilenet for all of its.")] = None,
    max_params: Annotated[str | None, typer.Option(metavar="COUNT", help="At most so many: 30M, 1.5B, 500k.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="What the weights have seen: natural, web, medical, satellite, documents.")
    ] = None,
    licence: Annotated[Licence, typer.Option(help="permissive leaves out every other licence.")] = Licence.any,
    offline: Annotated[bool, typer.Option("--offline", help="Only weights that are on this machine.")] = False,
    sort: Annotated[
        Order, typer.Option(help="By published top-1, multiply-accumulates, or parameters.")
    ] = Order.accuracy,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many.", show_default="25; with --json all")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time the named backbones on this machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """List pretrained backbones: what they have learnt from, how large they are, their licence, if they are here."""
    from headstart import records
    from headstart.reporting import backbone_list

    if measure:
        _measure(search or [], as_json)
        return
    wanted = backbone_list.Wanted(
        search=" ".join(search or ()),
        family=family,
        max_params=max_params,
        domain=domain,
        licence=licence.value,
        here_only=offline,
        sort=sort.value,
    )
    listing = backbone_list.find(wanted)
    if as_json:
        typer.echo(records.to_json(listing.rows(limit)), nl=False)
    elif wanted == backbone_list.Wanted():
        backbone_list.show_overview(listing, limit or backbone_list.SHOWN)
    else:
        backbone_list.show(listing, limit or backbone_list.SHOWN)


@app.command()
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False) -> None:
    """Show how large the cache of features and compiled graphs is, or clear it."""
    from headstart.features.cache import clear_cache, describe_cache
    from headstart.reporting import terminal

    if clear:
        typer.echo(f"removed {terminal.size(clear_cache(_say))}")
    else:
        terminal.show_cache(describe_cache(_say))


def main() -> None:
    """Run the command line and end the process.

    It ends at once: nothing is left to do, and taking OpenVINO apart first would cost every command a moment, in which
    a kill would make a finished run look failed.
    """
    code = _run()
    with contextlib.suppress(BrokenPipeError):  # the reader of a pipe may have gone
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run() -> int:
    """The exit code of a command; errors that a user can mend become one or two lines and code 2, Ctrl-C 130."""
    from headstart.errors import HeadstartError

    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")  # it may stand before or behind the command
    try:
        app()
    except HeadstartError as error:
        if debug:
            raise
        _say(f"headstart: {error}")
        return error.exit_code
    except SystemExit as end:  # Typer ends so, also after Ctrl-C
        if end.code == 130:
            _say("headstart: interrupted; what was computed is kept, the same command goes on from there")
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _fit(source: Any, out: Path | None, as_json: bool, options: Any = None) -> None:
    from headstart.reporting import terminal
    from headstart.workflow import fit as run_fit

    def show(run: Run) -> None:
        if as_json:
            typer.echo(run.path("metrics.json").read_text(), nl=False)
        else:
            terminal.show_run(run.folder)

    run_fit(source, options, out=out, progress=_progress(), say=_say, deliver=show, stop=_terminated(options))


def _terminated(options: Any) -> Callable[[], bool]:
    """Whether SIGTERM came while a network is trained, which then saves its state; a second one ends it at once.

    Until the training first asks, there is no state to save, and SIGTERM is as Ctrl-C.
    """
    from headstart.training.strategies import FINE_TUNED

    came, training = threading.Event(), threading.Event()

    def terminate(number: int, frame: object) -> None:
        came.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not training.is_set():
            raise KeyboardInterrupt

    def asked() -> bool:
        training.set()
        return came.is_set()

    if options is not None and options.strategy in FINE_TUNED:
        signal.signal(signal.SIGTERM, terminate)
    return asked


def _interrupted(run: Path) -> Path:
    """The folder of a run that can be taken up again."""
    from headstart.errors import RunError

    if not (run / "run.json").is_file():
        raise RunError(f"{run} holds no run to go on with")
    return run


def _measure(names: list[str], as_json: bool) -> None:
    from headstart import records
    from headstart.errors import HeadstartError, OptionError
    from headstart.features.measuring import measure_named
    from headstart.reporting import backbone_list

    if not names:
        raise OptionError("--measure wants the names of backbones, for example: headstart backbones --measure lite0")
    speeds = []
    for name in names:  # what was measured is shown, whatever becomes of the others
        try:
            speeds.append(measure_named(name, say=_say))
        except HeadstartError as error:
            _say(f"headstart: {error}")
    if speeds:
        typer.echo(records.to_json(speeds), nl=False) if as_json else backbone_list.show_speeds(speeds)
    if len(speeds) < len(names):
        raise typer.Exit(HeadstartError.exit_code)


def _split_or_fraction(text: str | None) -> str | float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _expand(paths: list[Path]) -> list[Any]:
    """Folders one by one; files together, so that they share batches."""
    files = [path for path in paths if not path.is_dir()]
    return [*([files] if files else []), *(path for path in paths if path.is_dir())]


def _progress() -> Progress:
    from headstart.runs import progress_on

    return progress_on(sys.stderr)


def _say(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    main()
