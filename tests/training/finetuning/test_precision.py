"""The choice of precision touches nothing, prefers the simple, and drops bf16 where it breaks the network."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.errors import OptionError
from headstart.records import from_json, to_json

torch = pytest.importorskip("torch")

from headstart.training.finetuning import precision as module  # noqa: E402
from headstart.training.finetuning.precision import choose_precision, lay_out, prepare  # noqa: E402
from headstart.training.finetuning.setting import SETTINGS, PrecisionChoice, find_setting  # noqa: E402


def _network() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(8, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
        return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 3))


def _batch(rows: int = 8) -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 8, 8, 8, generator=generator), torch.arange(rows) % 3


def _loss(network: Any, batch: Any) -> Any:
    return torch.nn.functional.cross_entropy(network(batch[0]).float(), batch[1])


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Seconds that each setting is made to take, in the place of the clock."""
    kinds = ("float32", "bf16", "bf16 with float32 depthwise")
    seconds = {name: 1.0 for kind in kinds for name in (kind, f"{kind} channels-last")}
    step = module._Bench.step

    def timed_step(bench: Any, setting: Any) -> float:
        step(bench, setting)
        return seconds[setting.name]

    monkeypatch.setattr(module._Bench, "step", timed_step)
    return seconds


def test_weights_gradients_buffers_and_random_state_stay_untouched() -> None:
    network = _network().train()
    _loss(network, _batch()).backward()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    random_state = torch.get_rng_state()
    choose_precision(network, _batch(), _loss, device="cpu", seconds=0.1)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(p.grad, held) for p, held in zip(network.parameters(), gradients, strict=True))
    assert all(part.training for part in network.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_among_equals_the_simplest_is_taken(timed: dict[str, float]) -> None:
    timed |= {"float32": 1.04, "bf16 channels-last": 1.0}
    choice = choose_precision(_network(), _batch(), _loss, device="cpu")
    assert (choice.precision, choice.channels_last) == ("32-true", False)
    assert set(choice.images_per_second) == {name for name in timed if "depthwise" not in name}
    assert "within 5 %" in choice.reason.replace("5%", "5 %")


@pytest.mark.parametrize(
    ("fast", "wanted"),
    [
        ("bf16 channels-last", ("bf16-mixed", True)),
        ("bf16", ("bf16-mixed", False)),
        ("float32 channels-last", ("32-true", True)),
    ],
)
def test_the_clearly_fastest_is_taken(timed: dict[str, float], fast: str, wanted: tuple[str, bool]) -> None:
    timed[fast] = 0.5
    choice = choose_precision(_network(), _batch(), _loss, device="cpu")
    assert (choice.precision, choice.channels_last) == wanted
    assert choice.reason.startswith(fast)


def test_depthwise_convolutions_may_stay_in_float32(timed: dict[str, float]) -> None:
    name = "bf16 with float32 depthwise channels-last"
    timed |= {"bf16 with float32 depthwise": 0.9, name: 0.5}
    assert name not in choose_precision(_network(), _batch(), _loss, device="cpu").images_per_second
    network = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=8), *_network())
    choice = choose_precision(network, _batch(), _loss, device="cpu")
    assert (choice.precision, choice.channels_last, choice.depthwise_float32) == ("bf16-mixed", True, True)
    assert choice.name == name
    kinds: list[torch.dtype] = []
    prepare(network, choice)
    for layer in network[:2]:
        layer.register_forward_hook(lambda part, given, output: kinds.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(_batch()[0])
    assert kinds == [torch.float32, torch.bfloat16]


def test_without_filters_the_memory_format_is_no_question() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    choice = choose_precision(network, (torch.randn(6, 4), torch.arange(6) % 3), _loss, device="cpu", seconds=0.05)
    assert not choice.channels_last
    assert "float32 channels-last" not in choice.images_per_second


def test_maps_made_of_images_lie_with_the_channels_last_whatever_is_measured(timed: dict[str, float]) -> None:
    images = torch.randint(0, 256, (8, 8, 8, 3), dtype=torch.uint8)
    layouts: set[bool] = set()

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filters, self.head = torch.nn.Conv2d(3, 16, 3), torch.nn.Linear(16, 3)

        def forward(self, images: Any) -> Any:
            maps = self.filters(images.permute(0, 3, 1, 2).float())
            layouts.add(maps.is_contiguous(memory_format=torch.channels_last))
            return self.head(maps.mean(dim=(2, 3)))

    timed["bf16 channels-last"] = 2.0
    choice = choose_precision(Network(), (images, torch.arange(8) % 3), _loss, device="cpu")
    assert (choice.precision, choice.channels_last) == ("32-true", True)
    assert not {"float32", "bf16"} & set(choice.images_per_second)
    assert layouts == {True}


def test_bf16_is_dropped_where_the_loss_is_not_finite(timed: dict[str, float]) -> None:
    def breaks(network: Any, batch: Any) -> Any:
        logits = network(batch[0])
        return _loss(network, batch) if logits.dtype == torch.float32 else logits.sum() * float("inf")

    choice = choose_precision(_network(), _batch(), breaks, device="cpu", seconds=0.05)
    assert choice.precision == "32-true"
    assert "bf16" not in choice.images_per_second
    assert "not finite" in choice.reason


def test_bf16_is_dropped_where_its_gradient_points_elsewhere(timed: dict[str, float]) -> None:
    def turns(network: Any, batch: Any) -> Any:
        sign = 1.0 if network(batch[0]).dtype == torch.float32 else -1.0
        return sign * _loss(network, batch)

    choice = choose_precision(_network(), _batch(), turns, device="cpu", seconds=0.05)
    assert choice.precision == "32-true"
    assert "cosine" in choice.reason


def test_a_slow_network_is_timed_on_fewer_rows(timed: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()

    def loss(network: Any, batch: Any) -> Any:
        seen.add(len(batch[0]))
        return _loss(network, batch)

    choose_precision(_network(), _batch(64), loss, device="cpu", seconds=2.0)
    assert seen == {8}


def test_bf16_that_is_much_faster_and_broken_leaves_the_fastest_of_the_rest(timed: dict[str, float]) -> None:
    timed |= {"bf16": 0.1, "bf16 channels-last": 0.1, "float32": 1.0, "float32 channels-last": 0.7}

    def breaks(network: Any, batch: Any) -> Any:
        logits = network(batch[0])
        return _loss(network, batch) if logits.dtype == torch.float32 else logits.sum() * float("inf")

    choice = choose_precision(_network(), _batch(), breaks, device="cpu")
    assert (choice.precision, choice.channels_last) == ("32-true", True)
    assert "not finite" in choice.reason


def test_less_than_half_as_fast_is_not_timed(timed: dict[str, float]) -> None:
    timed |= {"bf16": 2.1, "bf16 channels-last": 2.1}
    choice = choose_precision(_network(), _batch(), _loss, device="cpu")
    assert set(choice.images_per_second) == {"float32", "float32 channels-last"}
    assert "less than half as fast: bf16, bf16 channels-last" in choice.reason


def test_where_time_has_run_out_each_setting_is_still_timed(
    timed: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRECISION_LATENESS", 0.0)
    timed["float32 channels-last"] = 0.6
    choice = choose_precision(_network(), _batch(), _loss, device="cpu", seconds=0.05)
    assert (choice.precision, choice.channels_last) == ("32-true", True)
    assert len(choice.images_per_second) == 4


def test_a_short_training_is_not_worth_timing_everything(timed: dict[str, float]) -> None:
    """A tenth of 20 passes holds the likeliest setting, twice, and the next; of 400, all of them."""
    timed |= {"bf16 channels-last": 0.6, "float32 channels-last": 0.9}
    short = choose_precision(_network(), _batch(), _loss, device="cpu", images=20 * 8)
    assert (short.precision, short.channels_last) == ("bf16-mixed", True)
    assert set(short.images_per_second) < {name for name in timed if "depthwise" not in name}
    assert "the training is short" in short.reason
    long = choose_precision(_network(), _batch(), _loss, device="cpu", images=400 * 8)
    assert set(long.images_per_second) == {name for name in timed if "depthwise" not in name}
    shortest = choose_precision(_network(), _batch(), _loss, device="cpu", images=0)
    assert len(shortest.images_per_second) <= 2
    assert "the training is short" in shortest.reason


def test_a_choice_is_read_back_as_it_was_written() -> None:
    choice = choose_precision(_network(), _batch(), _loss, device="cpu", seconds=0.05)
    assert from_json(PrecisionChoice, to_json(choice)) == choice


def test_batches_are_laid_out_for_the_network() -> None:
    images, labels = lay_out(_batch(), channels_last=True)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert torch.equal(lay_out([images], channels_last=False)[0], _batch()[0])
    assert lay_out({"image": images}, channels_last=False)["image"].is_contiguous()


def test_what_can_not_be_measured_is_refused() -> None:
    with pytest.raises(OptionError, match="positive time"):
        choose_precision(_network(), _batch(), _loss, device="cpu", seconds=0.0)
    with pytest.raises(OptionError, match="equally many rows"):
        choose_precision(_network(), (torch.zeros(3, 8, 8, 8), torch.zeros(4)), _loss, device="cpu")
    with pytest.raises(OptionError, match="no parameter"):
        choose_precision(_network().requires_grad_(False), _batch(), _loss, device="cpu")


def test_a_setting_is_found_by_its_name() -> None:
    for setting in SETTINGS:
        assert find_setting(setting.name) is setting
        given = PrecisionChoice.given(setting.name)
        assert (given.name, given.reason, given.images_per_second) == (setting.name, "given", {})
    with pytest.raises(OptionError, match="unknown precision 'bf32'; there are 'float32', 'float32 channels-last'"):
        find_setting("bf32")
