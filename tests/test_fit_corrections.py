"""A fit with corrected labels: what is recorded, and that a file which does not fit the data leaves no run behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from headstart.cli import process
from headstart.data.corrections import Correction, to_csv

pytestmark = pytest.mark.real


def test_corrections_are_applied_and_recorded(
    digits: Path, tmp_path: Path, warm: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = (f"0/{path.name}" for path in sorted((digits / "0").iterdir())[:3])
    file = tmp_path / "corrections.csv"
    given = [Correction(first, "0", "wrong", "8"), Correction(second, "0", "wrong"), Correction(third, "0", "right")]
    file.write_text(to_csv(given))
    command = [
        "fit",
        str(digits),
        "--strategy",
        "prototype",
        "--corrections",
        str(file),
        "--out",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr(sys, "argv", ["headstart", *command])
    assert process.run() == 0
    assert "1 label was changed, 1 confirmed" in capsys.readouterr().out
    request = json.loads((tmp_path / "run" / "run.json").read_text())["request"]
    assert (request["labels_changed"], request["labels_confirmed"], request["images_of_no_class"]) == (1, 1, 1)
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert [(row["file"], row["kind"]) for row in audit["left_out"]] == [(second, "correction")]
    assert (tmp_path / "run" / "corrections.csv").read_text() == file.read_text()

    file.write_text(to_csv([Correction("9/none.png", "9", "right")]))
    monkeypatch.setattr(sys, "argv", ["headstart", *command[:-1], str(tmp_path / "other")])
    assert process.run() == 2
    assert "'9/none.png'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
