"""Arrays that lie, break off or hold code are refused from their header, and nothing of them runs."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.errors import ImageError
from headstart.imaging import Preprocessing, decode, load_view
from headstart.imaging.facts import image_facts

BANDS = np.random.default_rng(0).integers(0, 256, (12, 14, 5), dtype=np.uint8)


def npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def with_header(text: str, values: bytes = b"\0" * 64, version: int = 1) -> bytes:
    header = text.encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + values


def claiming(shape: str, descr: str = "'|u1'") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_objects_are_refused_and_their_code_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    array = np.empty((1, 1), object)
    array[0, 0] = Trap(trap)
    with pytest.raises(ImageError, match=r"1\.npy: an array of dtype object is no image"):
        decode(npy(array), "1.npy")
    assert not trap.exists()


@pytest.mark.parametrize(
    "shape",
    ["(1000000, 1000000, 5)", "(99999999999999999999, 2)", "(2, 2, 9223372036854775807)", "(30000, 30000)"],
)
def test_bombs_are_refused_before_memory_is_taken(shape: str) -> None:
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"bomb\.npy: claims the shape .* shrink it"):
        decode(claiming(shape), "bomb.npy", channels=5)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (npy(BANDS)[:-1], "839 bytes of values where"),
        (npy(BANDS) + b"\0", "841 bytes of values where"),
        (npy(BANDS)[:60], "can't be decoded"),
        (b"\x93NUMPY", "can't be decoded"),
        (b"\x93NUMPY\x03\0" + npy(BANDS)[8:], "version"),
        (b"\x93NUMPY\x09\0" + npy(BANDS)[8:], "version"),
        (claiming("(8, -8)"), "shape"),
        (claiming("(0, 8, 8)"), "shape"),
        (claiming("(64,)"), "shape"),
        (claiming("()"), "shape"),
        (claiming("(2, 2, 4, 4)"), "shape"),
        (claiming("('8', 8)"), "can't be decoded"),
        (claiming("(8, 8)", "'<c8'"), "complex64"),
        (claiming("(8, 8)", "'<U4'"), "dtype"),
        (claiming("(8, 8)", "'|b1'"), "bool"),
        (claiming("(8, 8)", "[('a', '<u2')]"), "dtype"),
        (claiming("(8, 8)", "__import__('os').abort()"), "can't be decoded"),
        (with_header("(" * 1000 + ")" * 1000), "can't be decoded"),
        (with_header("-" * 60_000 + "1"), "can't be decoded"),
        (with_header("[" * 1_000_000, version=2), "can't be decoded"),
    ],
)
def test_broken_and_odd_arrays_are_named(data: bytes, reason: str) -> None:
    for channels in (3, 5):
        with pytest.raises(ImageError, match=rf"cats/1\.npy: .*{reason}"):
            decode(data, "cats/1.npy", channels=channels)
    with pytest.raises(ImageError, match=r"cats/1\.npy"):
        image_facts(data, "cats/1.npy")


def outcome(data: bytes) -> str:
    small = Preprocessing(8, 1.0, "bicubic", (0, 0, 0), (1, 1, 1), 5)
    try:
        assert load_view(data, small, "a").shape == (8, 8, 5)
    except ImageError as error:
        return str(error)
    return "decoded"


@pytest.mark.filterwarnings("ignore")
def test_altered_arrays_decode_or_raise_only_image_errors() -> None:
    rng, data, outcomes = np.random.default_rng(1), npy(BANDS), set[str]()
    for _ in range(500):
        spoiled = bytearray(data)
        for position in rng.integers(0, 128, int(rng.integers(1, 4))):
            spoiled[position] = int(rng.integers(0, 256))
        outcomes.add(outcome(bytes(spoiled)))
    assert outcomes >= {"decoded"}
    assert all(words == "decoded" or words.startswith("a: ") for words in outcomes)
