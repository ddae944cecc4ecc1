"""What ``headstart cache`` shows and clears: the features, the compiled graphs and the demo's images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headstart.features.store import Store, StoreStats
from headstart.files import cache_root


@dataclass(frozen=True)
class CacheDescription:
    """Where the cache is, what the feature store holds, and the bytes of everything else in it."""

    root: Path
    features: StoreStats
    other_bytes: int


def describe_cache(say: Callable[[str], None]) -> CacheDescription:
    """Look at the cache folder."""
    root = cache_root()
    with Store.default(say) as store:
        return CacheDescription(root, store.stats(), sum(map(_bytes, _others(root))))


def clear_cache(say: Callable[[str], None]) -> int:
    """Remove everything; returns the bytes freed."""
    root = cache_root()
    with Store.default(say) as store:
        freed = store.clear()
    for folder in _others(root):
        freed += _bytes(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _others(root: Path) -> list[Path]:
    return [root / name for name in ("graphs", "demo") if (root / name).is_dir()]


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
