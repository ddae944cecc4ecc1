"""The commands that fit a model: ``demo`` and ``fit``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    AllowLeaks,
    AsJson,
    Backbones,
    Channels,
    Corrections,
    CostFile,
    Data,
    Engine,
    EngineOption,
    FixLeaks,
    GroupBy,
    ImageSize,
    Licence,
    MaxLatency,
    MaxSize,
    Metric,
    Out,
    Quality,
    Root,
    RunBackbone,
    Test,
    split_or_fraction,
)
from headstart.cli.output import progress, say
from headstart.cli.runs import log_finished, tracking_server

if TYPE_CHECKING:
    from headstart.planning.options import Options
    from headstart.runs import Run

# A first look takes no longer.
_DEMO = "30s"


def demo(out: Out = None, as_json: AsJson = False) -> None:
    """Fit a classifier of handwritten digits, which come with scikit-learn: a first look, in seconds."""
    from headstart.data.digits import digits_folder
    from headstart.planning.options import Options

    _fit(digits_folder(), out, as_json, Options(budget=_DEMO))


def fit(
    data: Data,
    out: Out = None,
    backbone: RunBackbone = None,
    backbones: Backbones = None,
    max_size: MaxSize = None,
    max_latency: MaxLatency = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="auto, prototype, linear_probe, linear_probe_all_stages, partial, progressive, full or scratch."
        ),
    ] = "auto",
    test: Test = None,
    metric: Metric = "accuracy",
    costs: CostFile = None,
    corrections: Corrections = None,
    seed: Annotated[int, typer.Option(min=0, help="Of splits, folds and bootstraps.")] = 0,
    engine: EngineOption = Engine.auto,
    root: Root = None,
    group_by: GroupBy = None,
    allow_leaks: AllowLeaks = False,
    fix_leaks: FixLeaks = False,
    offline: Annotated[bool, typer.Option("--offline", help="Open no socket.")] = False,
    licence: Annotated[
        Licence, typer.Option(help="any also takes weights that are for non-commercial use only.")
    ] = Licence.permissive,
    image_size: ImageSize = None,
    channels: Channels = 3,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the whole fit may take: 30s, 5m, 1h, none.", show_default="2m"),
    ] = None,
    quality: Annotated[
        Quality | None,
        typer.Option(help="How much a further gain must be, and which rung is kept.", show_default="balanced"),
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="Follow this plan.json, which may be edited.")] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Fit so often, with other seeds and splits, and give the mean of each score.")
    ] = 1,
    cut: Annotated[int | None, typer.Option(min=0, help="partial: how many stages stay frozen.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of fine-tuning.")] = None,
    lr: Annotated[float | None, typer.Option(help="Fine-tuning's learning rate in the highest stage.")] = None,
    views: Annotated[int | None, typer.Option(min=1, help="Augmented views of an image in use at a time.")] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Of fine-tuning: none, light, medium, strong, medical or overhead.", show_default="medium"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Of fine-tuning.")] = None,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="Find fine-tuning's rate by a range test.")] = False,
    auto: Annotated[
        bool, typer.Option("--auto", help="Train again, held back more, where the images are learnt by heart.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Processes, or GPUs, that fine-tune together.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write the history for TensorBoard too.")] = False,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.")] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Log the run to this MLflow server: http://127.0.0.1:5000.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adapt a pretrained backbone to labelled images, measure the result and keep the evidence."""
    from headstart.planning.options import Options

    wanted = Options(
        backbone=backbone,
        backbones=backbones,
        max_size=max_size,
        max_latency=max_latency,
        strategy=strategy,
        test=split_or_fraction(test),
        metric=metric,
        seed=seed,
        engine=engine.value,
        root=str(root) if root else None,
        offline=offline,
        licence=licence.value,
        image_size=image_size,
        channels=channels,
        budget=budget,
        quality=quality.value if quality else None,
        costs=str(costs) if costs else None,
        corrections=str(corrections) if corrections else None,
        plan=str(plan) if plan else None,
        group_by=group_by,
        allow_leaks=allow_leaks,
        fix_leaks=fix_leaks,
        cut=cut,
        epochs=epochs,
        rate=lr,
        views=views,
        augment=augment,
        batch_size=batch_size,
        find_rate=find_lr,
        auto=auto,
        devices=devices,
        tensorboard=tensorboard,
    )
    _fit(data, _interrupted(resume) if resume else out, as_json, wanted, repeats, mlflow)


def _fit(
    source: Any, out: Path | None, as_json: bool, options: Options, repeats: int = 1, mlflow: str | None = None
) -> None:
    from headstart.planning.following import followed
    from headstart.repeats import FILE, fit_repeatedly
    from headstart.reporting import terminal
    from headstart.runs.budget import Countdown

    def show(run: Run) -> None:
        if as_json:
            typer.echo(run.path("metrics.json").read_text(), nl=False)
        else:
            terminal.show_run(run.folder)
            if repeats > 1:
                terminal.show_repeats(run.path(FILE))

    server = None if mlflow is None else tracking_server(mlflow, offline=options.offline)
    options, plan = followed(options)
    clock = Countdown.of_process(options.time()) if options.strategy == "auto" else None
    run = fit_repeatedly(
        source,
        options,
        repeats,
        plan=plan,
        out=out,
        progress=progress(),
        say=say,
        deliver=show,
        stop=_terminated(options),
        countdown=clock,
    )
    if server is not None:
        log_finished(server, run.folder)


def _terminated(options: Options) -> Callable[[], bool]:
    """Whether SIGTERM came while a network is trained, which then saves its state; a second one ends it at once.

    A climb keeps the best that there is, and finishes. Until the training first asks, there is no state to save, and
    SIGTERM is as Ctrl-C.
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

    if options.strategy in ("auto", *FINE_TUNED):
        signal.signal(signal.SIGTERM, terminate)
    return asked


def _interrupted(run: Path) -> Path:
    """The folder of a run that can be taken up again."""
    from headstart.errors import RunError

    if not (run / "run.json").is_file():
        raise RunError(f"{run} holds no run to go on with")
    return run
