"""Tables and DataFrames become rows; whatever is missing or unknown in them is named by column and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data import Dataset, load
from headstart.errors import DataError

FILES = ["a.jpg", "b.jpg", "sub/c.jpg"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images to refer to."""
    (tmp_path / "sub").mkdir()
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def load_csv(folder: Path, text: str, name: str = "t.csv", **options: Any) -> Dataset:
    (folder / name).write_text(text, encoding="utf-8")
    return load(folder / name, **options)


def columns(dataset: Dataset, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(dataset.table.column(name).to_pylist() for name in names), strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "image,label\na.jpg,x\nb.jpg,y\nsub/c.jpg,x\n"),
        ("t.csv", "\ufeffimage,label\r\na.jpg,x\r\nb.jpg,y\r\n\r\nsub/c.jpg,x"),
        ("t.csv", "Label; Image ;note\nx;a.jpg;1,5\n y ;b.jpg;\nx; sub\\c.jpg;ü\n"),
        ("T.TSV", 'image\tlabel\na.jpg\tx\n"b.jpg"\ty\nsub/c.jpg\tx\n'),
        ("t.csv", "image,label\n./a.jpg,x\nsub/../b.jpg,y\nsub//c.jpg,x\n"),
    ],
)
def test_text_tables_in_their_many_spellings(folder: Path, name: str, text: str) -> None:
    dataset = load_csv(folder, text, name)
    assert columns(dataset, "image", "label") == [
        (str(folder / file), label) for file, label in zip(FILES, "xyx", strict=True)
    ]
    assert dataset.name == Path(name).stem
    assert dataset.read(2) == b"sub/c.jpg"


def test_a_domain_is_a_column_like_a_group(folder: Path) -> None:
    dataset = load_csv(folder, "image,label,group,Domain\na.jpg,x,p1,north\nb.jpg,y,,\nsub/c.jpg,x,p1,7\n")
    assert dataset.domains == ["north", None, "7"]
    assert dataset.group_names == ["p1", None, "p1"]
    assert dataset.select([2, 0]).domains == ["7", "north"]
    assert load_csv(folder, "image,label\na.jpg,x\nb.jpg,y\n").domains == [None, None]


def test_parquet_and_pandas_say_the_same_as_csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "image,label,split,group\na.jpg,007,Train,p1\nb.jpg,8,validation,p1\nsub/c.jpg,8,,\n"
    wanted = columns(load_csv(folder, text), "image", "file", "label", "split", "group", "hash")
    assert [row[2:5] for row in wanted] == [("007", "train", "p1"), ("8", "val", "p1"), ("8", "train", None)]
    frame = pd.read_csv(folder / "t.csv", dtype=str)
    frame.to_parquet(folder / "t.parquet")
    monkeypatch.chdir(folder)
    for source in (folder / "t.parquet", frame, frame.astype({"label": "category", "group": object})):
        assert columns(load(source), "image", "file", "label", "split", "group", "hash") == wanted


def test_numbers_as_labels_become_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for labels in ([3, 10, 3], [3.0, 10.0, 3.0], pd.array([3, 10, 3], "Int64")):
        dataset = load(pd.DataFrame({"image": [Path(file) for file in FILES], "label": labels}))
        assert dataset.classes == ("10", "3")
        assert dataset.targets.tolist() == [1, 0, 1]


def test_paths_relative_to_root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    text = f"image,label\na.jpg,x\n{folder}/b.jpg,y\n"
    assert load_csv(elsewhere, text, root=folder).images == [str(folder / "a.jpg"), str(folder / "b.jpg")]
    with pytest.raises(DataError, match=r"1 of 2 images do not exist: a\.jpg \(row 1\).*--root"):
        load(elsewhere / "t.csv")
    frame = pd.DataFrame({"image": ["a.jpg", "b.jpg"], "label": ["x", "y"]})
    assert load(frame, root=folder).files == ["a.jpg", "b.jpg"]


def test_several_labels(folder: Path) -> None:
    dataset = load_csv(folder, "image,labels\na.jpg,sky| sea |sky\nb.jpg,\nsub/c.jpg,sea|\n")
    assert dataset.task == "multilabel"
    assert dataset.classes == ("sea", "sky")
    assert dataset.targets.tolist() == [[True, True], [False, False], [True, False]]
    assert dataset.class_counts() == {"sea": 2, "sky": 1}
    assert any("1 images have no label" in note for note in dataset.notes)
    table = pa.table({"image": FILES, "label": [["sky", "sea"], [], ["sea"]]})
    pq.write_table(table, folder / "t.parquet")
    assert load(folder / "t.parquet").targets.tolist() == dataset.targets.tolist()


def test_a_bar_in_the_column_label_is_part_of_the_label(folder: Path) -> None:
    assert load_csv(folder, "image,label\na.jpg,x|y\nb.jpg,z\n").classes == ("x|y", "z")


def test_a_label_in_another_encoding_form_is_the_same(folder: Path) -> None:
    assert load_csv(folder, "image,label\na.jpg,K\u00e4fer\nb.jpg,Ka\u0308fer\nsub/c.jpg,x\n").classes == (
        "K\u00e4fer",
        "x",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("file,class\na.jpg,x\n", r"t\.csv: no column 'image'; the columns are file, class"),
        ("image,class\na.jpg,x\n", "no column 'label'; the columns are image, class"),
        ("image,label,labels\na.jpg,x,y\n", "both"),
        ("image,label\na.jpg,x\nb.jpg,\nsub/c.jpg,  \n", "no label in row 2, row 3"),
        ("image,label\n,x\nb.jpg,y\n", "no image in row 1"),
        ("image,label\na.jpg,x\nno.jpg,y\nnope.jpg,y\n", r"2 of 3 images.*no\.jpg \(row 2\), nope\.jpg \(row 3\)"),
        ("image,label\na.jpg,x\nsub,y\n", r"sub \(row 2\)"),
        (
            "image,label,split\na.jpg,x,train\nb.jpg,y,holdout\n",
            "row 2 has the unknown split 'holdout'",
        ),
        ("image,label\na.jpg,x\nb.jpg\n", "row 2 has 1 cells, the header 2"),
        ("image,label\na.jpg,x,y\n", "row 1 has 3 cells"),
        ("image,label\na.jpg,x\nb.jpg,x\n", "one class, 'x'"),
        ("image,label\na.jpg,X\nb.jpg,x\n", "differ only in case"),
        ("image,label\n", "no image has a label"),
        ("image,labels\na.jpg,\n", "no image has a label"),
        ('image,label\n"a.jpg' + "x" * 200_000 + "\n", "not a CSV table"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_csv(folder, text)


def test_files_that_are_no_tables(folder: Path) -> None:
    (folder / "t.csv").write_bytes(b"image,label\na.jpg,\xe9t\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        load(folder / "t.csv")
    (folder / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a Parquet file"):
        load(folder / "t.parquet")
    pq.write_table(pa.table({"path": ["a.jpg"]}), folder / "t.parquet")
    with pytest.raises(DataError, match="no column 'image'"):
        load(folder / "t.parquet")


def test_missing_cells_of_a_dataframe_are_empty(folder: Path) -> None:
    for nothing in (None, float("nan"), pd.NA):
        frame = pd.DataFrame({"image": ["a.jpg", "b.jpg"], "label": pd.Series(["x", nothing], dtype=object)})
        with pytest.raises(DataError, match="no label in row 2"):
            load(frame, root=folder)
