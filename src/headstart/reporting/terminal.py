"""What the commands show a person: tables in a terminal, through Rich."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headstart.artifact.model import Prediction
from headstart.features.cache import CacheDescription
from headstart.reporting.advice import Advice, advise
from headstart.reporting.audit_list import title_of
from headstart.reporting.checking import RowToCheck, rows_to_check
from headstart.reporting.evidence import read_evidence
from headstart.reporting.verdict import verdict
from headstart.reporting.wording import metric_text

_OUT = Console(highlight=False, emoji=False)
_SCORES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "auroc": "AUROC",
    "map": "mean average precision",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "calibration error",
    "aurc": "risk over coverage",
}


def show_run(folder: Path) -> None:
    """The end of a run: verdict, scores, baselines, seconds, and what to do next."""
    metrics = json.loads((folder / "metrics.json").read_text())
    audit = json.loads((folder / "audit.json").read_text())
    for note in audit["notes"]:
        _OUT.print(f"• {escape(note)}", soft_wrap=True)
    if audit["left_out"]:
        _OUT.print(
            f"• {_files(len(audit['left_out']))} left out; {escape(str(folder / 'audit.json'))} lists them",
            soft_wrap=True,
        )
    counts = Counter(finding["kind"] for finding in audit.get("findings", ()))
    if counts:
        found = ", ".join(f"{title_of(kind)} {count:,}" for kind, count in counts.items())
        _OUT.print(f"• in the data: {found}; {escape(str(folder / 'audit.csv'))} lists them", soft_wrap=True)
    _OUT.print()
    show_scores(metrics["splits"], metrics["baselines"])
    costs = json.loads((folder / "evaluation.json").read_text())["splits"]["test"]["costs"]
    if costs is not None:
        show_costs(costs)
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in metrics["seconds"].items() if name != "total")
    _OUT.print(f"{metrics['seconds']['total']:.1f} seconds: {seconds}")
    evidence = read_evidence(folder)
    show_advice(advise(evidence), verdict(metrics))
    show_rows(rows_to_check(evidence))
    quoted = f"'{folder}'" if " " in str(folder) else str(folder)
    _OUT.print(f"\nrun folder  {escape(str(folder))}", soft_wrap=True)
    _OUT.print(f"report      {escape(str(folder / 'report.html'))}", soft_wrap=True)
    _OUT.print(f"next        headstart predict {escape(quoted)} IMAGE_OR_FOLDER", soft_wrap=True)
    _OUT.print(f"            headstart evaluate {escape(quoted)} OTHER_DATA", soft_wrap=True)


def show_advice(advice: Advice, verdict: str) -> None:
    """What the model is worth, whether to use it and why, and the one next action."""
    _OUT.print(f"\n{escape(verdict)}", soft_wrap=True)
    _OUT.print(f"\n[bold]{advice.answer}.[/bold] {escape(advice.why)}", soft_wrap=True)
    for caution in advice.cautions:
        _OUT.print(f"• {escape(caution)}", soft_wrap=True)
    _OUT.print(f"[bold]Next:[/bold] {escape(advice.action)}", soft_wrap=True)


def show_rows(rows: Sequence[RowToCheck]) -> None:
    """The images most worth a look, and why."""
    if rows:
        _OUT.print("\nMost worth checking:")
    for number, row in enumerate(rows, 1):
        _OUT.print(f"{number}. {escape(row.file)}: {escape(row.why)}", soft_wrap=True)


def show_repeats(path: Path) -> None:
    """How the scores of ``repeats.json`` vary between fits: one line a score, and what the intervals cover."""
    record = json.loads(path.read_text())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score")
    for title in (f"mean of {len(record['repeats'])} fits", "95 % interval", "lowest", "highest"):
        table.add_column(title, justify="right")
    for key, title in _SCORES.items():
        if found := record["scores"].get(key):
            interval = "–" if found["ci95"] is None else "–".join(_number(end) for end in found["ci95"])
            lowest, highest = _number(found["lowest"]), _number(found["highest"])
            table.add_row(title, _number(found["mean"]), interval, lowest, highest)
    _OUT.print()
    _OUT.print(table)
    for line in (record["covers"], *record["notes"]):
        _OUT.print(f"• {escape(line)}", soft_wrap=True)
    _OUT.print(f"repeats     {escape(str(path))}", soft_wrap=True)


def show_scores(
    splits: Mapping[str, Mapping[str, Any]], baselines: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """A table with one row a score and one column a split, each with its 95 % interval."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score")
    for name, split in reversed(list(splits.items())):
        table.add_column(f"{name} ({split['n']} images{_estimate(split)})", justify="right")
    points = {key: metric_text(key) for split in splits.values() for key in split if _is_point(key)}
    for key, title in {**_SCORES, **points}.items():
        if any(split.get(key) is not None for split in splits.values()):
            table.add_row(title, *(_cell(split, key) for split in reversed(list(splits.values()))))
    _OUT.print(table)
    if baselines:
        parts = [f"{name} {_number(next(iter(values.values())))}" for name, values in baselines.items()]
        _OUT.print(f"baselines (accuracy on the same images): {', '.join(parts)}", soft_wrap=True)


