"""Many processes work on one feature store at once, and any of them may be killed at any moment."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from headstart.features.store import Store

WIDTH = 16
ROOMY = 10**9

# Computes what is missing in small segments, in an order of its own; says "ready" once its imports are done.
WORKER = """
import hashlib, random, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from headstart.features import _writer
from headstart.features.store import Store

@dataclass(frozen=True)
class Context:
    backbone: str = "bundled/lite0"

_writer.SEGMENT_ROWS = 8
root, seed, count, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
random.Random(seed).shuffle(hashes)
print("ready", flush=True)

def truth(part):
    return np.stack([np.resize(np.frombuffer(bytes.fromhex(text), np.uint8), 16) for text in part]).astype("f4")

with Store(root, limit_bytes=limit, say=lambda line: print("SAID", line, flush=True)) as store:
    missing = [hashes[index] for index in store.missing(Context(), hashes)]
    with store.writer(Context(), 16) as writer:
        for start in range(0, len(missing), 3):
            writer.add(missing[start : start + 3], truth(missing[start : start + 3]))
    assert (store.table(Context(), hashes).array() == truth(hashes)).all()
print("done", flush=True)
"""


@dataclass(frozen=True)
class Context:
    backbone: str = "bundled/lite0"


def hashes_of(count: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]


def truth(hashes: Sequence[str]) -> np.ndarray:
    rows = [np.resize(np.frombuffer(bytes.fromhex(text), np.uint8), WIDTH) for text in hashes]
    return np.array(rows, np.float32).reshape(-1, WIDTH)


def start(root: Path, seed: int, count: int, limit: int = ROOMY) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(root), str(seed), str(count), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*workers: subprocess.Popen[str]) -> None:
    for worker in workers:
        output, errors = worker.communicate(timeout=120)
        assert (output.split(), errors) == (["ready", "done"], "")


def assert_sound(root: Path, hashes: Sequence[str]) -> int:
    """Whether every row that is there is right, and every file listed; returns how many rows are there."""
    said: list[str] = []
    with Store(root, limit_bytes=ROOMY, say=said.append) as store:
        missing = set(store.missing(Context(), hashes).tolist())
        there = [text for index, text in enumerate(hashes) if index not in missing]
        np.testing.assert_array_equal(store.table(Context(), there).array().reshape(-1, WIDTH), truth(there))
        store.prune()
        assert store.stats().segments == len(list(root.rglob("*.npy")))
        assert list(root.rglob("*.tmp")) == []
    assert said == []
    return len(there)


def kill_storm(root: Path, kills: int, count: int, rng: random.Random) -> None:
    hashes = hashes_of(count)
    for _ in range(kills):
        worker = start(root, rng.randrange(1000), count)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.15))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        assert_sound(root, hashes)
    finish(start(root, 0, count))
    assert assert_sound(root, hashes) == count


def test_processes_that_compute_the_same_rows_agree(tmp_path: Path) -> None:
    finish(*[start(tmp_path, seed, 400) for seed in range(3)])
    assert assert_sound(tmp_path, hashes_of(400)) == 400


def test_processes_that_evict_each_other_finish(tmp_path: Path) -> None:
    finish(*[start(tmp_path, seed, 200, limit=3000) for seed in range(3)])
    assert_sound(tmp_path, hashes_of(200))
    Store(tmp_path, limit_bytes=3000).prune()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= 3000


def test_a_kill_at_any_moment_leaves_only_whole_rows(tmp_path: Path) -> None:
    kill_storm(tmp_path, 5, 1500, random.Random(0))


@pytest.mark.soak
def test_a_hundred_kills_leave_only_whole_rows(tmp_path: Path) -> None:
    for seed in range(10):
        kill_storm(tmp_path / str(seed), 10, 1500, random.Random(seed))


@pytest.mark.soak
def test_many_processes_agree(tmp_path: Path) -> None:
    for seed in range(10):
        root = tmp_path / str(seed)
        finish(*[start(root, seed, 400, limit=ROOMY if seed % 2 else 3000) for seed in range(8)])
        assert_sound(root, hashes_of(400))
