"""Corrections of labels: what they change, that equal pictures follow, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data import load
from headstart.data.corrections import Correction, parse_corrections, read_corrections, to_csv, with_test_note
from headstart.errors import DataError


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, name in enumerate(("ant/1.png", "ant/2.png", "ant/3.png", "bee/4.png", "bee/5.png")):
        picture(tmp_path / "data" / name, number)
    return tmp_path / "data"


def written(tmp_path: Path, *corrections: Correction) -> Path:
    path = tmp_path / "corrections.csv"
    path.write_text(to_csv(corrections))
    return path


def test_labels_change_stay_or_lose_their_image(data: Path, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        Correction("ant/1.png", "ant", "wrong", "bee", "2026-01-01T00:00:00+00:00"),
        Correction("ant/2.png", "ant", "right"),
        Correction("bee/4.png", "bee", "wrong"),
    )
    found = load(data, corrections=file)
    labels = dict(zip(found.files, found.table["label"].to_pylist(), strict=True))
    assert labels == {"ant/1.png": "bee", "ant/2.png": "ant", "ant/3.png": "ant", "bee/5.png": "bee"}
    assert [(one.file, one.kind) for one in found.left_out] == [("bee/4.png", "correction")]
    assert found.corrected is not None
    assert (found.corrected.relabelled, found.corrected.confirmed) == (("ant/1.png",), 1)
    assert "By corrections.csv, 1 label was changed, 1 confirmed." in found.notes
    assert any("none of the classes: bee/4.png" in note for note in found.notes)


def test_the_same_picture_takes_the_label_too(data: Path, tmp_path: Path) -> None:
    for copy in ("ant/copy.png", "bee/copy.png"):  # one more ant, and a conflict
        (data / copy).write_bytes((data / "ant/1.png").read_bytes())
    assert {one.kind for one in load(data).left_out} == {"conflict"}
    found = load(data, corrections=written(tmp_path, Correction("ant/1.png", "ant", "wrong", "bee")))
    assert [(one.file, one.kind) for one in found.left_out] == [
        ("ant/copy.png", "duplicate"),
        ("bee/copy.png", "duplicate"),
    ]
    assert found.class_counts() == {"ant": 2, "bee": 3}


def test_corrections_can_be_applied_after_the_label_was_mended(tmp_path: Path, data: Path) -> None:
    table = data / "labels.csv"
    table.write_text("image,label\nant/1.png,bee\nant/2.png,ant\nbee/4.png,bee\n")
    found = load(table, corrections=written(tmp_path, Correction("ant/1.png", "ant", "wrong", "bee")))
    assert found.corrected is not None
    assert found.corrected.relabelled == ()


def test_several_labels(tmp_path: Path, data: Path) -> None:
    table = data / "labels.csv"
    table.write_text("image,labels\nant/1.png,small|dark\nant/2.png,dark\nbee/4.png,small\nbee/5.png,\n")
    file = written(
        tmp_path,
        Correction("ant/1.png", "dark|small", "wrong", "small"),
        Correction("ant/2.png", "dark", "wrong", "|"),
        Correction("bee/5.png", "", "right"),
        Correction("bee/4.png", "small", "wrong", "dark|small"),
    )
    found = load(table, corrections=file)
    assert found.table["label"].to_pylist() == [["small"], [], ["dark", "small"], []]


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (Correction("ant/9.png", "ant", "right"), r"1 images that are not in the data \('ant/9.png'\)"),
        (
            Correction("ant/1.png", "ant", "wrong", "wasp"),
            r"classes that the data do not have: 'wasp'; known are 'ant'",
        ),
        (Correction("ant/1.png", "bee", "wrong", "wasp"), "classes that the data do not have"),
        (Correction("bee/4.png", "ant", "right"), r"no longer have: 'bee/4.png' \(now 'bee'\)"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(
    data: Path, tmp_path: Path, correction: Correction, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(data, corrections=written(tmp_path, correction))


def test_the_first_few_of_many_unknown_rows_are_named(data: Path, tmp_path: Path) -> None:
    many = [Correction(f"ant/{number}.jpg", "ant", "right") for number in range(100)]
    with pytest.raises(DataError, match=r"100 images.*'ant/0.jpg', 'ant/1.jpg', 'ant/2.jpg' and 97 more"):
        load(data, corrections=written(tmp_path, *many))


HEAD = "file,label_given,verdict,label_corrected,time\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wants the columns file, label_given"),
        ("image,label\na,b\n", "has 'image', 'label'"),
        (HEAD + "a.png,ant,perhaps,,\n", "line 2: the verdict is 'right' or 'wrong', not 'perhaps'"),
        (HEAD + "a.png,ant,right,bee,\n", "called right, and 'bee' too"),
        (HEAD + "a.png,ant\n", "line 2: wants one value for each"),
        (HEAD + "a.png,ant,right,,,more\n", "line 2: wants one value for each"),
        (HEAD + "a.png,ant,right,,\na.png,ant,wrong,bee,\n", "two verdicts on 'a.png'"),
        (HEAD + '"a.png,ant', "no CSV file"),
    ],
)
def test_what_is_no_file_of_corrections_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_corrections(text.encode(), "corrections.csv")


def test_bytes_that_are_no_text_and_absent_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no CSV file in UTF-8"):
        parse_corrections(b"\xff\xfe\x00", "corrections.csv")
    with pytest.raises(DataError, match="no such file"):
        read_corrections(tmp_path / "none.csv")


def test_any_name_survives_the_file(tmp_path: Path) -> None:
    names = ['a "b",c.png', "=1+1.png", "two\nlines.png", "ünïcode|.png", "semi;colon.png"]
    corrections = tuple(Correction(name, "ant", "wrong", "bee", "now") for name in names)
    assert read_corrections(written(tmp_path, *corrections)) == corrections


def test_corrected_test_labels_are_told(data: Path, tmp_path: Path) -> None:
    file = written(tmp_path, Correction("ant/1.png", "ant", "wrong", "bee"))
    found = load(data, corrections=file)
    training = found.with_splits(["train"] * 4 + ["test"])
    assert with_test_note(training, nested=False) is training
    test = found.with_splits(["test"] + ["train"] * 4)
    told = with_test_note(test, nested=False)
    assert told.notes[-1].startswith("1 test label was changed by corrections.csv")
    assert with_test_note(told, nested=False) is told
    assert with_test_note(training, nested=True).notes[-1] == told.notes[-1]
