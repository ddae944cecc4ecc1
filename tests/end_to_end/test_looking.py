"""Looking at data as a user does: without torch, without a network, and again from the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Headstart = Callable[..., Any]
pytestmark = pytest.mark.real


def test_data_are_inspected_and_compared(headstart: Headstart, digits: Path, tmp_path: Path) -> None:
    spy = tmp_path / "spied.txt"
    quiet = {"HEADSTART_NO_TORCH": "1", "HEADSTART_SPY": str(spy)}
    done = headstart("inspect", digits, "--json", **quiet)
    assert done.code == 0, done.err
    found = done.json["fingerprint"]
    assert (found["images"], found["grey"], found["gap"]["images"]) == (300, 1.0, 192)
    assert found["gap"]["total"]["value"] > 0.3 > 10 * found["gap"]["total"]["error"]

    shown = headstart("inspect", digits, **quiet)
    assert found["reading"] in shown.out
    assert "features" not in shown.err, "the second time they are read from the cache"
    alone = headstart("gap", digits, "--json", **quiet)
    assert alone.json["gap"] == found["gap"]

    apart = headstart("gap", digits / "0", digits / "1", **quiet)
    assert apart.code == 0, apart.err
    assert "0 (100 images) against 1 (100 images)" in apart.out
    assert not spy.exists(), spy.read_text()
