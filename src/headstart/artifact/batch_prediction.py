"""Predictions of any number of files as one Parquet file: in flat memory, and where a killed process had come to."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headstart import records
from headstart.artifact.model import Model
from headstart.data.long_listing import read_listing, write_listing
from headstart.errors import OptionError, RunError, StorageError
from headstart.files import clear_storage_errors, replacing, sha256, write_atomic
from headstart.runs import Progress, SilentProgress
from headstart.runs.locks import acquire

PART_ROWS = 1024
"""Files whose predictions are written together: so many are predicted again after a kill, at most."""

_GROUP_BYTES = 32 * 2**20  # of a row group of the whole file
_SCHEMA = 1
_LISTING = "files.jsonl"


@dataclass(frozen=True)
class BatchRequest:
    """What was asked for: predictions are continued only where this is the same.

    Attributes
    ----------
    sources, paths:
        The folders and files as they were named, which is how the rows name them, and their absolute paths.
    model:
        SHA-256 of the model's record, which has that of its tensors.
    max_error:
        The wished error rate, or ``None``.
    """

    schema: int
    sources: tuple[str, ...]
    paths: tuple[str, ...]
    model: str
    max_error: float | None
    part_rows: int


@dataclass(frozen=True)
class BatchResult:
    """What was written: the file, its rows, and how many of them have an ``error``."""

    file: str
    rows: int
    errors: int


def predict_files(
    model: Model,
    sources: Sequence[Path],
    out: Path,
    *,
    max_error: float | None = None,
    progress: Progress | None = None,
) -> BatchResult:
    """Write what ``model.stream`` says of each file to ``out``, one row a file, in its order.

    The listing and parts of 1024 rows are kept in ``.NAME.parts`` beside ``out`` until it is whole. Ended at any
    moment, the same call goes on behind the last part; files that have come since the listing was made are not seen.

    Columns: ``file``, ``label`` (a class or a list of labels; null where the model abstains), ``confidence``,
    ``abstained``, ``novelty``, ``is_novel``, ``probabilities`` (in the order of the classes, which the schema's
    metadata name), and ``error``: why a file could not be decoded; then the others are null.

    Parameters
    ----------
    sources:
        Folders, whose images at any depth are taken, and files.
    max_error:
        As for :meth:`headstart.artifact.model.Model.predict`.

    Raises
    ------
    OptionError
        If ``out``, or what is kept for it, is of another request; or as ``model.stream`` raises it.
    DataError
        If a folder has no images.
    RunError
        If another process is writing ``out``.
    StorageError
        If it can't be written.
    """
    if out.is_dir():
        raise StorageError(f"{out} is a folder: name the Parquet file, for example {out / 'predictions.parquet'}")
    list(model.stream([], max_error=max_error))  # so that a wish that can't be met is refused at once
    identity = sha256(records.to_json(model.record).encode())
    named, paths = tuple(map(str, sources)), tuple(str(source.absolute()) for source in sources)
    request = BatchRequest(_SCHEMA, named, paths, identity, max_error, PART_ROWS)
    work = out.with_name(f".{out.name}.parts")
    with _alone(work, out):
        try:
            done = _result_of(out, request)
            if done is None:
                _check_same(work, request)
                _write_parts(model, sources, work, max_error, progress or SilentProgress())
                done = _merge(model, work, out, request)
        except BaseException:
            if not _part(work, 0).exists():
                shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work)
    return done


@contextlib.contextmanager
def _alone(work: Path, out: Path) -> Iterator[None]:
    with clear_storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    lock = acquire(work / ".lock", "exclusive", timeout=0)
    if lock is None:
        raise RunError(f"{out} is being written by another process: wait for it, or choose another --out")
    with lock:
        yield


def _result_of(out: Path, request: BatchRequest) -> BatchResult | None:
    """What an earlier call wrote; ``None`` where there is no file yet."""
    if not out.exists():
        return None
    try:
        found = pq.read_metadata(out)
        kept = found.metadata or {}
        if kept.get(b"request") == _key(request):
            return BatchResult(str(out), found.num_rows, int(kept[b"errors"]))
    except (OSError, ValueError, pa.ArrowException):
        pass
    raise OptionError(f"{out} is there already and is not what this command writes: delete it or choose another --out")


def _check_same(work: Path, request: BatchRequest) -> None:
    """Keep the request; raise where predictions that lie there were begun for another."""
    path, text = work / "request.json", records.to_json(request)
    if path.exists() and path.read_text() == text:
        return
    if _part(work, 0).exists():
        raise OptionError(
            f"{work} has unfinished predictions of another model, other files or another --max-error: "
            "give the same again, choose another --out, or delete that folder"
        )
    (work / _LISTING).unlink(missing_ok=True)
    write_atomic(path, text)


def _write_parts(
    model: Model, sources: Sequence[Path], work: Path, max_error: float | None, progress: Progress
) -> None:
    listing = work / _LISTING
    if not listing.exists():
        write_listing(sources, listing)
    with progress.task("predict", sum(1 for _ in read_listing(listing))) as step:
        paths = read_listing(listing)
        for number in itertools.count():
            names = list(itertools.islice(paths, PART_ROWS))
            if not names:
                return
            part = _part(work, number)
            if not part.exists():
                table = _table(model, names, max_error)
                with clear_storage_errors(part), replacing(part) as temporary:
                    pq.write_table(table, temporary, compression="zstd")
            step(len(names))


def _table(model: Model, names: list[str], max_error: float | None) -> pa.Table:
    rows: list[dict[str, Any]] = []
    chances: list[Any] = []
    for said in model.stream(names, max_error=max_error):
        good = said.error is None
        chances.append(np.array(list(said.probabilities.values())) if good else None)  # a tenth of a dictionary's size
        rows.append(
            {
                "file": said.file,
                "label": said.label,
                "confidence": said.confidence if good and math.isfinite(said.confidence) else None,
                "abstained": said.abstained if good else None,
                "novelty": said.novelty if good and math.isfinite(said.novelty) else None,
                "is_novel": said.is_novel if good else None,
                "error": said.error,
            }
        )
    schema = _schema(model)
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"probabilities": chances}
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _schema(model: Model) -> pa.Schema:
    label = pa.string() if model.task.kind == "softmax" else pa.list_(pa.string())
    fields = [
        ("file", pa.string()),
        ("label", label),
        ("confidence", pa.float64()),
        ("abstained", pa.bool_()),
        ("novelty", pa.float64()),
        ("is_novel", pa.bool_()),
        ("probabilities", pa.list_(pa.float64())),
        ("error", pa.string()),
    ]
    return pa.schema(fields, metadata={"classes": "|".join(model.classes)})


def _merge(model: Model, work: Path, out: Path, request: BatchRequest) -> BatchResult:
    """All parts as one file, in row groups of a size that readers like."""
    whole = work / "whole.parquet"
    rows = errors = 0
    with (
        clear_storage_errors(out),
        replacing(whole) as temporary,
        pq.ParquetWriter(temporary, _schema(model), compression="zstd") as writer,
    ):
        for group in _groups(work):
            rows += group.num_rows
            errors += group.num_rows - group["error"].null_count
            writer.write_table(group)
        writer.add_key_value_metadata({"request": _key(request).decode(), "errors": str(errors)})
    with clear_storage_errors(out):
        os.replace(whole, out)
    return BatchResult(str(out), rows, errors)


def _groups(work: Path) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for number in itertools.count():
        part = _part(work, number)
        if part.exists():
            waiting.append(pq.read_table(part))
        if waiting and (not part.exists() or sum(table.nbytes for table in waiting) > _GROUP_BYTES):
            yield pa.concat_tables(waiting)
            waiting = []
        if not part.exists():
            return


def _part(work: Path, number: int) -> Path:
    return work / f"part-{number:08d}.parquet"


def _key(request: BatchRequest) -> bytes:
    return sha256(records.to_json(request).encode()).encode()
