"""Verdicts of several windows and on several labels, as they come to lie in the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart.data.corrections import read_corrections
from headstart.errors import OptionError, RunError
from headstart.reporting.labelled_images import LabelledImage
from headstart.runs.locks import acquire
from headstart.ui import marking
from headstart.ui.marking import Mark, write_mark

CLASSES = ("dark", "small", "wet")


def image(file: str, *labels: str) -> LabelledImage:
    return LabelledImage(file, f"/{file}", "0" * 64, labels, "val")


IMAGES = {one.file: one for one in (image("a", "dark", "small"), image("b"), image("c", "wet"))}


def kept(folder: Path, mark: Mark) -> tuple[str, str, str] | None:
    one = write_mark(folder, mark, IMAGES, CLASSES, several=True).get(mark.file)
    return None if one is None else (one.label_given, one.verdict, one.label_corrected)


def test_several_labels_and_none_that_applies_are_different_from_no_class(tmp_path: Path) -> None:
    assert kept(tmp_path, Mark("a", "wrong", ("wet", "dark"))) == ("dark|small", "wrong", "dark|wet")
    assert kept(tmp_path, Mark("a", "wrong", ("small", "dark"))) == ("dark|small", "right", "")
    assert kept(tmp_path, Mark("a", "wrong")) == ("dark|small", "wrong", "|")
    assert kept(tmp_path, Mark("a", "wrong", no_class=True)) == ("dark|small", "wrong", "")
    assert kept(tmp_path, Mark("b", "right")) == ("", "right", "")
    assert kept(tmp_path, Mark("b", "wrong", ("wet",))) == ("", "wrong", "wet")
    assert kept(tmp_path, Mark("b", "open")) is None
    with pytest.raises(OptionError, match="no class 'dry'"):
        kept(tmp_path, Mark("a", "wrong", ("dry",)))


def test_no_verdict_of_many_at_once_is_lost(tmp_path: Path) -> None:
    many = {str(number): image(str(number), "wet") for number in range(40)}

    def judge(file: str) -> None:
        write_mark(tmp_path, Mark(file, "right"), many, CLASSES, several=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(judge, many))
    assert {one.file for one in read_corrections(tmp_path / "corrections.csv")} == set(many)


def test_a_folder_that_is_being_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "_PATIENCE", 0.0)
    lock = acquire(tmp_path / ".lock", "exclusive", timeout=0)
    assert lock is not None
    with lock, pytest.raises(RunError, match="being written by another process"):
        kept(tmp_path, Mark("a", "right"))
    assert not (tmp_path / "corrections.csv").exists()
