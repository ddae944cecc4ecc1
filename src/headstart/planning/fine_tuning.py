"""A fine-tuning as it was asked for: train above the cut, keep what shows how it went, judge it as it will predict."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from headstart.backbones.backbone import Backbone
from headstart.data import Dataset
from headstart.errors import MissingExtraError
from headstart.evaluation.metrics import score
from headstart.features.compiling import compile_trunk
from headstart.features.engine import Say
from headstart.features.extract import probe_trunk
from headstart.planning.ladder import Climbed
from headstart.planning.options import Options
from headstart.planning.tuning import TunedRung, history_csv, judge_tuned
from headstart.runs import Progress, Run
from headstart.training.examples import Examples
from headstart.training.gathering import extract_all
from headstart.training.strategies import FINE_TUNED

if TYPE_CHECKING:
    from headstart.training.finetuning.outcome import EpochRow


def check_fine_tuning(options: Options, backbone: Backbone, dataset: Dataset) -> None:
    """Refuse at once what could only fail later; how many rows train isn't known yet, but fewer than there are.

    Raises
    ------
    MissingExtraError
        If a package that the options need is not installed.
    OptionError
        If the backbone or the data set can't be trained as the options say.
    """
    if importlib.util.find_spec("lightning") is None:
        raise MissingExtraError(f"--strategy {options.strategy}", "train")
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("--tensorboard", "tensorboard")
    from headstart.training.finetuning.wish import check_wish

    check_wish(options.wish(len(dataset)), stages=len(backbone.stages), rows=len(dataset))


def fine_tune_as_asked(
    run: Run,
    dataset: Dataset,
    backbone: Backbone,
    examples: Examples,
    climbed: Climbed,
    options: Options,
    *,
    given: bool,
    progress: Progress,
    say: Say,
    stop: Callable[[], bool],
) -> TunedRung:
    """Train above the cut, and take the features of all images through the tuned backbone.

    Parameters
    ----------
    examples:
        The development rows with the features of the backbone as pretrained.
    climbed:
        The race of the probes on the same folds.
    given:
        Whether the held-out rows are the user's own validation split.
    stop:
        Asked after each step of a training whether to save its state and end.
    """
    from headstart.training.finetuning.rung import contact_sheet_of, fine_tune
    from headstart.training.finetuning.views import TrainingImages
    from headstart.training.finetuning.wish import Ground

    started = time.perf_counter()
    development = dataset.select(examples.places)
    images = TrainingImages(development.read, development.files, development.hashes)
    value = partial(score, options.metric, examples.task.name)
    ground = Ground(backbone, images, examples, options.metric, value, options.engine, progress, say, run.folder, stop)
    wish = options.wish(len(examples.folds[0][0]))
    with _listeners(run, options, say) as tell:
        tuned = fine_tune(ground, wish, tell=tell)
    for note in tuned.notes:
        say(note)
    run.write("history.csv", history_csv(tuned.history))
    run.write("augmentations.png", contact_sheet_of(ground, wish, tuned))
    compiled = compile_trunk(probe_trunk(backbone.tuned(tuned.weights.tensors)), engine=options.engine, say=say)
    _, table = extract_all(dataset, compiled, progress, say)
    return judge_tuned(
        tuned,
        FINE_TUNED[options.strategy],
        climbed,
        examples,
        compiled,
        table,
        metric=options.metric,
        seed=options.seed,
        grouped=dataset.has_groups,
        given=given,
        seconds=time.perf_counter() - started,
    )


@contextlib.contextmanager
def _listeners(run: Run, options: Options, say: Say) -> Iterator[Callable[[EpochRow], None]]:
    """Who hears of each epoch: the person, and TensorBoard where it is wanted."""
    if not options.tensorboard:
        yield lambda row: say(row.line())
        return
    from headstart.training.finetuning.tensorboard import Board

    with Board(run.path("tensorboard")) as board:

        def tell(row: EpochRow) -> None:
            say(row.line())
            board.write(row)

        yield tell
