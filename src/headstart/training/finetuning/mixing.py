"""Mixed training rows: mixup on images or on features above a cached trunk, cutmix on images; soft targets come out."""

from __future__ import annotations

import numpy as np
import torch

from headstart.errors import OptionError


def mixup(
    inputs: torch.Tensor, targets: torch.Tensor, *, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend every row with another row of the batch (Zhang et al. 2018).

    On maps or tokens above a frozen trunk this is manifold mixup at one layer (Verma et al. 2019). Each row has its own
    share, drawn from Beta(alpha, alpha), and keeps the larger part of itself: the pair of rows and its mirror image are
    one draw, so that nothing is lost by it.

    Parameters
    ----------
    inputs:
        (n, …): uint8 or float images, or float features. Bytes are rounded back to bytes.
    targets:
        float (n, C): one-hot, multi-hot or soft.
    alpha:
        Positive; 0.1 to 0.4 blends gently.
    generator:
        On the CPU; the only source of chance.

    Returns
    -------
    New inputs of the same shape, type and memory format, and float (n, C) targets blended in the same shares.

    Raises
    ------
    OptionError
        If alpha is not positive, or inputs and targets don't fit together.
    """
    _check(inputs, targets, alpha)
    shares, partners = _draw(len(inputs), alpha, generator)
    shares = torch.maximum(shares, 1 - shares).to(inputs.device)
    partners = partners.to(inputs.device)
    weights = shares.view(-1, *[1] * (inputs.ndim - 1))
    if inputs.dtype == torch.uint8:
        blended = torch.lerp(inputs[partners].float(), inputs.float(), weights).round_().to(torch.uint8)
    else:
        blended = torch.lerp(inputs[partners], inputs, weights.to(inputs.dtype))
    return blended, _blend_targets(targets, partners, shares)


def cutmix(
    images: torch.Tensor, targets: torch.Tensor, *, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of another image of the batch into every image (Yun et al. 2019).

    The rectangle has the image's proportions; its area is drawn from Beta(alpha, alpha) and its centre from the whole
    image, and what would stick out is cut off. Targets are mixed by the area that was pasted in truth.

    Parameters
    ----------
    images:
        (n, H, W, channels), uint8 or float.
    targets, alpha, generator:
        As in :func:`mixup`; alpha = 1 makes the area uniform.

    Returns
    -------
    New images of the same type, and float (n, C) targets.

    Raises
    ------
    OptionError
        If alpha is not positive, the images are not (n, H, W, channels), or inputs and targets don't fit together.
    """
    _check(images, targets, alpha)
    if images.ndim != 4:
        raise OptionError(f"cutmix takes images (n, height, width, channels), not {tuple(images.shape)}")
    kept, partners = _draw(len(images), alpha, generator)
    height, width = images.shape[1:3]
    centres = torch.rand((2, len(images)), generator=generator)
    half = (1 - kept).sqrt() / 2
    rows = _between(height, centres[0] * height, half * height)
    columns = _between(width, centres[1] * width, half * width)
    pasted = rows[:, :, None] & columns[:, None, :]
    shares = 1 - pasted.float().mean(dim=(1, 2))
    pasted, partners = pasted.to(images.device), partners.to(images.device)
    mixed = torch.where(pasted[..., None], images[partners], images)
    return mixed, _blend_targets(targets, partners, shares.to(images.device))


def _check(inputs: torch.Tensor, targets: torch.Tensor, alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise OptionError(f"the strength (alpha) of mixing must be positive and finite, not {alpha}")
    if targets.ndim != 2 or len(targets) != len(inputs) or not targets.is_floating_point():
        fit = f"{tuple(inputs.shape)} and {tuple(targets.shape)} {targets.dtype}"
        raise OptionError(f"mixing needs float targets (n, classes) beside n inputs, found {fit}")


def _draw(rows: int, alpha: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares (rows,) from Beta(alpha, alpha) and partners (rows,), a permutation; both on the CPU."""
    partners = torch.randperm(rows, generator=generator)
    # torch's Beta distribution takes no generator, so NumPy's draws, seeded by one number of the generator's.
    seed = int(torch.randint(2**62, (1,), generator=generator))
    shares = np.random.default_rng(seed).beta(alpha, alpha, rows)
    return torch.from_numpy(shares.astype(np.float32)), partners


def _between(length: int, centres: torch.Tensor, halves: torch.Tensor) -> torch.Tensor:
    """Which of the ``length`` places lie in each row's interval: booleans (n, length)."""
    places = torch.arange(length) + 0.5
    return (places - centres[:, None]).abs() < halves[:, None]


def _blend_targets(targets: torch.Tensor, partners: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    targets = targets.to(partners.device)
    return torch.lerp(targets[partners], targets, shares[:, None].to(targets.dtype))
