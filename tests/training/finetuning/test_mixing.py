"""Mixed rows: shares in inputs and targets agree, and chance comes from the generator alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headstart.errors import OptionError

torch = pytest.importorskip("torch")

from headstart.training.finetuning.mixing import cutmix, mixup  # noqa: E402


def _generator(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def _coded(rows: int, *shape: int) -> tuple[Any, Any]:
    """Inputs that are constant in each row, the row's number, and one class a row."""
    inputs = torch.arange(rows).float().view(-1, *[1] * len(shape)).expand(rows, *shape).contiguous()
    return inputs, torch.eye(rows)


@pytest.mark.parametrize("shape", [(5,), (4, 6, 6), (6, 6, 3)])
def test_inputs_and_targets_are_blended_in_the_same_shares(shape: tuple[int, ...]) -> None:
    inputs, targets = _coded(12, *shape)
    mixed, soft = mixup(inputs, targets, alpha=0.8, generator=_generator())
    numbers = torch.arange(12).float()
    torch.testing.assert_close(mixed.flatten(1)[:, 0], soft @ numbers)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(12))
    assert bool((soft.diagonal() >= 0.5).all())
    assert bool((soft > 0).sum(dim=1).max() == 2)


def test_bytes_stay_bytes() -> None:
    images = torch.randint(0, 256, (8, 5, 5, 3), dtype=torch.uint8, generator=_generator(1))
    mixed, soft = mixup(images, torch.eye(8), alpha=0.4, generator=_generator())
    assert mixed.dtype == torch.uint8
    expected = torch.einsum("nm,mhwc->nhwc", soft, images.float())
    assert float((mixed.float() - expected).abs().max()) <= 0.5 + 1e-3


def test_a_rectangle_is_pasted_and_its_area_counted() -> None:
    images, targets = _coded(40, 9, 14, 1)
    mixed, soft = cutmix(images.to(torch.uint8), targets, alpha=1.0, generator=_generator())
    assert mixed.dtype == torch.uint8
    areas = []
    for row in range(40):
        foreign = mixed[row, :, :, 0] != row
        areas.append(float(foreign.float().mean()))
        if not foreign.any():
            continue
        assert len(mixed[row, :, :, 0][foreign].unique()) == 1
        partner = int(mixed[row, :, :, 0][foreign][0])
        assert float(soft[row, partner]) == pytest.approx(areas[-1], abs=1e-6)
        box = foreign.any(dim=1).outer(foreign.any(dim=0))
        assert torch.equal(box, foreign)
        assert float(soft[row, row]) == pytest.approx(1 - areas[-1], abs=1e-6)
    assert min(areas) < 0.1 < 0.5 < max(areas)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_chance_comes_from_the_generator_alone(mix: Callable[..., tuple[Any, Any]]) -> None:
    images = torch.rand(6, 8, 8, 3, generator=_generator(2))
    before = torch.get_rng_state()
    first = mix(images, torch.eye(6), alpha=1.0, generator=_generator(5))
    torch.manual_seed(77)
    again = mix(images, torch.eye(6), alpha=1.0, generator=_generator(5))
    other = mix(images, torch.eye(6), alpha=1.0, generator=_generator(6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    torch.set_rng_state(before)


def test_the_batch_itself_is_not_changed() -> None:
    images, targets = _coded(6, 4, 4, 1)
    held = images.clone()
    mixup(images, targets, alpha=1.0, generator=_generator())
    cutmix(images, targets, alpha=1.0, generator=_generator())
    assert torch.equal(images, held)
    assert torch.equal(targets, torch.eye(6))


def test_labels_of_several_kinds_are_blended_too() -> None:
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    soft = mixup(torch.rand(3, 4), targets, alpha=1.0, generator=_generator())[1]
    assert bool(((soft >= 0) & (soft <= 1)).all())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="alpha"):
        mixup(torch.rand(3, 4), torch.eye(3), alpha=0.0, generator=_generator())
    with pytest.raises(OptionError, match="float targets"):
        mixup(torch.rand(3, 4), torch.arange(3), alpha=1.0, generator=_generator())
    with pytest.raises(OptionError, match="cutmix takes images"):
        cutmix(torch.rand(3, 4), torch.eye(3), alpha=1.0, generator=_generator())
