"""Models that are kept open: few, never an old one, and of some use also where there is no map."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headstart.errors import ImageError, MissingExtraError
from headstart.explaining.explain import Explainer
from headstart.ui import looking
from headstart.ui.looking import OPEN, Looker

pytestmark = pytest.mark.real


@pytest.fixture
def runs(digits_run: Path, tmp_path: Path, warm: None) -> list[Path]:
    """Copies of one run."""
    copies = [tmp_path / f"run{number}" for number in range(OPEN + 1)]
    for copy in copies:
        shutil.copytree(digits_run, copy)
    return copies


def test_few_models_stay_open_and_a_replaced_one_is_opened_anew(
    runs: list[Path], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    whole = looking.open_model

    def counted(folder: Path, **options: object) -> object:
        opened.append(folder.name)
        return whole(folder, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(looking, "open_model", counted)
    looker, data = Looker(lambda line: None), next((digits / "8").iterdir()).read_bytes()
    for folder in (runs[0], runs[0], runs[1], runs[2], runs[1]):
        looker.look(folder, data, "eight.png")
    assert opened == ["run0", "run1", "run2"]
    looker.look(runs[0], data, "eight.png")  # closed meanwhile
    os.utime(runs[0] / "run.json", ns=(1, 1))  # as if another run had been put there
    found = looker.look(runs[0], data, "eight.png")
    assert opened == ["run0", "run1", "run2", "run0", "run0"]
    assert found.label == ("8",)
    assert found.target == "8"
    assert len(found.neighbours) == 5
    assert len(found.probabilities) == 3


def test_what_is_no_image_opens_no_model(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"note\.txt: not an image"):
        Looker(print).look(tmp_path / "absent", b"no image", "note.txt")


def test_without_maps_there_is_an_answer_that_says_why(
    runs: list[Path], digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(explainer: Explainer, target: str | None = None) -> None:
        raise MissingExtraError("a map", "explain")

    monkeypatch.setattr(Explainer, "check", check)
    found = Looker(lambda line: None).look(runs[0], next((digits / "8").iterdir()).read_bytes(), "eight.png")
    assert (found.label, found.map, found.neighbours) == (("8",), None, ())
    assert 'pip install "headstart[explain]"' in found.notes[0]


def test_a_run_that_forgot_its_training_images_has_no_neighbours(runs: list[Path], digits: Path) -> None:
    (runs[0] / "training.parquet").unlink()
    found = Looker(lambda line: None).look(runs[0], next((digits / "8").iterdir()).read_bytes(), "eight.png")
    assert found.map is not None
    assert found.neighbours == ()
    assert "No neighbours" in found.notes[0]
