"""What mistakes rest on is drawn by the model of the run; where that can't be, the page says why and is written."""

from __future__ import annotations

import base64
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.addresses import Addresses
from headstart.planning.options import Options
from headstart.reporting.evidence import read_evidence
from headstart.reporting.illustrations import Wanted, illustrator_of
from headstart.reporting.mistakes import surest_wrong
from headstart.reporting.report import write_report
from headstart.workflow import fit


def test_a_folder_without_a_model_gives_a_note_and_as_many_empty_illustrations(tmp_path: Path) -> None:
    found = illustrator_of(tmp_path, Addresses().read)([Wanted("a.jpg", "ants"), Wanted("b.jpg", "bees")])
    assert [(one.map, one.near) for one in found.each] == [(None, ())] * 2
    assert "There are no maps and no nearest training images: " in found.note
    assert str(tmp_path / "model") in found.note


@pytest.mark.real
def test_images_that_are_only_in_memory_are_illustrated_too(shared: Path, tmp_path: Path) -> None:
    places = [
        place for name in ("ants", "bees") for place in sorted((shared / "data/hymenoptera/val" / name).iterdir())
    ]
    images = [np.asarray(Image.open(one).convert("RGB").resize((64, 64))) for one in places]
    labels = [("bees", "ants")[number % 2] for number in range(len(images))]
    run = fit((images, labels), Options(strategy="prototype", test=0.2), out=tmp_path / "run")
    assert 'alt="Map of what speaks for ' in run.path("report.html").read_text()


@pytest.mark.real
def test_a_fit_of_real_images_ends_with_maps_and_neighbours(shared: Path, tmp_path: Path) -> None:
    run = fit(shared / "data" / "hymenoptera", Options(strategy="linear_probe"), out=tmp_path / "run")
    page = run.path("report.html").read_text()
    wrong = surest_wrong(evidence.predictions, 12) if (evidence := read_evidence(run.folder)).predictions else []
    assert page.count('alt="Map of what speaks for ') == len(wrong) > 5
    assert page.count('alt="Training image ') == 3 * len(wrong)
    assert "This page is not complete" not in page
    write_report(run.folder, Addresses().read, illustrator_of(run.folder, Addresses().read))
    assert run.path("report.html").read_text() == page, "written again from its records it is the same"

    rows = evidence.predictions
    assert rows is not None
    wanted = [Wanted(rows.images[wrong[0]], rows.predicted[wrong[0]][0]), Wanted("gone.jpg", "ants")]
    first, gone = illustrator_of(run.folder, Addresses().read)(wanted).each
    assert first.target == rows.predicted[wrong[0]][0]
    assert first.map is not None
    drawn = Image.open(BytesIO(base64.b64decode(first.map.partition(",")[2])))
    assert drawn.format == "JPEG"
    assert [round(a.similarity - b.similarity, 9) >= 0 for a, b in zip(first.near, first.near[1:], strict=False)] == [
        True
    ] * 2
    assert all(near.image not in rows.images for near in first.near), "neighbours are training images"
    assert (gone.map, gone.near) == (None, ())

    run.path("training.parquet").unlink()
    assert "no nearest training images" in illustrator_of(run.folder, Addresses().read)(wanted[:1]).note
    shutil.rmtree(run.path("model"))
    write_report(run.folder, Addresses().read, illustrator_of(run.folder, Addresses().read))
    assert "There are no maps" in run.path("report.html").read_text()
