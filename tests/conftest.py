"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights beside the project; tests that want it skip where it is not set."""
    folder = os.environ.get("HEADSTART_SHARED")
    if not folder:
        pytest.skip("HEADSTART_SHARED is not set: no real images beside the project")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works on a cache of its own and never on the user's."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
