"""The look at every file: facts in order, and what is broken by its name."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from headstart.auditing.audit import Audit, audit_of
from headstart.auditing.inspection import look
from headstart.data import Dataset, load, resolve
from headstart.errors import DataError
from headstart.records import from_json, to_json
from headstart.runs import SilentProgress


def _save(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(crc32(path.name.encode())).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    place = tmp_path / "things"
    for number in range(1, 5):
        _save(place / "cat" / f"{number}.png", number, 10)
        _save(place / "dog" / f"{number}.jpg", 10 + number, 10)
    (place / "cat" / "0.jpg").write_text("not an image")
    (place / "dog" / "empty.png").touch()
    return load(place)


def test_facts_come_in_the_order_of_the_rows_and_failures_by_row(dataset: Dataset) -> None:
    looked = look(dataset, progress=SilentProgress())
    assert [fact.width for fact in looked.facts] == [1, 2, 3, 4, 11, 12, 13, 14]
    ((row, reason),) = looked.failures.items()
    assert dataset.files[row] == "cat/0.jpg"
    assert "not an image" in reason
    sound = looked.without_failures(dataset)
    assert len(sound) == 8
    listed = {entry.file: (entry.kind, entry.reason[:12]) for entry in sound.left_out}
    assert listed == {"cat/0.jpg": ("undecodable", "not an image"), "dog/empty.png": ("undecodable", "the file is ")}


def test_a_sample_is_the_same_for_one_seed_and_another_for_another(dataset: Dataset) -> None:
    def widths(seed: int) -> list[int]:
        return [fact.width for fact in look(dataset, progress=SilentProgress(), at_most=4, seed=seed).facts]

    assert len(widths(0)) in (3, 4)
    assert widths(0) == widths(0) == sorted(widths(0))
    assert any(widths(0) != widths(seed) for seed in range(1, 5))
    assert len(look(dataset, progress=SilentProgress(), at_most=100).facts) == 8


def test_a_data_set_that_loses_a_class_is_refused(dataset: Dataset) -> None:
    for number in range(1, 5):
        Path(dataset.images[dataset.files.index(f"cat/{number}.png")]).write_text(f"no image {number}")
    with pytest.raises(DataError, match="only the class 'dog' is left"):
        look(dataset, progress=SilentProgress()).without_failures(dataset)


def test_an_audit_is_a_record(dataset: Dataset) -> None:
    resolved, protocol = resolve(dataset, test=None, seed=0)
    audit = audit_of(resolved, protocol)
    assert from_json(Audit, to_json(audit)) == audit
    assert audit.images == 9
    assert [entry.file for entry in audit.left_out] == ["dog/empty.png"]
    assert audit.notes[-1] == protocol.reason
