"""The stages above the cut, as a copy that may learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class TrainableSuffix(nn.Module):
    """Consecutive stages up to the embedding, whose parameters learn; BatchNorm keeps its statistics.

    Takes the boundary below it, or uint8 images (N, H, W, C) where it holds every stage; gives the embedding (N, D).

    Parameters
    ----------
    normalise:
        Brings images to the first stage; ``None`` above a cut.
    stages:
        Names and modules, input side first.

    Attributes
    ----------
    statistics_learn:
        Whether BatchNorm learns its statistics after all, where there are none of a source to keep.
    """

    def __init__(self, normalise: nn.Module | None, stages: Sequence[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self.normalise = normalise
        self.names = tuple(name for name, _ in stages)
        self.stages = nn.ModuleList(module for _, module in stages)
        self.stages.requires_grad_(True)
        self.statistics_learn = False
        self.train(False)

    @property
    def named_stages(self) -> list[tuple[str, nn.Module]]:
        """Names and modules of the stages, input side first."""
        return list(zip(self.names, self.stages, strict=True))

    def train(self, mode: bool = True) -> TrainableSuffix:
        """Switch dropout and its like; BatchNorm runs on its statistics always, since batches here are small."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not self.statistics_learn:
                module.training = False
        return self

    def forward(self, value: Tensor) -> Tensor:
        if self.normalise is not None:
            value = self.normalise(value)
        for stage in self.stages:
            value = stage(value)
        return value

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Parameters and statistics as float32 arrays, under the network's own names."""
        found = {}
        for stage in self.stages:
            kept = {key for key, _ in stage.named_parameters()} | _statistics(stage)
            for key, value in stage.state_dict().items():
                if key in kept:
                    found[key] = value.detach().float().cpu().contiguous().numpy().copy()
        return found


def _statistics(stage: nn.Module) -> set[str]:
    """Names of the running means and variances, which differ from the source's only after training from scratch."""
    return {
        f"{path}.{name}"
        for path, module in stage.named_modules()
        if isinstance(module, _BatchNorm)
        for name in ("running_mean", "running_var")
        if getattr(module, name) is not None
    }
