"""Mixed precision and memory format, chosen by timing the real network on the real device for a second or two."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from headstart.errors import OptionError
from headstart.training.finetuning.defaults import (
    GRADIENT_COSINE,
    PRECISION_FEWEST_ROWS,
    PRECISION_LATENESS,
    PRECISION_ROUNDS,
    PRECISION_SECONDS,
    PRECISION_TIE,
)
from headstart.training.finetuning.random_state import kept_random_state

Precision = Literal["32-true", "bf16-mixed"]
LossOf = Callable[[nn.Module, Any], torch.Tensor]


@dataclass(frozen=True)
class PrecisionChoice:
    """How a network is trained on one device: part of every checkpoint, because another choice gives other numbers.

    Attributes
    ----------
    precision:
        As Lightning Fabric names it.
    channels_last:
        Whether weights and maps lie with the channels last in memory.
    images_per_second:
        Median of forward and backward passes, by setting (``"float32"``, ``"bf16 channels-last"``, …); only of
        settings that could be chosen.
    reason:
        One sentence.
    """

    precision: Precision
    channels_last: bool
    images_per_second: dict[str, float] = field(default_factory=dict)
    reason: str = "given"


@dataclass(frozen=True)
class _Setting:
    precision: Precision
    channels_last: bool

    @property
    def name(self) -> str:
        kind = "bf16" if self.precision == "bf16-mixed" else "float32"
        return f"{kind} channels-last" if self.channels_last else kind


# From the simplest on: among equally fast ones the first is taken.
_SETTINGS = (
    _Setting("32-true", False),
    _Setting("32-true", True),
    _Setting("bf16-mixed", False),
    _Setting("bf16-mixed", True),
)


def choose_precision(
    module: nn.Module,
    example_batch: Any,
    loss_of: LossOf,
    *,
    device: torch.device | str,
    seconds: float = PRECISION_SECONDS,
) -> PrecisionChoice:
    """Time forward and backward passes in float32 and bf16, channels first and last, in turns; take the fastest.

    A setting within 5 % of the fastest that is simpler (float32 before bf16, channels first before last) is preferred.
    Channels-last is left out for a network without convolution filters. It is the only format where images go in: their
    bytes lie so, and maps take that over from their input. bf16 is left out where the device has
    none, or where on this batch the loss is not finite or the gradient's cosine to the float32 one is below 0.95. Deep
    copies are measured: weights, gradients, buffers and random state of the original stay as they are. A slow network
    is timed on fewer rows of the batch, 8 at least, and what needs twice the time of another for 8 rows is not timed;
    after half as long again no further pass is begun, and settings that were not reached are not chosen.

    Parameters
    ----------
    module:
        What is trained: the stages above the cut and the head.
    example_batch:
        A tensor, or tuples, lists and dictionaries of tensors, with n rows each (their first axis), as in training:
        maps are floating (n, C, H, W), images uint8 (n, H, W, C).
    loss_of:
        The mean loss of a network on a batch. Called inside autocast where the setting says so.
    device:
        Where the training will run.
    seconds:
        About how long to time passes, positive; copies, first passes and the gradients' comparison come on top.

    Raises
    ------
    OptionError
        If ``seconds`` is not positive, or the batch holds no tensor with rows.
    """
    if not seconds > 0:
        raise OptionError(f"the measurement of speed needs a positive time, not {seconds} seconds")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise OptionError("the speed of training can't be measured: no parameter of the network learns")
    deadline = time.perf_counter() + PRECISION_LATENESS * seconds
    with kept_random_state(), torch.enable_grad():
        bench = _set_up(module, example_batch, loss_of, torch.device(device), seconds)
        fault = _bf16_fault(bench)
        settings = [
            setting
            for setting in _SETTINGS
            if setting.channels_last in bench.modules and not (fault and setting.precision == "bf16-mixed")
        ]
        rates = _time(bench, settings, seconds, deadline)
    fastest = max(rates.values())
    chosen = next(setting for setting in settings if rates.get(setting.name, 0.0) * (1 + PRECISION_TIE) >= fastest)
    untimed = [setting.name for setting in settings if setting.name not in rates]
    late = f"too slow here to be timed: {', '.join(untimed)}" if untimed else None
    remarks = [remark for remark in (fault, late) if remark]
    return PrecisionChoice(chosen.precision, chosen.channels_last, rates, _reason(chosen, rates, remarks))


def lay_out(batch: Any, *, channels_last: bool) -> Any:
    """A batch whose maps, floating (N, C, H, W) tensors, lie in memory as wanted; all else as it is.

    It goes with ``module.to(memory_format=...)``, which converts weights alone.
    """
    wanted = torch.channels_last if channels_last else torch.contiguous_format

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        is_map = tensor.ndim == 4 and tensor.is_floating_point()
        return tensor.contiguous(memory_format=wanted) if is_map else tensor

    return _map(batch, convert)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Copies of the network by memory format (True: channels last), and a batch small enough to be timed often."""

    modules: dict[bool, nn.Module]
    batch: Any
    rows: int
    loss_of: LossOf
    device: torch.device

    def step(self, setting: _Setting) -> float:
        """Seconds of one forward and backward pass."""
        module, batch = self.modules[setting.channels_last], lay_out(self.batch, channels_last=setting.channels_last)
        self._wait()
        started = time.perf_counter()
        self.loss(module, batch, setting.precision).backward()
        self._wait()
        taken = time.perf_counter() - started
        module.zero_grad()
        return taken

    def first(self, rows: int) -> _Bench:
        """The same with no more than so many rows."""
        rows = min(rows, self.rows)
        return dataclasses.replace(self, batch=_first(self.batch, rows, self.device), rows=rows)

    def loss(self, module: nn.Module, batch: Any, precision: Precision) -> torch.Tensor:
        """The mean loss of one of the copies, computed in that precision."""
        if precision == "32-true":
            return self.loss_of(module, batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.loss_of(module, batch)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _set_up(module: nn.Module, batch: Any, loss_of: LossOf, device: torch.device, seconds: float) -> _Bench:
    modules = {}
    for last in _formats(module, batch):
        modules[last] = copy.deepcopy(module).to(device)
        if last:
            modules[last].to(memory_format=torch.channels_last)
    rows = _count(batch)
    few = min(rows, PRECISION_FEWEST_ROWS)
    trial = _Bench(modules, _first(batch, few, device), few, loss_of, device)
    simplest = _Setting("32-true", min(modules))
    trial.step(simplest)  # the first pass pays for much that later ones don't
    turns = len(_SETTINGS) * (PRECISION_ROUNDS + 1)
    affordable = int(few * seconds / turns / trial.step(simplest))
    timed = max(few, min(rows, affordable))
    return _Bench(modules, _first(batch, timed, device), timed, loss_of, device)


def _formats(module: nn.Module, batch: Any) -> tuple[bool, ...]:
    """Which memory formats there are to choose from; True: channels last."""
    if not any(parameter.ndim == 4 for parameter in module.parameters()):
        return (False,)
    images = any(tensor.ndim == 4 and not tensor.is_floating_point() for tensor in _tensors(batch))
    return (True,) if images else (False, True)


def _bf16_fault(bench: _Bench) -> str | None:
    """Why bf16 can't be used, or None."""
    kind = bench.device.type
    if not torch.amp.is_autocast_available(kind) or (kind == "cuda" and not torch.cuda.is_bf16_supported()):
        return f"{kind} has no bf16"
    # Without dropout, so that both gradients are of one function.
    still = copy.deepcopy(next(iter(bench.modules.values()))).eval()
    batch = _first(bench.batch, min(bench.rows, PRECISION_FEWEST_ROWS), bench.device)
    seed = torch.initial_seed()
    gradients = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(seed)
        loss = bench.loss(still, batch, precision)
        if precision == "bf16-mixed" and not torch.isfinite(loss):
            return "in bf16 the loss is not finite"
        loss.backward()
        found = [parameter.grad.double().flatten() for parameter in still.parameters() if parameter.grad is not None]
        gradients.append(torch.cat(found))
        still.zero_grad()
    cosine = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    # So written that a gradient that is not a number is a fault as well.
    return None if cosine >= GRADIENT_COSINE else f"the bf16 gradient has a cosine of {cosine:.3f} to the float32 one"


def _time(bench: _Bench, settings: Sequence[_Setting], seconds: float, deadline: float) -> dict[str, float]:
    """Images a second of each setting: the medians of rounds in which all take turns, so that all see one machine.

    A round counts its fastest pass, because other work on the machine only ever adds time. After the deadline what is
    measured so far has to do: at least the first setting.
    """
    found: dict[str, list[float]] = {}
    share = seconds / (len(settings) * (PRECISION_ROUNDS + 1))
    racing = _hopeful(bench, settings, deadline)
    for _ in range(PRECISION_ROUNDS):
        for setting in racing:
            if found and time.perf_counter() > deadline:
                break
            if setting.name not in found and bench.rows > PRECISION_FEWEST_ROWS:
                bench.step(setting)  # its first pass of this size pays for what later ones don't
            times = [bench.step(setting)]
            while sum(times) + min(times) < share:
                times.append(bench.step(setting))
            found.setdefault(setting.name, []).append(bench.rows / min(times))
        rates = {name: statistics.median(values) for name, values in found.items()}
        # The next round runs backwards.
        racing = [setting for setting in reversed(racing) if rates.get(setting.name, 0.0) > max(rates.values()) / 2]
    return rates


def _hopeful(bench: _Bench, settings: Sequence[_Setting], deadline: float) -> list[_Setting]:
    """Without those that need twice the time of another for a few rows, as bf16 does on a CPU that emulates it."""
    few = bench.first(PRECISION_FEWEST_ROWS)
    times: dict[_Setting, float] = {}
    for setting in settings:
        if times and time.perf_counter() > deadline:
            break
        first = few.step(setting)  # pays for what later ones don't
        patient = not times or first < 4 * min(times.values())
        times[setting] = min(first, few.step(setting)) if patient else first
    return [setting for setting, seconds in times.items() if seconds < 2 * min(times.values())]


def _reason(chosen: _Setting, rates: dict[str, float], remarks: Sequence[str]) -> str:
    ranked = sorted(rates, key=lambda name: -rates[name])
    speeds = ", ".join(f"{name} {rates[name]:.0f}" for name in ranked)
    tied = "" if ranked[0] == chosen.name else f", the simplest within {PRECISION_TIE:.0%} of the fastest"
    measured = f"{chosen.name}{tied}; images/s forward and backward on this machine: {speeds}"
    return "; ".join([measured, *remarks])


def _map(value: Any, convert: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return convert(value)
    if isinstance(value, dict):
        return {key: _map(item, convert) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(item, convert) for item in value)
    return value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _count(batch: Any) -> int:
    counts = sorted({len(tensor) for tensor in _tensors(batch) if tensor.ndim})
    if len(counts) != 1 or not counts[0]:
        raise OptionError(f"the example batch must hold tensors of equally many rows, at least 1; found {counts}")
    return counts[0]


def _first(batch: Any, rows: int, device: torch.device) -> Any:
    return _map(batch, lambda tensor: (tensor[:rows] if tensor.ndim else tensor).to(device))
