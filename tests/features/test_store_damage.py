"""Whatever happens to the feature store's files, it never gives a wrong row, and says once what it lost."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from headstart.features import _writer
from headstart.features.store import Store

WIDTH = 24
ROOMY = 10**9


@dataclass(frozen=True)
class Context:
    backbone: str = "bundled/lite0"


def hashes_of(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def truth(hashes: Sequence[str]) -> np.ndarray:
    return np.stack([np.resize(np.frombuffer(bytes.fromhex(text), np.uint8), WIDTH) for text in hashes]).astype("f4")


def complete(store: Store, hashes: Sequence[str]) -> int:
    """Compute what is missing, as an engine does; returns how much it was, and checks every row."""
    missing = [hashes[index] for index in store.missing(Context(), hashes)]
    with store.writer(Context(), WIDTH) as writer:
        for start in range(0, len(missing), 5):
            part = missing[start : start + 5]
            writer.add(part, truth(part))
    np.testing.assert_array_equal(store.table(Context(), hashes).array(), truth(hashes))
    return len(missing)


HASHES = hashes_of(*range(40))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of 40 rows in five segments."""
    monkeypatch.setattr(_writer, "SEGMENT_ROWS", 8)
    with Store(tmp_path, limit_bytes=ROOMY) as store:
        assert complete(store, HASHES) == 40
    return tmp_path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


SEGMENT_DAMAGE: dict[str, Callable[[Path], object]] = {
    "a header byte": lambda path: flip(path, 20),
    "a hash byte": lambda path: flip(path, path.stat().st_size - 8 * WIDTH * 2 - 5),
    "a row byte": lambda path: flip(path, path.stat().st_size - 5),
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "absent": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", SEGMENT_DAMAGE)
def test_a_damaged_segment_is_computed_again_and_said_once(root: Path, damage: str) -> None:
    SEGMENT_DAMAGE[damage](sorted(root.rglob("*.npy"))[2])
    said: list[str] = []
    with Store(root, limit_bytes=ROOMY, say=said.append) as store:
        assert complete(store, HASHES) == 8
        assert store.stats().rows == 40
    with Store(root, limit_bytes=ROOMY, say=said.append) as store:
        assert complete(store, HASHES) == 0
    assert len(said) == 1
    assert "8 rows are computed again" in said[0]


def test_an_exchanged_segment_is_noticed(root: Path) -> None:
    first, second, *_ = sorted(root.rglob("*.npy"))
    second.write_bytes(first.read_bytes())
    with Store(root, limit_bytes=ROOMY, say=lambda line: None) as store:
        assert complete(store, HASHES) == 8


def change_index(root: Path, statement: str) -> None:
    with sqlite3.connect(root / "v1" / "index.sqlite") as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET position = 7 - position",
        "UPDATE rows SET position = position + 1",
        "UPDATE rows SET position = -1",
        "UPDATE rows SET position = 'x'",
        "UPDATE rows SET segment = 1",
        "UPDATE rows SET segment = 77",
        "UPDATE segments SET width = width + 1",
        "UPDATE segments SET width = 4, rows = 32",
        "UPDATE segments SET itemsize = 4",
        "UPDATE segments SET rows = 0",
        "UPDATE segments SET name = '../../etc' WHERE id = 1",
        "UPDATE segments SET checksum = 'x'",
        "UPDATE segments SET size = 1e300",
        "DELETE FROM segments",
        "DELETE FROM contexts",
        "DROP TABLE rows",
        "DROP TABLE contexts",
    ],
)
def test_an_index_that_tells_lies_never_gives_a_wrong_row(root: Path, statement: str) -> None:
    change_index(root, statement)
    with Store(root, limit_bytes=ROOMY, say=lambda line: None) as store:
        complete(store, HASHES)
    with Store(root, limit_bytes=ROOMY) as store:
        assert complete(store, HASHES) == 0


INDEX_DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_bytes(b"not a database" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a few bytes": lambda path: os.truncate(path, 10),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", INDEX_DAMAGE)
def test_a_damaged_index_is_started_anew_and_said_once(root: Path, damage: str) -> None:
    INDEX_DAMAGE[damage](root / "v1" / "index.sqlite")
    said: list[str] = []
    with Store(root, limit_bytes=ROOMY, say=said.append) as store:
        assert complete(store, HASHES) == 40
        assert complete(store, HASHES) == 0
    assert len(said) == 1
    assert "index.sqlite was damaged" in said[0]
    assert len(list(root.rglob("*.npy"))) == 5  # those that no index lists any more are gone


def test_a_removed_index_and_a_removed_store_are_started_anew(root: Path) -> None:
    (root / "v1" / "index.sqlite").unlink()
    assert complete(Store(root, limit_bytes=ROOMY), HASHES) == 40
    (root / "v1").rename(root / "elsewhere")
    assert complete(Store(root, limit_bytes=ROOMY), HASHES) == 40


def spoil_index(root: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = root / "v1" / "index.sqlite"
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        start = int(rng.integers(0, len(data) if seed % 2 else 200))
        length = int(rng.integers(1, 40))
        data[start : start + length] = rng.bytes(len(data[start : start + length]))
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(25))
def test_random_bytes_in_the_index_never_give_a_wrong_row(root: Path, seed: int) -> None:
    spoil_index(root, seed)
    with Store(root, limit_bytes=ROOMY, say=lambda line: None) as store:
        complete(store, HASHES)


@pytest.mark.soak
def test_many_random_bytes_in_the_index_never_give_a_wrong_row(root: Path) -> None:
    for seed in range(1000, 2000):
        spoil_index(root, seed)
        with Store(root, limit_bytes=ROOMY, say=lambda line: None) as store:
            complete(store, HASHES)


def test_leftovers_of_a_killed_process_are_removed(root: Path) -> None:
    folder = next(root.rglob("*.npy")).parent
    orphans = [folder / f"{'0' * 32}.npy", folder / f".{'0' * 32}.npy.0123456789ab.tmp", root / "v1" / ".index.0"]
    for orphan in orphans:
        orphan.write_bytes(b"x")
    with Store(root, limit_bytes=ROOMY) as store:
        assert complete(store, HASHES) == 0
        store.prune()
    assert not any(orphan.exists() for orphan in orphans)
    assert complete(Store(root, limit_bytes=ROOMY), HASHES) == 0
