"""``headstart report`` as a user meets it, and what a fit says at its end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Headstart = Callable[..., Any]
pytestmark = pytest.mark.real


def test_a_page_is_written_again_and_says_what_is_gone(headstart: Headstart, digits: Path, tmp_path: Path) -> None:
    """Without torch and with sockets blocked."""
    spy = tmp_path / "spied.txt"
    quiet = {"HEADSTART_NO_TORCH": "1", "HEADSTART_SPY": str(spy)}
    data = tmp_path / "swapped"
    shutil.copytree(digits, data)
    for path in sorted((data / "1").iterdir())[:12]:  # mistakes for certain: labels that are wrong
        path.rename(data / "8" / f"swapped-{path.name}")
    done = headstart("fit", data, "--strategy", "prototype", "--out", "run", **quiet)
    assert done.code == 0, done.err
    assert any(f"\n{answer}." in done.out for answer in ("Use it", "Not yet", "Cannot tell")), done.out
    assert "\nNext: " in done.out
    worst = done.out.partition("Most worth checking:\n")[2].splitlines()[:3]
    assert [line[:2] for line in worst] == ["1.", "2.", "3."]
    assert all("8/swapped-" in line for line in worst)
    folder = tmp_path / "work" / "run"
    page, card = ((folder / name).read_bytes() for name in ("report.html", "model_card.md"))
    assert b"Map of what speaks for" in page
    again = headstart("report", "run", **quiet)
    assert again.code == 0, again.err
    assert again.out.splitlines() == ["run/report.html", "run/model_card.md"]
    written = [(folder / name).read_bytes() for name in ("report.html", "model_card.md")]
    assert [len(one) for one in written] == pytest.approx([len(page), len(card)], rel=0.01)

    (folder / "audit.json").write_text("{")
    (folder / "training.parquet").unlink()
    partial = headstart("report", "run", **quiet)
    assert partial.code == 0, partial.err
    told = (folder / "report.html").read_text()
    assert "audit.json can&#39;t be read" in told
    assert "training.parquet is not there" in told
    (folder / "metrics.json").unlink()
    refused = headstart("report", "run", **quiet)
    assert refused.code == 2
    assert len(refused.err.splitlines()) <= 2
    assert (folder / "report.html").read_text() == told
    assert not spy.exists(), spy.read_text()
