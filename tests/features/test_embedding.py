"""A folder becomes a table of features; what can't be read is left out, and nothing that exists is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headstart.errors import DataError, StorageError
from headstart.features.cache import clear_cache, describe_cache
from headstart.features.embedding import embed_folder

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("warm")]
LITE0 = "bundled/tf_efficientnet_lite0"


def _embed(folder: Path, out: Path) -> tuple[int, list[str]]:
    return embed_folder(folder, out, backbone=LITE0, say=pytest.fail)


def test_every_image_has_a_row_with_its_name(digits: Path, tmp_path: Path) -> None:
    assert _embed(digits / "8", tmp_path / "deep" / "out.parquet") == (100, [])
    table = pq.read_table(tmp_path / "deep" / "out.parquet")
    rows = np.stack(table.column("features").to_numpy())
    assert rows.shape == (100, 1280)
    assert rows.dtype == np.float32
    assert table.column("file").to_pylist() == sorted(path.name for path in (digits / "8").iterdir())
    assert len(np.unique(rows.round(3), axis=0)) == 100


def test_a_single_image_goes_by_its_name(digits: Path, tmp_path: Path) -> None:
    image = sorted((digits / "0").iterdir())[0]
    assert _embed(image, tmp_path / "one.parquet") == (1, [])
    assert pq.read_table(tmp_path / "one.parquet").column("file").to_pylist() == [image.name]


def test_arrays_of_many_channels_have_rows_and_are_refused_as_colour(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(3):
        bands = np.random.default_rng(number).integers(0, 65536, (70, 60, 5), dtype=np.uint16)
        np.save(folder / f"{number}.npy", bands)
    out = tmp_path / "out.parquet"
    assert embed_folder(folder, out, backbone=LITE0, size=64, channels=5, say=lambda line: None) == (3, [])
    rows = np.stack(pq.read_table(out).column("features").to_numpy())
    assert rows.shape == (3, 1280)
    assert len(np.unique(rows, axis=0)) == 3
    with pytest.raises(DataError, match=r"0\.npy: has 5 channels, but 3 are asked for; --channels 5 takes it"):
        embed_folder(folder, out, backbone=LITE0, say=pytest.fail)


def test_broken_files_and_links_are_left_out(digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(sorted((digits / "0").iterdir())[:2]):
        (folder / f"{number}.png").symlink_to(image)
    (folder / "gone.png").symlink_to("/nowhere.png")
    (folder / "text.jpg").write_text("not an image")
    written, failures = _embed(folder, tmp_path / "out.parquet")
    assert written == 2
    assert sorted(reason.split(":")[0].split("/")[-1] for reason in failures) == ["gone.png", "text.jpg"]
    assert pq.read_table(tmp_path / "out.parquet").column("file").to_pylist() == ["0.png", "1.png"]


def test_nothing_to_write_is_an_error_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"none of its images can be decoded, for example text\.jpg"):
        _embed(tmp_path, tmp_path / "out.parquet")
    (tmp_path / "text.jpg").unlink()
    with pytest.raises(DataError, match="no images"):
        _embed(tmp_path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_folder_is_never_replaced_by_the_table(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "me.txt").write_text("dear")
    with pytest.raises(StorageError, match="keep is a folder"):
        _embed(digits / "0", tmp_path / "keep")
    assert (tmp_path / "keep" / "me.txt").read_text() == "dear"


def test_the_cache_is_described_and_cleared(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    _embed(digits / "1", tmp_path / "out.parquet")
    found = describe_cache(pytest.fail)
    assert found.root == tmp_path / "cache"
    assert found.features.rows == 100
    assert found.other_bytes > 1_000_000
    assert clear_cache(pytest.fail) >= found.features.bytes + found.other_bytes
    empty = describe_cache(pytest.fail)
    assert (empty.features.rows, empty.other_bytes) == (0, 0)
