"""Two models on the same rows: which is better, beyond doubt or not, and what the one lost that the other had."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart.artifact.evaluating import scored_part
from headstart.artifact.model import open_model
from headstart.errors import RunError
from headstart.evaluation.comparison import Decided, PairedScore, mcnemar, paired_scores, sign_flip_test
from headstart.features.engine import EngineName, Say
from headstart.files import write_atomic
from headstart.records import to_json
from headstart.reporting.run_rows import RunRows, rows_of_model, rows_of_run

SCHEMA = 1
FILE, TABLE = "comparison.json", "comparison.csv"
# A difference counts as shown at this level, that of the intervals.
_LEVEL = 0.05


@dataclass(frozen=True)
class ChangedRow:
    """A row that only one of the models has right; several labels are joined by ``|``."""

    file: str
    truth: str
    a: str
    b: str


@dataclass(frozen=True)
class ComparisonRecord:
    """``comparison.json``.

    Attributes
    ----------
    a, b:
        The two runs.
    on:
        ``test rows of both``, or the name of the data.
    rows, groups:
        How many rows are compared, and in how many groups they were resampled, or ``None``.
    better:
        ``a`` or ``b`` where that is beyond doubt, else ``None``.
    verdict:
        The same in a sentence.
    scores:
        Of both, and B's minus A's.
    lost, won:
        Rows that A has right and B wrong, and the reverse.
    both_right, both_wrong:
        The number of the other rows.
    mcnemar_p:
        Of McNemar's exact test, which takes rows for independent.
    p:
        The same; where there are groups of a test that flips the signs of whole groups.
    notes:
        What should be known, a sentence each.
    """

    schema: int
    a: str
    b: str
    on: str
    task: str
    classes: tuple[str, ...]
    rows: int
    groups: int | None
    better: Literal["a", "b"] | None
    verdict: str
    scores: dict[str, PairedScore]
    both_right: int
    both_wrong: int
    lost: tuple[ChangedRow, ...]
    won: tuple[ChangedRow, ...]
    mcnemar_p: float
    p: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparison:
    """A record, and the table of all rows as CSV."""

    record: ComparisonRecord
    table: str

    def write(self, folder: Path) -> None:
        """Write ``comparison.json`` and ``comparison.csv``; raises :class:`StorageError` where that fails."""
        write_atomic(folder / FILE, to_json(self.record))
        write_atomic(folder / TABLE, self.table)


def compare_runs(
    a: Path,
    b: Path,
    data: Any = None,
    *,
    root: Path | None = None,
    engine: EngineName = "auto",
    say: Say,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the test rows that they share, or on data that both predict now.

    Parameters
    ----------
    data, root:
        As for :meth:`headstart.artifact.model.Model.evaluate`; without data the runs' own predictions are compared.
    seed:
        Of the bootstrap.

    Raises
    ------
    RunError
        If a run is not there, or lacks a file, the two are of different tasks or classes, or share no test row.
    DataError
        If the data don't suit the models.
    """
    if data is None:
        return compare_rows(rows_of_run(a), rows_of_run(b), seed=seed)
    models = [open_model(path, engine=engine, say=say) for path in (a, b)]
    names = [path.resolve().name for path in (a, b)]
    dataset = scored_part(data, root)
    for name, model in zip(names, models, strict=True):
        _check_alike(names[0], models[0].task.name, models[0].classes, name, model.task.name, model.classes)
    (rows_a, seen_a), (rows_b, seen_b) = (
        rows_of_model(model, name, dataset) for model, name in zip(models, names, strict=True)
    )
    notes = [
        f"{count} of the rows are among those that {letter} was fitted on: its score flatters it"
        for letter, count in (("A", seen_a), ("B", seen_b))
        if count
    ]
    return compare_rows(rows_a, rows_b, on=dataset.name, notes=notes, seed=seed)


