"""Mixed precision and memory format, chosen by timing the real network on the real device for a second or two."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from headstart.errors import OptionError
from headstart.training.finetuning.defaults import (
    GRADIENT_COSINE,
    PRECISION_FEWEST_ROWS,
    PRECISION_LATENESS,
    PRECISION_ROUNDS,
    PRECISION_SECONDS,
    PRECISION_SHARE,
    PRECISION_TIE,
)
from headstart.training.finetuning.depthwise import depthwise_in_float32, has_depthwise
from headstart.training.finetuning.random_state import kept_random_state
from headstart.training.finetuning.setting import SETTINGS, PrecisionChoice, Setting

LossOf = Callable[[nn.Module, Any], torch.Tensor]


# In which order they are tried, after the simplest, where there may be no time for all: the likeliest to be fast first.
_HOPE = sorted(SETTINGS, key=lambda setting: (setting.channels_last, setting.is_bf16, setting.depthwise_float32))[::-1]


def choose_precision(
    module: nn.Module,
    example_batch: Any,
    loss_of: LossOf,
    *,
    device: torch.device | str,
    images: float = math.inf,
    seconds: float = PRECISION_SECONDS,
) -> PrecisionChoice:
    """Time forward and backward passes in float32 and bf16, channels first and last, in turns; take the fastest.

    A network with depthwise convolutions is also timed with these alone in float32: on some CPUs bf16 makes dense
    products several times faster and depthwise ones several times slower.

    A setting within 5 % of the fastest that is simpler (float32 before bf16, channels first before last) is preferred.
    Channels-last is left out for a network without convolution filters. It is the only format where images go in: their
    bytes lie so, and maps take that over from their input. bf16 is left out where the device has
    none, or where on this batch the loss is not finite or the gradient's cosine to the float32 one is below 0.95. Deep
    copies are measured: weights, gradients, buffers and random state of the original stay as they are. A slow network
    is timed on fewer rows of the batch, 8 at least, and what needs twice the time of another for 8 rows is not timed;
    where that takes half as long again, each setting is timed once and not in three rounds. A training of few images is
    not worth all that: from a tenth of its own time on, what is not timed yet is left out.

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
    images:
        How many it will pass, epochs included.
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
    with kept_random_state(), torch.enable_grad():
        bench, simplest = _set_up(module, example_batch, loss_of, torch.device(device), seconds)
        few = min(bench.rows, PRECISION_FEWEST_ROWS)
        allowed = PRECISION_SHARE * simplest * images / few
        firsts, spent = _first_passes(bench, simplest, allowed)
        settings = _hopeful(firsts)
        fault = _bf16_fault(bench, settings)
        if fault:
            firsts = {setting: taken for setting, taken in firsts.items() if not setting.is_bf16}
            settings = _hopeful(firsts)
        is_short = spent + len(settings) * simplest > allowed
        if is_short:
            rates = {setting.name: few / firsts[setting] for setting in settings}
        else:
            rates = _time(bench, settings, min(seconds, allowed))
    fastest = max(rates.values())
    chosen = next(setting for setting in settings if rates[setting.name] * (1 + PRECISION_TIE) >= fastest)
    slow = ", ".join(setting.name for setting in firsts if setting not in settings)
    remarks = [*([fault] if fault else []), *([f"less than half as fast: {slow}"] if slow else [])]
    remarks += ["the training is short, so that not all was timed"] if is_short else []
    reason = _reason(chosen, rates, remarks)
    return PrecisionChoice(**dataclasses.asdict(chosen), images_per_second=rates, reason=reason)


def prepare(network: nn.Module, setting: Setting) -> None:
    """Get a network ready for a setting, in place; batches go through :func:`lay_out`."""
    if setting.channels_last:
        network.to(memory_format=torch.channels_last)
    depthwise_in_float32(network, setting.depthwise_float32)


