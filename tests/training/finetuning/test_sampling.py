"""Orders of rows: complete, repeatable, equal on all processes; and split batches whose gradients add up exactly."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.training.finetuning.sampling import batches, epoch_order, halved, micro_batches, shard


def test_an_epoch_takes_every_row_once_in_an_order_of_its_own() -> None:
    order = epoch_order(100, seed=1, epoch=3)
    assert np.array_equal(np.sort(order), np.arange(100))
    assert np.array_equal(order, epoch_order(100, seed=1, epoch=3))
    assert not np.array_equal(order, epoch_order(100, seed=1, epoch=4))
    assert not np.array_equal(order, epoch_order(100, seed=2, epoch=3))


@pytest.mark.parametrize(("rows", "world"), [(96, 4), (97, 4), (3, 8), (1, 3)])
def test_all_processes_get_equally_many_rows_and_together_all(rows: int, world: int) -> None:
    order = epoch_order(rows, seed=0, epoch=0)
    shards = [shard(order, rank=rank, world=world) for rank in range(world)]
    assert len({len(part) for part in shards}) == 1
    assert set(np.concatenate(shards)) == set(range(rows))
    assert sum(map(len, shards)) < rows + world


def test_a_step_of_all_processes_takes_the_rows_of_one_process_with_the_whole_batch() -> None:
    order = epoch_order(64, seed=5, epoch=2)
    parts = [batches(shard(order, rank=rank, world=2), 8) for rank in range(2)]
    for step, whole in enumerate(batches(order, 16)):
        assert set(np.concatenate([part[step] for part in parts])) == set(whole)


def test_batches_keep_the_last() -> None:
    order = epoch_order(10, seed=0, epoch=0)
    found = batches(order, 4)
    assert [len(batch) for batch in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), order)


@pytest.mark.parametrize(("rows", "size"), [(32, 32), (32, 8), (32, 5), (7, 100), (1, 1)])
def test_a_split_batch_has_the_gradient_of_the_whole(rows: int, size: int) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (rows,), generator=generator)
    weight = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    whole = torch.autograd.grad(torch.nn.functional.cross_entropy(inputs @ weight, labels), weight)[0]
    total = torch.zeros_like(whole)
    parts = micro_batches(rows, size)
    for part in parts:
        loss = part.share * torch.nn.functional.cross_entropy(inputs[part.rows] @ weight, labels[part.rows])
        total += torch.autograd.grad(loss, weight)[0]
    torch.testing.assert_close(total, whole, rtol=1e-12, atol=1e-14)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert all(part.rows.stop - part.rows.start <= size for part in parts)


def test_halving_ends_at_one() -> None:
    sizes = [37]
    while sizes[-1] > 1:
        sizes.append(halved(sizes[-1]))
    assert sizes == [37, 19, 10, 5, 3, 2, 1]
    with pytest.raises(OptionError, match="one image"):
        halved(1)


def test_what_can_not_be_ordered_or_split_is_refused() -> None:
    order = epoch_order(4, seed=0, epoch=0)
    with pytest.raises(OptionError, match="batch of 5"):
        batches(order, 5)
    with pytest.raises(OptionError):
        batches(order, 0)
    with pytest.raises(OptionError):
        micro_batches(4, 0)
    with pytest.raises(OptionError):
        shard(order, rank=2, world=2)
    with pytest.raises(OptionError):
        epoch_order(0, seed=0, epoch=0)
    with pytest.raises(OptionError):
        epoch_order(3, seed=-1, epoch=0)
