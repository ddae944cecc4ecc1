"""The range test leaves everything as it was, and reads a usable rate where there is one."""

from __future__ import annotations

import hashlib
import pickle
import random
from typing import Any

import numpy as np
import pytest

from headstart.errors import OptionError

torch = pytest.importorskip("torch")

from headstart.training.finetuning.range_test import range_test, read_rates  # noqa: E402


def _task(seed: int = 0) -> tuple[Any, list[Any]]:
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 3)
    )
    rows, labels = torch.randn(128, 8), torch.randint(0, 3, (128,))
    rows[:, :3] += 3 * torch.nn.functional.one_hot(labels, 3)
    return network, list(zip(rows.split(16), labels.split(16), strict=True))


def _loss(network: Any, batch: Any) -> Any:
    return torch.nn.functional.cross_entropy(network(batch[0]), batch[1])


def _groups(network: Any) -> list[dict[str, Any]]:
    return [{"params": network[0].parameters(), "lr": 0.1}, {"params": network[4].parameters(), "lr": 1.0}]


def _digest(*things: Any) -> str:
    digest = hashlib.sha256()
    for thing in things:
        tensors = thing if isinstance(thing, dict) else {"": thing}
        for name, tensor in tensors.items():
            content = tensor.detach().numpy().tobytes() if isinstance(tensor, torch.Tensor) else pickle.dumps(tensor)
            digest.update(str(name).encode() + content)
    return digest.hexdigest()


def test_model_optimizer_and_global_random_state_stay_untouched() -> None:
    network, batches = _task()
    optimizer = torch.optim.AdamW(network.parameters())
    _loss(network, batches[0]).backward()
    optimizer.step()

    def noisy(model: Any, batch: Any) -> Any:
        return _loss(model, batch) + 1e-9 * (random.random() + np.random.random() + torch.rand(()))

    def digest() -> str:
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        sources = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
        moments = {str(key): pickle.dumps(value) for key, value in optimizer.state_dict()["state"].items()}
        modes = [module.training for module in network.modules()]
        return _digest(network.state_dict(), gradients, moments, modes, *sources)

    before = digest()
    found = range_test(network, noisy, batches, _groups)
    assert digest() == before
    assert len(found.losses) > 10
    # The same test again sees the same, as it starts from the same state.
    assert range_test(network, noisy, batches, _groups) == found


def test_the_suggested_rate_trains() -> None:
    network, batches = _task()
    found = range_test(network, _loss, batches, _groups)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 0.3
    assert f"{found.suggestion:.1e}" in found.reason or "tenth" in found.reason
    before = _loss(network.eval(), batches[0]).item()
    optimizer = torch.optim.AdamW(network.parameters(), lr=found.suggestion)
    for batch in batches * 8:
        optimizer.zero_grad()
        _loss(network, batch).backward()
        optimizer.step()
    assert _loss(network, batches[0]).item() < before / 2


def test_it_stops_where_the_loss_diverges() -> None:
    network, batches = _task()
    found = range_test(network, _loss, batches, _groups, highest=1e4, steps=60)
    assert len(found.rates) == len(found.losses) < 60
    assert found.rates[0] == pytest.approx(1e-6)


def test_it_stops_at_a_loss_that_is_no_number() -> None:
    network, batches = _task()
    calls = []

    def breaks(model: Any, batch: Any) -> Any:
        calls.append(1)
        return _loss(model, batch) * (float("nan") if len(calls) == 8 else 1.0)

    found = range_test(network, breaks, batches, _groups)
    assert len(found.losses) == 8
    assert np.isnan(found.losses[-1])
    assert np.isfinite(found.smoothed).all()


def test_every_group_keeps_its_proportion() -> None:
    network, batches = _task()
    seen: list[list[float]] = []

    class Watching(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watching)
        found = range_test(network, _loss, batches, _groups, steps=5)
    assert [high for _, high in seen] == pytest.approx(list(found.rates))
    assert all(low == pytest.approx(high / 10) for low, high in seen)


def test_nothing_is_suggested_to_a_network_at_its_optimum() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    flat_then_up = 0.5 + np.where(rates > 1e-2, rates, 0) + np.random.default_rng(0).normal(size=100) * 0.01
    found = read_rates(rates.tolist(), flat_then_up.tolist())
    assert found.suggestion is None
    assert "lowered the loss" in found.reason


def test_a_rate_is_read_below_the_steepest_descent_and_the_least_loss() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    valley = 1 - 0.8 / (1 + (1e-3 / rates) ** 2) + np.where(rates > 0.05, 20 * (rates - 0.05), 0)
    found = read_rates(rates.tolist(), valley.tolist())
    assert found.suggestion is not None
    assert 3e-4 < found.suggestion < 3e-3


@pytest.mark.parametrize("options", [{"lowest": 0.0}, {"lowest": 2.0}, {"highest": float("inf")}, {"steps": 1}])
def test_an_impossible_range_is_refused(options: dict[str, Any]) -> None:
    network, batches = _task()
    with pytest.raises(OptionError, match="range test"):
        range_test(network, _loss, batches, _groups, **options)


def test_no_batches_and_no_rates_are_refused() -> None:
    network, batches = _task()
    with pytest.raises(OptionError, match="at least one batch"):
        range_test(network, _loss, [], _groups)
    with pytest.raises(OptionError, match="positive"):
        range_test(network, _loss, batches, lambda model: [{"params": model.parameters(), "lr": 0.0}])