def has_bf16(device: torch.device | str) -> bool:
    """Whether a device can train in bf16 at all, however slowly."""
    kind = torch.device(device).type
    return torch.amp.is_autocast_available(kind) and (kind != "cuda" or torch.cuda.is_bf16_supported())


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

    def step(self, setting: Setting) -> float:
        """Seconds of one forward and backward pass."""
        module, batch = self.modules[setting.channels_last], lay_out(self.batch, channels_last=setting.channels_last)
        depthwise_in_float32(module, setting.depthwise_float32)
        self._wait()
        started = time.perf_counter()
        self.loss(module, batch, setting).backward()
        self._wait()
        taken = time.perf_counter() - started
        module.zero_grad()
        return taken

    def first(self, rows: int) -> _Bench:
        """The same with no more than so many rows."""
        rows = min(rows, self.rows)
        return dataclasses.replace(self, batch=_first(self.batch, rows, self.device), rows=rows)

    def loss(self, module: nn.Module, batch: Any, setting: Setting) -> torch.Tensor:
        """The mean loss of one of the copies, computed in that setting's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=setting.is_bf16):
            return self.loss_of(module, batch)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _set_up(
    module: nn.Module, batch: Any, loss_of: LossOf, device: torch.device, seconds: float
) -> tuple[_Bench, float]:
    """The bench, and the seconds of a pass of a few rows in the simplest setting."""
    modules = {}
    for last in _formats(module, batch):
        modules[last] = copy.deepcopy(module).to(device)
        if last:
            modules[last].to(memory_format=torch.channels_last)
    rows = _count(batch)
    few = min(rows, PRECISION_FEWEST_ROWS)
    trial = _Bench(modules, _first(batch, few, device), few, loss_of, device)
    simplest = Setting("32-true", min(modules))
    trial.step(simplest)  # the first pass pays for much that later ones don't
    turns = len(SETTINGS) * (PRECISION_ROUNDS + 1)
    taken = trial.step(simplest)
    timed = max(few, min(rows, int(few * seconds / turns / taken)))
    return _Bench(modules, _first(batch, timed, device), timed, loss_of, device), taken


def _formats(module: nn.Module, batch: Any) -> tuple[bool, ...]:
    """Which memory formats there are to choose from; True: channels last."""
    if not any(parameter.ndim == 4 for parameter in module.parameters()):
        return (False,)
    images = any(tensor.ndim == 4 and not tensor.is_floating_point() for tensor in _tensors(batch))
    return (True,) if images else (False, True)


def _bf16_fault(bench: _Bench, settings: Sequence[Setting]) -> str | None:
    """Why the network can't be trained in bf16, or None; also where none of the settings would."""
    wanted = next((setting for setting in settings if setting.is_bf16), None)
    if wanted is None:
        return None
    # Without dropout, so that both gradients are of one function.
    still = copy.deepcopy(next(iter(bench.modules.values()))).eval()
    depthwise_in_float32(still, wanted.depthwise_float32)
    batch = _first(bench.batch, min(bench.rows, PRECISION_FEWEST_ROWS), bench.device)
    seed = torch.initial_seed()
    gradients = []
    for setting in (SETTINGS[0], wanted):
        torch.manual_seed(seed)
        loss = bench.loss(still, batch, setting)
        if setting.is_bf16 and not torch.isfinite(loss):
            return "in bf16 the loss is not finite"
        loss.backward()
        found = [parameter.grad.double().flatten() for parameter in still.parameters() if parameter.grad is not None]
        gradients.append(torch.cat(found))
        still.zero_grad()
    cosine = float(torch.nn.functional.cosine_similarity(*gradients, dim=0))
    # So written that a gradient that is not a number is a fault as well.
    return None if cosine >= GRADIENT_COSINE else f"the bf16 gradient has a cosine of {cosine:.3f} to the float32 one"


def _first_passes(bench: _Bench, simplest: float, allowed: float) -> tuple[dict[Setting, float], float]:
    """Seconds of a pass of a few rows in each setting that the device has, however slow, and of all passes together.

    The simplest one took ``simplest``; once more than ``allowed`` is spent, what has not had its turn is left out.
    """
    can_bf16, depthwise = has_bf16(bench.device), has_depthwise(next(iter(bench.modules.values())))
    few = bench.first(PRECISION_FEWEST_ROWS)
    times, spent = {Setting("32-true", min(bench.modules)): simplest}, 0.0
    for setting in _HOPE:
        has_layers = setting.channels_last in bench.modules and (depthwise or not setting.depthwise_float32)
        if setting in times or spent > allowed or not has_layers or (setting.is_bf16 and not can_bf16):
            continue
        passes = [few.step(setting)]  # the first pays for what later ones don't
        if passes[0] < 4 * min(times.values()):
            passes.append(few.step(setting))
        times[setting] = min(passes)
        spent += sum(passes)
    return {setting: times[setting] for setting in SETTINGS if setting in times}, spent


def _hopeful(times: dict[Setting, float]) -> list[Setting]:
    """Those that don't need twice the time of another, as bf16 does on a CPU that emulates it."""
    return [setting for setting, taken in times.items() if taken < 2 * min(times.values())]


def _time(bench: _Bench, settings: Sequence[Setting], seconds: float) -> dict[str, float]:
    """Images a second of each setting: the medians of rounds in which all take turns, so that all see one machine.

    A round counts its fastest pass, because other work on the machine only ever adds time. Where time has run out
    after a round, what is measured so far has to do.
    """
    found: dict[str, list[float]] = {}
    share = seconds / (len(settings) * (PRECISION_ROUNDS + 1))
    deadline = time.perf_counter() + PRECISION_LATENESS * seconds
    racing = list(settings)
    for _ in range(PRECISION_ROUNDS):
        for setting in racing:
            if setting.name not in found and bench.rows > PRECISION_FEWEST_ROWS:
                bench.step(setting)  # its first pass of this size pays for what later ones don't
            times = [bench.step(setting)]
            while sum(times) + min(times) < share:
                times.append(bench.step(setting))
            found.setdefault(setting.name, []).append(bench.rows / min(times))
        rates = {name: statistics.median(values) for name, values in found.items()}
        if time.perf_counter() > deadline:
            break
        # The next round runs backwards.
        racing = [setting for setting in reversed(racing) if rates[setting.name] > max(rates.values()) / 2]
    return rates


def _reason(chosen: Setting, rates: dict[str, float], remarks: Sequence[str]) -> str:
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
