"""Every export format of one model beside eager PyTorch: parity, size and latency, timed in turns in one run.

``python bench/export.py --data DIR`` fits a probe on the default backbone as ``headstart fit`` does, exports it to
every format, each through the gate, and prints Markdown tables. ``--run RUN`` takes a finished run instead. Exports
that are there already are taken as they are, so that an interrupted run goes on. Needs ``headstart[train,export]``.

Eager PyTorch, OpenVINO and pt2 take images that are resized already; ONNX resizes in its graph, and its time has that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import headstart
from headstart import imaging, records, runtime
from headstart.data import load
from headstart.errors import HeadstartError
from headstart.export.exporting import FILES, Exported, export
from headstart.export.pytorch.program_session import ProgramSession
from headstart.export.pytorch.programs import WholeModel
from headstart.export.source import Source
from headstart.planning.options import Options
from headstart.runtime.session import cores

KINDS = (("onnx", False), ("openvino", False), ("pt2", False), ("onnx", True), ("openvino", True))
ROUNDS, BATCHES = 12, (1, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data" / "flowers5")
    parser.add_argument("--run", type=Path, default=Path("runs/bench-export"))
    parser.add_argument("--threads", type=int, default=cores(), help="of each; 1 tells most on a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.run / "report.html").exists():
        headstart.fit(options.data, Options(budget="1s"), out=options.run)
    written = {name: found for name, found in (exported(options.run, *kind) for kind in KINDS) if found}
    print(
        "| file | computed by | same decision | median cosine | largest difference | score difference (95 %) | size |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, found in written.items():
        for one in found.results:
            interval = one.score_difference_ci95
            between = "" if interval is None else f" ({interval[0]:+.4f} to {interval[1]:+.4f})"
            print(
                f"| {name} | {one.engine}, {one.computed_in} | {one.agreement:.1%} | {one.cosine:.5f} "
                f"| {one.largest_difference:.4f} | {one.score_difference:+.4f}{between} | {found.size / 1e6:.1f} MB |"
            )
    image = next(iter(sorted(Path(options.data).rglob("*.jpg"))), None)
    data = load(options.data).read(0) if image is None else image.read_bytes()
    report_times(options.run, written, data, options.threads)


def exported(run: Path, format: Any, int8: bool) -> tuple[str, Exported | None]:
    """The name of an export, and what is in its ``parity.json``; none where the gate refused it."""
    name = f"{format}-int8" if int8 else str(format)
    record = run / "export" / name / "parity.json"
    try:
        if not record.is_file():
            export(run, format, int8=int8)
    except HeadstartError as error:
        print(f"{name}: {error}", flush=True)
        return name, None
    return name, records.from_plain(Exported, json.loads(record.read_bytes()), where=str(record))


def report_times(run: Path, written: dict[str, Exported], data: bytes, threads: int) -> None:
    """Each in turn, so that what else the machine does hits all alike."""
    callers: dict[str, Callable[[int], Any]] = {"eager PyTorch": eager(run, data)}
    for name, found in written.items():
        path = run / "export" / name / FILES[found.format]
        if found.format == "openvino":
            for precision in ("bf16", "f32"):
                callers[f"{name}, {precision}"] = caller(runtime.load(path, threads=threads, precision=precision), data)
        else:
            model = (
                runtime.Model(ProgramSession(path)) if found.format == "pt2" else runtime.load(path, threads=threads)
            )
            callers[name] = caller(model, data)
    times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in callers for batch in BATCHES}
    for turn in range(ROUNDS + 1):
        for name, call in callers.items():
            for batch in BATCHES:
                for _ in range(8 if batch == 1 else 1):
                    started = time.perf_counter()
                    call(batch)
                    if turn:  # the first warms up
                        times[name, batch].append((time.perf_counter() - started) * 1000)
    print(
        "\n| file | ms for 1: p50, p95, p99 | ms for 32: p50, p95, p99 | images/s at 32 | times eager PyTorch at 32 |"
    )
    print("|---|---|---|---|---|")
    plain = statistics.median(times["eager PyTorch", 32])
    for name in callers:
        cells = [", ".join(f"{value:.1f}" for value in np.percentile(times[name, n], (50, 95, 99))) for n in BATCHES]
        median = statistics.median(times[name, 32])
        print(f"| {name} | {' | '.join(cells)} | {32000 / median:.0f} | {plain / median:.1f} |", flush=True)


def caller(model: runtime.Model, data: bytes) -> Callable[[int], Any]:
    """Runs a batch of one image."""
    image = model.prepare(data)
    return lambda batch: model.run([image] * batch)


def eager(run: Path, data: bytes) -> Callable[[int], Any]:
    """The same network and head in PyTorch, float32, channels last."""
    source = Source.open(run)
    module = WholeModel(source.trunk, source.head).eval().to(memory_format=torch.channels_last)
    view = imaging.load_view(data, source.saved.record.preprocessing, "image")

    @torch.inference_mode()
    def call(batch: int) -> Any:
        return module(torch.from_numpy(np.stack([view] * batch)))

    return call


if __name__ == "__main__":
    main()
