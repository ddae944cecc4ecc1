"""The feature store gives back what was put in, only for the same context, and keeps to its limit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from headstart.errors import OptionError, StorageError
from headstart.features import _writer
from headstart.features.store import MissingRowsError, Store, context_id, parse_size

WIDTH = 40
ROOMY = 10**9


@dataclass(frozen=True)
class Part:
    mean: tuple[float, ...] = (0.5, 0.5)


@dataclass(frozen=True)
class Context:
    backbone: str = "bundled/lite0"
    cut: int = 9
    part: Part = Part()


def hashes_of(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def truth(hashes: Sequence[str], width: int = WIDTH) -> np.ndarray:
    """Rows that follow from their hash and are exact in float16."""
    return np.stack([np.resize(np.frombuffer(bytes.fromhex(text), np.uint8), width) for text in hashes]).astype("f4")


def fill(store: Store, hashes: Sequence[str], context: Context = Context(), width: int = WIDTH) -> None:
    with store.writer(context, width) as writer:
        writer.add(hashes, truth(hashes, width))


def segment_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.npy"))


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_writer, "SEGMENT_ROWS", 8)


def test_rows_come_back_in_any_order_with_repeats(tmp_path: Path, small_segments: None) -> None:
    hashes = hashes_of(*range(50))
    with Store(tmp_path, limit_bytes=ROOMY) as store, store.writer(Context(), WIDTH) as writer:
        for start in range(0, 50, 7):
            part = hashes[start : start + 7]
            writer.add(part, truth(part))
    asked = [hashes[number] for number in np.random.default_rng(0).integers(0, 50, 200)]
    table = Store(tmp_path, limit_bytes=ROOMY).table(Context(), asked)
    assert (len(table), table.width) == (200, WIDTH)
    assert table.dtype == np.float16
    np.testing.assert_array_equal(table.array(), truth(asked))
    assert len(segment_files(tmp_path)) == 7


def test_what_is_missing_is_listed_and_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(1, 3))
    asked = hashes_of(0, 1, 2, 3, 2)
    assert store.missing(Context(), asked).tolist() == [0, 2, 4]
    with pytest.raises(MissingRowsError) as caught:
        store.table(Context(), asked)
    assert caught.value.indices.tolist() == [0, 2, 4]


def test_another_context_shares_no_row(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(1))
    for other in (Context(cut=8), Context(backbone="x"), Context(part=Part((0.5, 0.4)))):
        assert store.missing(other, hashes_of(1)).tolist() == [0]
    assert store.missing(Context(), hashes_of(1)).size == 0


def test_equal_contexts_have_equal_ids_and_are_described_for_people(tmp_path: Path) -> None:
    assert context_id(Context()) == context_id(Context(part=Part((0.5, 0.5))))
    assert context_id(Context()) != context_id(Context(cut=8))
    fill(Store(tmp_path, limit_bytes=ROOMY), hashes_of(1))
    (description,) = tmp_path.rglob("context.json")
    assert description.parent.name == context_id(Context())
    assert json.loads(description.read_text())["part"] == {"mean": [0.5, 0.5]}


def test_a_segment_is_a_file_that_numpy_reads(tmp_path: Path) -> None:
    hashes = hashes_of(1, 2)
    fill(Store(tmp_path, limit_bytes=ROOMY), hashes)
    (record,) = np.load(segment_files(tmp_path)[0])
    np.testing.assert_array_equal(record["rows"], truth(hashes))
    assert [bytes(key).hex() for key in record["hashes"]] == hashes


def test_rows_that_overflow_float16_stay_float32(tmp_path: Path) -> None:
    hashes = hashes_of(*range(6))
    rows = truth(hashes)
    rows[2, 5], rows[4, 0], rows[5, 1] = 1e6, -70000.5, np.inf
    store = Store(tmp_path, limit_bytes=ROOMY)
    with store.writer(Context(), WIDTH) as writer:
        writer.add(hashes, rows)
    np.testing.assert_array_equal(store.table(Context(), hashes).array(), rows)
    assert store.table(Context(), hashes).dtype == np.float32
    assert store.table(Context(), [hashes[0], hashes[1], hashes[3]]).dtype == np.float16


def test_a_row_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(1, 2))
    fill(store, hashes_of(2, 1))
    assert (store.stats().segments, store.stats().rows) == (1, 2)
    assert len(segment_files(tmp_path)) == 1


def test_no_rows_are_no_trouble(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    with store.writer(Context(), WIDTH) as writer:
        writer.add([], np.zeros((0, WIDTH), np.float32))
    assert store.missing(Context(), []).size == 0
    assert len(store.table(Context(), [])) == 0
    assert segment_files(tmp_path) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writer_saves_what_it_was_given(tmp_path: Path, interruption: type[BaseException]) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    writer = store.writer(Context(), WIDTH)
    writer.__enter__()
    writer.add(hashes_of(1, 2), truth(hashes_of(1, 2)))
    writer.__exit__(interruption, interruption(), None)
    assert Store(tmp_path, limit_bytes=ROOMY).missing(Context(), hashes_of(1, 2, 3)).tolist() == [2]


@pytest.mark.parametrize("shape", [(2, WIDTH), (1, WIDTH - 1), (WIDTH,)])
def test_rows_of_a_wrong_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with (
        Store(tmp_path, limit_bytes=ROOMY).writer(Context(), WIDTH) as writer,
        pytest.raises(ValueError, match="expected rows"),
    ):
        writer.add(hashes_of(1), np.zeros(shape, np.float32))


def test_a_context_that_forgets_the_width_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(1))
    with pytest.raises(ValueError, match="40 wide, not 41"):
        store.writer(Context(), 41)


def test_a_hash_of_a_wrong_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64"):
        Store(tmp_path, limit_bytes=ROOMY).missing(Context(), ["abc"])


def test_the_least_recently_used_segments_go_first(tmp_path: Path) -> None:
    for number in range(4):
        fill(Store(tmp_path, limit_bytes=ROOMY), hashes_of(number))
    size = segment_files(tmp_path)[0].stat().st_size
    assert Store(tmp_path, limit_bytes=ROOMY).missing(Context(), hashes_of(0)).size == 0  # used just now
    Store(tmp_path, limit_bytes=2 * size).prune()
    left = Store(tmp_path, limit_bytes=ROOMY)
    assert left.missing(Context(), hashes_of(0, 1, 2, 3)).tolist() == [1, 2]
    assert left.stats().bytes == 2 * size == sum(path.stat().st_size for path in segment_files(tmp_path))


def test_a_store_keeps_what_it_uses_until_it_is_closed(tmp_path: Path, small_segments: None) -> None:
    old, new = hashes_of(*range(8)), hashes_of(*range(8, 40))
    fill(Store(tmp_path, limit_bytes=ROOMY), old)
    with Store(tmp_path, limit_bytes=0) as store:
        assert store.missing(Context(), old + new).tolist() == list(range(8, 40))
        fill(store, new)
        np.testing.assert_array_equal(store.table(Context(), old + new).array(), truth(old + new))
    assert segment_files(tmp_path) == []


def test_segments_in_use_are_spared(tmp_path: Path) -> None:
    for number in range(3):
        fill(Store(tmp_path, limit_bytes=ROOMY), hashes_of(number))
    store = Store(tmp_path, limit_bytes=ROOMY)
    table = Store(tmp_path, limit_bytes=ROOMY).table(Context(), hashes_of(0))
    assert store.missing(Context(), hashes_of(1)).size == 0
    Store(tmp_path, limit_bytes=0).prune()
    assert Store(tmp_path, limit_bytes=ROOMY).missing(Context(), hashes_of(0, 1, 2)).tolist() == [2]
    np.testing.assert_array_equal(table.array(), truth(hashes_of(0)))


def test_what_a_store_has_found_or_written_stays_whatever_others_do(tmp_path: Path, small_segments: None) -> None:
    hashes = hashes_of(*range(30))
    fill(Store(tmp_path, limit_bytes=ROOMY), hashes[:10])
    store = Store(tmp_path, limit_bytes=ROOMY)
    assert store.missing(Context(), hashes[5:]).tolist() == list(range(5, 25))
    fill(store, hashes[10:])
    Store(tmp_path, limit_bytes=ROOMY).clear()
    asked = [hashes[number] for number in (29, 10, 5, 5, 17)]
    np.testing.assert_array_equal(store.table(Context(), asked).array(), truth(asked))
    assert store.missing(Context(), hashes_of(99, 29, 98)).tolist() == [0, 2]


def test_clearing_removes_everything_and_leaves_tables_valid(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(1, 2))
    table = store.table(Context(), hashes_of(1, 2))
    size = store.stats().bytes
    assert store.clear() == size > 0
    assert [path for path in tmp_path.rglob("*.*") if path.is_file() and path.name != ".lock"] == []
    np.testing.assert_array_equal(table.array(), truth(hashes_of(1, 2)))
    assert store.missing(Context(), hashes_of(1)).tolist() == [0]
    fill(store, hashes_of(1))
    assert store.stats().rows == 1


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=5)
    fill(store, hashes_of(1, 2))
    fill(store, hashes_of(1), Context(cut=3))
    stats = store.stats()
    assert (stats.contexts, stats.segments, stats.rows, stats.limit_bytes) == (2, 2, 3, 5)
    assert stats.root == str(tmp_path)


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a write, by a limit of the operating system's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10_000, 100_000])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing_half_written(tmp_path: Path, room: int) -> None:
    hashes = hashes_of(*range(100))
    store = Store(tmp_path, limit_bytes=ROOMY)
    with no_file_larger_than(room), pytest.raises(StorageError, match=r"HEADSTART_CACHE"):
        fill(store, hashes, width=1000)
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".npy", ".tmp")] == []
    assert store.missing(Context(), hashes).size == 100
    fill(store, hashes, width=1000)
    np.testing.assert_array_equal(store.table(Context(), hashes).array(), truth(hashes, 1000))


def test_an_index_that_can_not_grow_is_a_clear_error(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=ROOMY)
    fill(store, hashes_of(0), width=1)
    many = hashes_of(*range(1, 2000))
    with no_file_larger_than(70_000), pytest.raises(StorageError, match=r"index\.sqlite"):
        fill(store, many, width=1)
    fill(store, many, width=1)
    np.testing.assert_array_equal(store.table(Context(), many).array(), truth(many, 1))


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="no folder"):
        Store(tmp_path / "file", limit_bytes=ROOMY).missing(Context(), hashes_of(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_clear_error(tmp_path: Path) -> None:
    fill(Store(tmp_path, limit_bytes=ROOMY), hashes_of(1))
    (tmp_path / "v1" / ".lock").unlink()
    (tmp_path / "v1").chmod(0o500)
    with pytest.raises(StorageError, match="not allowed"):
        Store(tmp_path, limit_bytes=ROOMY).missing(Context(), hashes_of(1))


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GB", 10**10), ("500 MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("2g", 2 * 10**9), ("0", 0), (" 70000 ", 70000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text, "X") == size


@pytest.mark.parametrize("text", ["ten", "10 XB", "-1GB", "GB", "1e9"])
def test_a_size_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.setenv("HEADSTART_CACHE_SIZE", text)
    with pytest.raises(OptionError, match="HEADSTART_CACHE_SIZE"):
        Store.default()


def test_the_default_store_lies_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    monkeypatch.delenv("HEADSTART_CACHE_SIZE", raising=False)
    stats = Store.default().stats()
    assert (stats.root, stats.limit_bytes) == (str(tmp_path / "features"), 10**10)
