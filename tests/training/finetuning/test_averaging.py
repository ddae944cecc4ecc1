"""Averages of weights: what they equal, what they leave alone, and that they resume exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.errors import OptionError, RunError

torch = pytest.importorskip("torch")

from headstart.training.finetuning.averaging import WeightAverage, interpolate  # noqa: E402


def _network(seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))


def _set(network: Any, value: float) -> None:
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            tensor.fill_(value)


def _value(average: WeightAverage) -> float:
    copy = _network()
    average.copy_to(copy)
    tensors = [*copy.parameters(), copy[1].running_mean, copy[1].running_var]
    values = {float(tensor.detach().unique()) for tensor in tensors}
    assert len(values) == 1
    return values.pop()


def test_until_the_horizon_is_full_it_is_the_plain_mean_without_the_start() -> None:
    network = _network()
    _set(network, 1000.0)
    average = WeightAverage(network, steps=100, share=0.1)
    seen = []
    for value in np.random.default_rng(0).normal(size=10):
        _set(network, float(value))
        average.update(network)
        seen.append(value)
        assert _value(average) == pytest.approx(np.mean(seen), abs=1e-6)


def test_after_it_the_past_decays_as_the_horizon_says() -> None:
    network = _network()
    average = WeightAverage(network, steps=50, share=0.1)
    assert average.decay == pytest.approx(0.8)
    expected = 0.0
    for step, value in enumerate(np.random.default_rng(1).normal(size=30)):
        _set(network, float(value))
        average.update(network)
        expected += max(1 / (step + 1), 0.2) * (value - expected)
    assert _value(average) == pytest.approx(expected, abs=1e-6)


def test_one_step_of_horizon_is_the_network_itself() -> None:
    network = _network()
    average = WeightAverage(network, steps=3, share=0.1)
    _set(network, 2.5)
    average.update(network)
    _set(network, 7.5)
    average.update(network)
    assert _value(average) == 7.5


def test_the_network_gets_its_own_weights_back_even_after_an_error() -> None:
    network = _network()
    average = WeightAverage(network, steps=10)
    _set(network, 1.0)
    average.update(network)
    own = {name: tensor.clone() for name, tensor in _network(5).state_dict().items()}
    network.load_state_dict(own)

    def interrupted() -> None:
        with average.applied_to(network):
            assert float(network[0].weight.detach().unique()) == 1.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(tensor, own[name]) for name, tensor in network.state_dict().items())


def test_integer_buffers_stay_the_networks_own() -> None:
    network = _network()
    average = WeightAverage(network, steps=10)
    network[1].num_batches_tracked.fill_(7)
    average.update(network)
    with average.applied_to(network):
        assert int(network[1].num_batches_tracked) == 7


def test_resumed_it_goes_on_bit_for_bit() -> None:
    def walk(average: WeightAverage, steps: range) -> None:
        for step in steps:
            average.update(_network(step))

    straight = WeightAverage(_network(), steps=40)
    walk(straight, range(20))
    first = WeightAverage(_network(), steps=40)
    walk(first, range(9))
    saved = first.state_dict()
    walk(first, range(9, 11))  # what happens after saving must not reach into what was saved
    second = WeightAverage(_network(99), steps=40)
    second.load_state_dict(saved)
    walk(second, range(9, 20))
    a, b = straight.state_dict(), second.state_dict()
    assert a["updates"] == b["updates"] == 20
    assert all(torch.equal(tensor, b["weights"][name]) for name, tensor in a["weights"].items())


def test_another_networks_average_is_refused() -> None:
    average = WeightAverage(_network(), steps=10)
    with pytest.raises(RunError, match="another network"):
        average.load_state_dict(WeightAverage(torch.nn.Linear(2, 2), steps=10).state_dict())


@pytest.mark.parametrize(("steps", "share"), [(0, 0.1), (10, 0.0), (10, 1.5)])
def test_an_impossible_horizon_is_refused(steps: int, share: float) -> None:
    with pytest.raises(OptionError):
        WeightAverage(_network(), steps, share)


def test_interpolation_ends_exactly_at_both_networks() -> None:
    start, tuned = _network(1).state_dict(), _network(2).state_dict()
    start["1.num_batches_tracked"] += 3
    for coefficient, end in [(0.0, start), (1.0, tuned)]:
        mixed = interpolate(start, tuned, coefficient)
        assert list(mixed) == list(end)
        assert all(torch.equal(tensor, end[name]) for name, tensor in mixed.items())
        assert all(tensor.data_ptr() != end[name].data_ptr() for name, tensor in mixed.items())


def test_half_way_it_is_the_mean() -> None:
    start, tuned = _network(1).state_dict(), _network(2).state_dict()
    mixed = interpolate(start, tuned, 0.5)
    torch.testing.assert_close(mixed["0.weight"], (start["0.weight"] + tuned["0.weight"]) / 2)
    assert mixed["1.num_batches_tracked"].dtype == torch.int64


def test_two_networks_that_differ_are_not_mixed() -> None:
    start = _network().state_dict()
    with pytest.raises(OptionError, match="another network"):
        interpolate(start, torch.nn.Linear(2, 2).state_dict(), 0.5)
    with pytest.raises(OptionError, match="another network"):
        interpolate(start, start | {"0.weight": torch.zeros(1)}, 0.5)
    with pytest.raises(OptionError, match="coefficient"):
        interpolate(start, start, 1.5)