def show_costs(found: Mapping[str, Any]) -> None:
    """What decisions cost an image, as ``evaluation.json`` says, beside two that need no table of costs."""
    rows = (
        ("least expected cost", "decided", ""),
        ("most probable class", "most_probable", "saved"),
        (f"always {found['constant_class']}", "constant", "saved_constant"),
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cost an image")
    table.add_column("", justify="right")
    table.add_column("more than the least", justify="right")
    for title, cost, saved in rows:
        table.add_row(escape(title), _cost(found[cost]), _cost(found[saved]) if saved else "")
    _OUT.print()
    _OUT.print(table)


def show_prediction(prediction: Prediction) -> None:
    """One line an image: file, label, confidence, and what is unusual about it, with tabs between them."""
    if prediction.error is not None:
        _OUT.out(f"{prediction.file}\tnot decoded: {prediction.error}", highlight=False)
        return
    label = prediction.label
    text = (
        "(not sure enough)" if prediction.abstained else ", ".join([label] if isinstance(label, str) else label or [])
    )
    novel = "\tunlike the training images" if prediction.is_novel else ""
    _OUT.out(f"{prediction.file}\t{text or '(no label)'}\t{prediction.confidence:.3f}{novel}", highlight=False)


def show_cache(found: CacheDescription) -> None:
    """Where the cache is and how large."""
    stats = found.features
    _OUT.print(f"folder    {escape(str(found.root))}", soft_wrap=True)
    _OUT.print(f"features  {stats.rows:,} rows, {size(stats.bytes)} of at most {size(stats.limit_bytes)}")
    _OUT.print(f"other     {size(found.other_bytes)}")


def size(count: float) -> str:
    """A number of bytes for a person, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def _files(count: int) -> str:
    return "1 file was" if count == 1 else f"{count} files were"


def _estimate(split: Mapping[str, Any]) -> str:
    words = {"out_of_fold": ", out of fold", "nested_out_of_fold": ", nested out of fold"}
    return words.get(split.get("estimate", ""), "")


def _cell(split: Mapping[str, Any], key: str) -> str:
    interval = split.get(f"{key}_ci95")
    return _number(split.get(key)) + (f"  {_number(interval[0])}–{_number(interval[1])}" if interval else "")


def _cost(cost: Mapping[str, Any]) -> str:
    ends = cost["ci95"]
    return f"{cost['mean']:.4g}" + ("" if ends is None else f"  {ends[0]:.4g} to {ends[1]:.4g}")


def _is_point(key: str) -> bool:
    return "@" in key and not key.endswith("_ci95")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
