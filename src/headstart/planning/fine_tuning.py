"""A fine-tuning as it was asked for: train above the cut, keep what shows how it went, judge it as it will predict."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
from headstart.planning.plan import PlannedRung
from headstart.planning.tuning import TunedRung, judge_tuned
from headstart.runs import Progress, Run
from headstart.runs.budget import Left, no_end
from headstart.training.examples import Examples
from headstart.training.finetuning.setting import PrecisionChoice
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
    if importlib.util.find_spec("lightning_fabric") is None:
        raise MissingExtraError(f"--strategy {options.strategy}", "train")
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("--tensorboard", "tensorboard")
    from headstart.training.finetuning.wish import check_wish

    check_wish(options.wish(len(dataset)), stages=len(backbone.stages), rows=len(dataset))


@dataclass(frozen=True, eq=False)
class Site:
    """Where rungs are trained.

    Attributes
    ----------
    examples:
        The development rows with the features of the backbone as pretrained.
    climbed:
        The race of the probes on the same folds.
    given:
        Whether the held-out rows are the user's own validation split.
    stop:
        Asked after each step of a training whether to save its state and end.
    ends:
        Asked after each epoch with its seconds, whether there is no time for another one, and after each step with 0.
    left:
        Tells the seconds that are left.
    """

    run: Run
    dataset: Dataset
    backbone: Backbone
    examples: Examples
    climbed: Climbed
    given: bool
    progress: Progress
    say: Say
    stop: Callable[[], bool]
    ends: Callable[[float], bool] = lambda seconds: False
    left: Left = no_end


def fine_tune_rung(site: Site, options: Options, folder: Path, precision: PrecisionChoice | None = None) -> TunedRung:
    """Train above the cut, and judge on the rows held out what will predict.

    Parameters
    ----------
    folder:
        Takes what an interrupted training goes on from.
    precision:
        As planned, or of an earlier training of the same stages; by default a measurement chooses it.
    """
    from headstart.training.finetuning.rung import contact_sheet_of, fine_tune
    from headstart.training.finetuning.views import TrainingImages
    from headstart.training.finetuning.wish import Ground

    started, examples = time.perf_counter(), site.examples
    folder.mkdir(parents=True, exist_ok=True)
    development = site.dataset.select(examples.places)
    images = TrainingImages(development.read, development.files, development.hashes)
    value = partial(score, options.metric, examples.task.name)
    ground = Ground(
        site.backbone,
        images,
        examples,
        options.metric,
        value,
        options.engine,
        site.progress,
        site.say,
        folder,
        site.stop,
        site.ends,
    )
    wish = dataclasses.replace(options.wish(len(examples.folds[0][0])), precision=precision)
    with _listeners(site.run, options, site.say) as tell:
        tuned = fine_tune(ground, wish, tell=tell)
    for note in tuned.notes:
        site.say(note)
    network = site.backbone.tuned(tuned.weights.tensors)
    compiled = compile_trunk(probe_trunk(network), engine=options.engine, say=site.say)
    _, table = extract_all(development, compiled, site.progress, site.say)
    return judge_tuned(
        tuned,
        FINE_TUNED[options.strategy],
        site.climbed,
        examples,
        compiled,
        table,
        metric=options.metric,
        seed=options.seed,
        grouped=site.dataset.has_groups,
        given=site.given,
        augmentations=partial(contact_sheet_of, ground, wish, tuned),
        seconds=time.perf_counter() - started,
    )


def in_planned(options: Options, rung: PlannedRung) -> Options:
    """The options of a rung of a plan."""
    return dataclasses.replace(
        options,
        strategy=rung.strategy,
        cut=rung.cut if rung.strategy == "partial" else None,
        epochs=rung.epochs,
        rate=rung.rate,
        views=rung.views,
        augment=rung.augment,
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
