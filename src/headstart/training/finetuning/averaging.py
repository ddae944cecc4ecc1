"""Averages of weights: over the steps of one training (EMA), and between its start and its end (WiSE-FT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from headstart.errors import OptionError, RunError
from headstart.training.finetuning.defaults import EMA_SHARE


class WeightAverage:
    """The exponential moving average of a network's parameters and floating buffers.

    Its horizon is a share of the training, so that it means the same for 50 steps and for 50,000: with
    ``horizon = max(1, share * steps)`` the decay is ``1 - 1 / horizon``. Until the horizon is full, update number t
    weighs 1 / t, so that the average is the plain mean of what came so far: the starting weights never count, and no
    bias is left to correct. Integer buffers are left to the network itself.

    Parameters
    ----------
    model:
        The network that is averaged; its weights stay its own.
    steps:
        How many optimizer steps the training will take, at least 1.
    share:
        The horizon as a share of the steps, in (0, 1].

    Raises
    ------
    OptionError
        If ``steps`` or ``share`` lies outside its range.
    """

    def __init__(self, model: nn.Module, steps: int, share: float = EMA_SHARE) -> None:
        if steps < 1 or not 0 < share <= 1:
            raise OptionError(
                f"an average over {share} of {steps} steps: give a share above 0, at most 1, of 1 or more"
            )
        self.horizon = max(1.0, share * steps)
        self.updates = 0
        self._weights = {name: tensor.detach().clone() for name, tensor in _floating(model).items()}

    @property
    def decay(self) -> float:
        """The weight of the past once the horizon is full, in [0, 1)."""
        return 1.0 - 1.0 / self.horizon

    def update(self, model: nn.Module) -> None:
        """Take the network's present weights in; call it after every optimizer step."""
        self.updates += 1
        weight = max(1.0 / self.updates, 1.0 / self.horizon)
        current = _floating(model)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._weights.values()), [current[name] for name in self._weights], weight)

    def copy_to(self, model: nn.Module) -> None:
        """Write the average into a network of the same kind; before the first update that is the start."""
        self._write(model, self._weights)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Inside, the network has the averaged weights; afterwards its own again, bit for bit."""
        own = {name: tensor.detach().clone() for name, tensor in _floating(model).items()}
        self.copy_to(model)
        try:
            yield
        finally:
            self._write(model, own)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly: ``updates``, ``horizon`` and copies of the averaged ``weights``."""
        weights = {name: tensor.clone() for name, tensor in self._weights.items()}
        return {"updates": self.updates, "horizon": self.horizon, "weights": weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises
        ------
        RunError
            If it was saved of another network.
        """
        saved: Mapping[str, torch.Tensor] = state["weights"]
        _same_tensors(self._weights, saved, "the saved average of weights", RunError)
        self.updates, self.horizon = int(state["updates"]), float(state["horizon"])
        with torch.no_grad():
            for name, tensor in self._weights.items():
                tensor.copy_(saved[name])

    def _write(self, model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in _floating(model).items():
                tensor.copy_(weights[name])


def interpolate(
    start: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], coefficient: float
) -> dict[str, torch.Tensor]:
    """The weights ``(1 - coefficient) * start + coefficient * tuned`` (WiSE-FT, Wortsman et al. 2022).

    Parameters
    ----------
    start, tuned:
        State dictionaries of one network before and after fine-tuning.
    coefficient:
        In [0, 1]; 0 and 1 give exactly the start and the tuned weights.

    Returns
    -------
    A state dictionary of new tensors. Integer tensors are those of ``tuned``, or of ``start`` at 0.

    Raises
    ------
    OptionError
        If the coefficient lies outside its range, or the two are not of one network.
    """
    if not 0 <= coefficient <= 1:
        raise OptionError(f"weights are mixed with a coefficient from 0 (the start) to 1 (the end), not {coefficient}")
    _same_tensors(start, tuned, "the tuned network", OptionError)
    ends = tuned if coefficient else start
    mixed = {name: tensor.detach().clone() for name, tensor in ends.items()}
    if 0 < coefficient < 1:
        for name, tensor in mixed.items():
            if tensor.is_floating_point():
                mixed[name] = torch.lerp(start[name].detach(), tensor, coefficient)
    return mixed


def _floating(model: nn.Module) -> dict[str, torch.Tensor]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in tensors if tensor.is_floating_point()}


def _same_tensors(
    ours: Mapping[str, torch.Tensor],
    theirs: Mapping[str, torch.Tensor],
    what: str,
    error: type[OptionError] | type[RunError],
) -> None:
    differing = sorted(set(ours) ^ set(theirs)) or [name for name in ours if ours[name].shape != theirs[name].shape]
    if differing:
        raise error(f"{what} is of another network: it differs in {differing[0]} ({len(differing)} tensors in all)")