def compare_rows(
    a: RunRows, b: RunRows, *, on: str = "test rows of both", notes: Sequence[str] = (), seed: int = 0
) -> Comparison:
    """Compare two models' answers on the images that they share: by their hashes, or by file name where one has none.

    Raises :class:`RunError` if the two are of different tasks or classes, or share no row.
    """
    _check_alike(a.name, a.task, a.classes, b.name, b.task, b.classes)
    pairs, said = _pair(a, b)
    left, right = pairs[:, 0], pairs[:, 1]
    truth = a.truth[left]
    groups = _groups([a.groups[row] for row in left])
    said_a, said_b = _taken(a.said, left), _taken(b.said, right)
    right_a, right_b = said_a.right(truth), said_b.right(truth)
    lost, won = np.flatnonzero(right_a & ~right_b), np.flatnonzero(~right_a & right_b)
    scores = paired_scores(a.task, truth, said_a, said_b, groups, seed)
    exact = mcnemar(len(lost), len(won))
    p = exact if groups is None else sign_flip_test(right_b.astype(float) - right_a, groups, seed)
    better = _better(scores["accuracy"], p)
    changed = [_changed(a, b, pairs[rows]) for rows in (lost, won)]
    record = ComparisonRecord(
        schema=SCHEMA,
        a=a.name,
        b=b.name,
        on=on,
        task=a.task,
        classes=a.classes,
        rows=len(pairs),
        groups=None if groups is None else len(set(groups)),
        better=better,
        verdict=_verdict(scores["accuracy"], better, len(pairs), len(lost), len(won)),
        scores=scores,
        both_right=int((right_a & right_b).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        lost=changed[0],
        won=changed[1],
        mcnemar_p=exact,
        p=p,
        notes=(*notes, *said),
    )
    return Comparison(record, _table(a, b, pairs, right_a, right_b))


def _check_alike(
    a: str, task_a: str, classes_a: tuple[str, ...], b: str, task_b: str, classes_b: tuple[str, ...]
) -> None:
    if task_a != task_b:
        raise RunError(f"{a} is for {task_a}, {b} for {task_b}: only models of one task can be compared")
    if classes_a != classes_b:
        apart = sorted(set(classes_a) ^ set(classes_b))
        raise RunError(
            f"{a} and {b} have different classes, {', '.join(apart[:5]) or 'in another order'} for example: "
            "only models of the same classes can be compared"
        )


def _pair(a: RunRows, b: RunRows) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Pairs of row numbers (n, 2) of the same image, and what is to be said of the rows that are left out."""
    hashed = a.hashes is not None and b.hashes is not None
    keys_a, keys_b = (one.hashes if hashed and one.hashes else one.files for one in (a, b))
    places = {key: row for row, key in enumerate(keys_b)}
    shared = np.array([(row, places[key]) for row, key in enumerate(keys_a) if key in places], np.intp).reshape(-1, 2)
    if not len(shared):
        raise RunError(f"{a.name} and {b.name} share no row that tested both: name data that neither has seen, --data")
    same = np.equal(a.truth[shared[:, 0]], b.truth[shared[:, 1]])
    same = same if same.ndim == 1 else same.all(axis=1)
    if not same.any():
        raise RunError(f"{a.name} and {b.name} label all rows that they share differently: fit both on the same data")
    said = []
    if not same.all():
        said.append(f"{int((~same).sum())} rows are left out, as the runs have different labels for them")
    alone = [(one.name, len(one) - len(shared)) for one in (a, b) if len(one) > len(shared)]
    said += [f"{count} rows tested {name} alone and are left out" for name, count in alone]
    return shared[same], said


def _groups(names: Sequence[str | None]) -> list[str | None] | None:
    """Names of groups, or ``None`` where each row stands for itself."""
    known = [name for name in names if name is not None]
    return list(names) if len(set(known)) < len(known) else None


def _taken(said: Decided, rows: npt.NDArray[np.intp]) -> Decided:
    return Decided(said.decisions[rows], said.probabilities[rows])


def _better(accuracy: PairedScore, p: float) -> Literal["a", "b"] | None:
    """Who is better, where both the interval and the test exclude that it is chance."""
    if accuracy.ci95 is None or p >= _LEVEL or accuracy.ci95[0] <= 0 <= accuracy.ci95[1]:
        return None
    return "b" if accuracy.ci95[0] > 0 else "a"


def _verdict(accuracy: PairedScore, better: str | None, rows: int, lost: int, won: int) -> str:
    counted = f"{lost} rows that A had right are lost, {won} won"
    if not lost and not won:
        return f"A and B are right on the same of {rows} rows: no difference can be shown"
    points = 100 * (accuracy.difference or 0.0)
    ends = () if accuracy.ci95 is None else tuple(100 * end for end in accuracy.ci95)
    if better is None:
        span = "" if not ends else f" ({ends[0]:+.1f} to {ends[1]:+.1f})"
        return f"No difference can be shown: B has {points:+.1f} points{span} on {rows} rows; {counted}"
    low, high = sorted(abs(end) for end in ends)
    return f"{better.upper()} is better by {abs(points):.1f} points ({low:.1f} to {high:.1f}) on {rows} rows; {counted}"


def _changed(a: RunRows, b: RunRows, pairs: npt.NDArray[np.intp]) -> tuple[ChangedRow, ...]:
    return tuple(ChangedRow(a.files[i], *a.names(i), b.names(j)[1]) for i, j in pairs.tolist())


def _table(
    a: RunRows, b: RunRows, pairs: npt.NDArray[np.intp], right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]
) -> str:
    """All rows as CSV, those that are lost first, then those that are won."""
    outcomes = {(True, False): "lost", (False, True): "won", (False, False): "both wrong", (True, True): "both right"}
    kinds = [outcomes[bool(before), bool(after)] for before, after in zip(right_a, right_b, strict=True)]
    order = sorted(range(len(pairs)), key=lambda row: list(outcomes.values()).index(kinds[row]))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["outcome", "file", "truth", "a", "b"])
    for row in order:
        i, j = pairs[row].tolist()
        writer.writerow([kinds[row], a.files[i], *a.names(i), b.names(j)[1]])
    return buffer.getvalue()
