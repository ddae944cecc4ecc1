"""The training loss equals the probe's where it has no options, and the anchors pull as far as they are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.training.finetuning.imbalance import Kind, balance_by
from headstart.training.linear import row_losses

torch = pytest.importorskip("torch")

from headstart.training.finetuning.losses import AnchorPenalty, CrossEntropy, training_loss  # noqa: E402


def _rows(kind: str, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(20, 4)) * 5
    targets = np.eye(4)[rng.integers(0, 4, 20)] if kind == "softmax" else (rng.random((20, 4)) < 0.3).astype(float)
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(targets)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_without_options_it_is_the_probes_loss(kind: Kind) -> None:
    logits, targets = _rows(kind)
    rows = CrossEntropy(kind).rows(logits, targets)
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows, row_losses(logits.double().numpy(), targets.numpy(), kind), rtol=1e-5, atol=1e-6)
    assert float(CrossEntropy(kind)(logits, targets)) == pytest.approx(float(rows.mean()))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_it_is_computed_in_float32_under_autocast(kind: Kind) -> None:
    logits, targets = _rows(kind)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = CrossEntropy(kind)(half, targets)
    assert found.dtype == torch.float32
    assert float(found) == float(CrossEntropy(kind)(half.float(), targets))


def test_smoothing_and_weights_are_those_of_torch() -> None:
    logits, targets = _rows("softmax")
    labels = targets.argmax(dim=1)
    smoothed = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert float(CrossEntropy("softmax", smoothing=0.1)(logits, targets)) == pytest.approx(float(smoothed), rel=1e-5)
    weights = (0.5, 1.0, 2.0, 4.0)
    weighed = torch.nn.functional.cross_entropy(logits, labels, weight=torch.tensor(weights), reduction="none")
    torch.testing.assert_close(CrossEntropy("softmax", weights=weights).rows(logits, targets), weighed)


def test_smoothed_labels_are_sure_of_neither_answer() -> None:
    found = CrossEntropy("sigmoid", smoothing=0.2).rows(torch.zeros(1, 1), torch.ones(1, 1))
    wanted = CrossEntropy("sigmoid").rows(torch.tensor([[2.0]]), torch.tensor([[0.9]]))
    assert float(found) == pytest.approx(np.log(2))
    assert float(wanted) == pytest.approx(0.9 * np.log1p(np.exp(-2)) + 0.1 * np.log1p(np.exp(2)), rel=1e-5)


def test_a_probe_moved_back_by_the_offsets_starts_where_the_probe_is() -> None:
    """With logit adjustment: the loss of the start equals the probe's, and so does its gradient."""
    logits, targets = _rows("softmax")
    counts = [max(1, int(count)) for count in targets.sum(dim=0)]
    balance = balance_by("logit_adjustment", counts, "softmax", rows=sum(counts))
    start = logits - torch.tensor(balance.prior_offsets)
    torch.testing.assert_close(
        training_loss("softmax", balance).rows(start, targets), CrossEntropy("softmax").rows(logits, targets)
    )


def test_the_mean_does_not_depend_on_how_rows_are_batched() -> None:
    logits, targets = _rows("softmax")
    loss = CrossEntropy("softmax", weights=(1.0, 2.0, 3.0, 4.0))
    parts = 0.75 * loss(logits[:15], targets[:15]) + 0.25 * loss(logits[15:], targets[15:])
    assert float(parts) == pytest.approx(float(loss(logits, targets)), rel=1e-6)


@pytest.mark.parametrize("options", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"weights": (1.0, 0.0)}])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        CrossEntropy("softmax", **options)


def _parts() -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)


def test_anchors_pull_in_proportion_to_the_distance() -> None:
    stages, head = _parts()
    penalty = AnchorPenalty(stages.parameters(), [head.weight], stages_strength=0.1, head_strength=0.01)
    assert penalty().item() == 0.0
    with torch.no_grad():
        stages.weight += 2.0
        head.weight -= 3.0
        head.bias += 100.0
    assert penalty().item() == pytest.approx(0.05 * 4 * stages.weight.numel() + 0.005 * 9 * head.weight.numel())
    penalty().backward()
    torch.testing.assert_close(stages.weight.grad, torch.full_like(stages.weight, 0.2))
    torch.testing.assert_close(head.weight.grad, torch.full_like(head.weight, -0.03))
    assert head.bias.grad is None


def test_at_the_anchor_the_gradient_is_zero_and_not_undefined() -> None:
    stages, head = _parts()
    penalty = AnchorPenalty(stages.parameters(), head.parameters(), stages_strength=0.1, head_strength=0.1)
    penalty().backward()
    gradients = [parameter.grad for parameter in [*stages.parameters(), *head.parameters()]]
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_frozen_weights_and_zero_strengths_cost_nothing() -> None:
    stages, head = _parts()
    stages.requires_grad_(False)
    penalty = AnchorPenalty(stages.parameters(), head.parameters(), stages_strength=1.0, head_strength=0.0)
    assert penalty().item() == 0.0
    assert not penalty().requires_grad


def test_negative_strengths_are_refused() -> None:
    stages, head = _parts()
    with pytest.raises(OptionError, match="anchors"):
        AnchorPenalty(stages.parameters(), head.parameters(), stages_strength=-1.0, head_strength=0.0)
