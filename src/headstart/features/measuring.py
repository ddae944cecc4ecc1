"""How fast a backbone is on this machine: the compiled trunk against the same network run eagerly in PyTorch."""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.backbones.backbone import Backbone
from headstart.backbones.catalogue import find_backbone, untrained_backbone
from headstart.backbones.offline import go_offline
from headstart.errors import EngineError, MissingExtraError, OfflineError
from headstart.features.engine import CompiledTrunk, Say, cpu_count
from headstart.features.extract import probe_trunk
from headstart.features.openvino_engine import OpenVinoTrunk
from headstart.features.parity import photographs


@dataclass(frozen=True)
class Speed:
    """What was measured of one backbone on this machine.

    Attributes
    ----------
    name:
        Of the backbone.
    size:
        Side of its input, in pixels.
    parameters, macs:
        Of the whole backbone, the latter for one image.
    openvino, torch:
        Images a second from uint8 arrays to features of the compiled trunk, and of eager PyTorch in float32 and
        channels-last; ``None`` where the conversion failed.
    precision:
        What the compiled trunk computes in.
    median, minimum:
        Cosine of its features to those of PyTorch on the fixed photographs.
    conversion:
        Seconds to convert, compile and check it, once.
    problem:
        Why it doesn't run in OpenVINO, or ``None``.
    """

    name: str
    size: int
    parameters: int
    macs: int
    openvino: float | None
    torch: float
    precision: str | None
    median: float | None
    minimum: float | None
    conversion: float | None
    problem: str | None


def measure(backbone: Backbone, *, rounds: int = 3, seconds: float = 2.0, say: Say = print) -> Speed:
    """Time a backbone in both engines, in turns, so that both see the same machine.

    What runs is what ``fit`` runs: the whole trunk, with the pooled features of every stage.

    Parameters
    ----------
    rounds:
        Turns of each engine; the medians count.
    seconds:
        Length of one turn.
    say:
        Called with a line where OpenVINO takes another precision than it would like.
    """
    if importlib.util.find_spec("timm") is None:
        raise MissingExtraError("measuring a backbone against PyTorch", "train")
    from headstart.features.torch_engine import TorchTrunk

    trunk = probe_trunk(backbone)
    eager = TorchTrunk(trunk, device="cpu")
    with tempfile.TemporaryDirectory() as cache:
        started, compiled, problem = time.perf_counter(), None, None
        try:
            compiled = OpenVinoTrunk.compile(trunk, Path(cache), say)
        except EngineError as error:
            problem = str(error)
        conversion = time.perf_counter() - started
        turns = [lambda: _rate(eager, 1, seconds)]
        if compiled is not None:
            turns.append(lambda: _rate(compiled, cpu_count(), seconds))
        rates = _medians(turns, rounds)
    return Speed(
        name=backbone.name,
        size=backbone.preprocessing.size,
        parameters=sum(stage.parameters for stage in backbone.stages),
        macs=sum(stage.macs for stage in backbone.stages),
        openvino=rates[1] if compiled else None,
        torch=rates[0],
        precision=compiled.identity.precision if compiled else None,
        median=compiled.parity.median if compiled else None,
        minimum=compiled.parity.minimum if compiled else None,
        conversion=conversion if compiled else None,
        problem=problem,
    )


def measure_named(name: str, *, say: Say = print) -> Speed:
    """Time the backbone of this name; where its weights are not on this machine, with random ones, which cost the same.

    Opens no socket.

    Raises
    ------
    BackboneError, MissingExtraError
        As :func:`headstart.backbones.catalogue.find_backbone` does.
    OfflineError
        If the weights are not here and the architecture can't be built without them.
    """
    go_offline()
    try:
        backbone = find_backbone(name)
    except OfflineError:
        if not name.startswith("timm/"):
            raise
        say(f"{name}: its weights are not on this machine; measured with random ones, which are as fast")
        backbone = untrained_backbone(name)
    return measure(backbone, say=say)


def _medians(turns: list[Callable[[], float]], rounds: int) -> list[float]:
    found = [[turn() for turn in turns] for _ in range(rounds)]
    return [statistics.median(rates) for rates in zip(*found, strict=True)]


def _rate(compiled: CompiledTrunk, threads: int, seconds: float) -> float:
    """Images a second over about ``seconds``, each thread with batches of its own, as extraction runs it."""
    preprocessing = compiled.trunk.backbone.preprocessing
    views = photographs(preprocessing.size, preprocessing.channels)
    batch = np.resize(views, (compiled.batch_size, *views.shape[1:]))
    compiled(batch)
    counts, end = [0] * threads, time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < end:
            compiled(batch)
            counts[number] += len(batch)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)
