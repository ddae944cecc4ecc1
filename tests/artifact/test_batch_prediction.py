"""Predictions in a file: the same as one by one, each row once however often the process was killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

import headstart
from headstart.artifact import batch_prediction
from headstart.artifact.batch_prediction import predict_files
from headstart.artifact.model import Model
from headstart.cli.models import predict
from headstart.cli.options import Engine
from headstart.errors import DataError, HeadstartError, OptionError, RunError, StorageError
from headstart.runs.locks import acquire


@pytest.fixture(scope="module")
def model(digits_run: Path, warm_cache: Path) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(warm_cache))
        return headstart.open(digits_run)


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    """36 digits in folders, one cut short and one of text."""
    folder = tmp_path / "images"
    for number, path in enumerate(sorted(digits.rglob("*.png"))[::9][:34]):
        (folder / str(number % 3)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / str(number % 3) / f"{number}.png")
    (folder / "cut.png").write_bytes((folder / "1" / "1.png").read_bytes()[:60])
    (folder / "text.jpg").write_text("not an image")
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_prediction, "PART_ROWS", 10)


class EndedError(Exception):
    """A process that ends in the midst."""


def test_rows_equal_those_of_predict(model: Model, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "p.parquet"
    written = predict_files(model, [folder], out)
    assert (written.rows, written.errors) == (36, 2)
    table = pq.read_table(out)
    assert table.schema.metadata[b"classes"] == b"0|1|8"
    for row, said in zip(table.to_pylist(), model.stream(folder), strict=True):
        assert (row["file"], row["label"], row["error"]) == (said.file, said.label, said.error)
        if said.error is None:
            np.testing.assert_allclose(row["probabilities"], list(said.probabilities.values()), atol=1e-5)
            assert row["confidence"] == pytest.approx(said.confidence, abs=1e-5)
            assert row["novelty"] == pytest.approx(said.novelty, abs=1e-3)
            assert (row["abstained"], row["is_novel"]) == (said.abstained, said.is_novel)
        else:
            assert row["confidence"] is row["probabilities"] is row["novelty"] is None
    assert [path.name for path in out.parent.iterdir()] == ["p.parquet"]


def test_an_interrupted_call_goes_on_behind_its_last_part(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "p.parquet"
    predict_files(model, [folder], whole)
    table, asked = batch_prediction._table, []

    def failing(model: Model, names: list[str], max_error: float | None) -> Any:
        if len(asked) == 2:
            raise EndedError
        asked.append(names)
        return table(model, names, max_error)

    monkeypatch.setattr(batch_prediction, "_table", failing)
    with pytest.raises(EndedError):
        predict_files(model, [folder], out)
    with pytest.raises(OptionError, match="unfinished"):
        predict_files(model, [folder / "0"], out)
    monkeypatch.setattr(batch_prediction, "_table", lambda *given: asked.append(given[1]) or table(*given))
    (folder / "0" / "late.png").write_bytes((folder / "1" / "1.png").read_bytes())  # after the listing
    assert predict_files(model, [folder], out).rows == 36
    assert len(asked) == 4
    assert len({name for names in asked for name in names}) == 36
    assert pq.read_table(out).to_pylist() == pq.read_table(whole).to_pylist()
    assert not out.with_name(".p.parquet.parts").exists()


def test_a_finished_file_is_neither_written_again_nor_overwritten(model: Model, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    first = predict_files(model, [folder], out)
    time_written = out.stat().st_mtime_ns
    assert predict_files(model, [folder], out) == first
    assert out.stat().st_mtime_ns == time_written
    with pytest.raises(OptionError, match="delete it"):
        predict_files(model, [folder / "0"], out)
    out.write_text("notes")
    with pytest.raises(OptionError, match="delete it"):
        predict_files(model, [folder], out)
    assert out.read_text() == "notes"


def test_wrong_places_are_refused_and_leave_nothing(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "p.parquet"
    with pytest.raises(DataError, match="no images"):
        predict_files(model, [tmp_path / "empty"], out)
    with pytest.raises(OptionError, match="error rate"):
        predict_files(model, [folder], out, max_error=7.0)
    with pytest.raises(StorageError, match="folder"):
        predict_files(model, [folder], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "images"]
    work = tmp_path / ".p.parquet.parts"
    work.mkdir()
    lock = acquire(work / ".lock", "exclusive", timeout=0)
    assert lock is not None
    with lock, pytest.raises(RunError, match="another process"):
        predict_files(model, [folder], out)
    with pytest.raises(HeadstartError):
        predict_files(model, [folder], tmp_path / "images" / "text.jpg" / "p.parquet")


def test_files_and_folders_are_taken_in_the_order_given(model: Model, folder: Path, tmp_path: Path) -> None:
    single, missing = folder / "1" / "1.png", tmp_path / "gone.png"
    predict_files(model, [single, missing, folder / "0"], tmp_path / "p.parquet")
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["file"] for row in rows[:2]] == [str(single), str(missing)]
    assert "can't be read" in rows[1]["error"]
    assert len(rows) == 2 + len(list((folder / "0").iterdir()))


def test_the_command_says_what_it_wrote(
    digits_run: Path, folder: Path, tmp_path: Path, warm: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as end:
        predict(digits_run, [folder], out=tmp_path / "p.parquet", engine=Engine.auto, as_json=True)
    assert end.value.exit_code == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"file": str(tmp_path / "p.parquet"), "rows": 36, "errors": 2}
    assert "2 of the images could not be decoded" in said.err


@pytest.mark.soak
def test_ten_kills_lose_and_repeat_nothing_in_flat_memory(digits_run: Path, tmp_path: Path) -> None:
    """``HEADSTART_SOAK_IMAGES`` (100,000) small images, ten SIGKILLs at random moments, the peak memory throughout."""
    count = int(os.environ.get("HEADSTART_SOAK_IMAGES", "100000"))
    rng = np.random.default_rng(0)
    for number in range(count):
        place = tmp_path / "images" / f"{number % 97}"
        place.mkdir(parents=True, exist_ok=True)
        if number % 1000 == 7:
            (place / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        else:
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(place / f"{number}.png")
    command = [sys.executable, "-m", "headstart.cli", "predict", str(digits_run), "images", "--out", "p.parquet"]
    chance, kills = random.Random(0), 0
    while True:
        process = subprocess.Popen(
            [*command, "--json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + chance.uniform(1, 8 + count / 2000) if kills < 10 else float("inf")
        held = []
        while process.poll() is None and time.monotonic() < end:
            held.append(_resident(process.pid))
            time.sleep(0.05)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    assert process.returncode == 1  # some are broken
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["rows"] == count
    files = pq.read_table(tmp_path / "p.parquet", columns=["file", "error"])
    names = files["file"].to_pylist()
    assert len(names) == len(set(names)) == count
    assert len(names) - files["error"].null_count == len(range(7, count, 1000))
    half = len(held) // 2
    assert max(held[half:]) < 1.25 * max(held[:half])
    sys.stderr.write(f"{count} images, {kills} kills, peak memory of the last process {max(held) / 2**20:.0f} MB\n")


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
