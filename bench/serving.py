"""The service at saturation beside the bare runtime called in a loop, in turns in one run; then its end under load.

``python bench/serving.py --run RUN --images DIR`` starts ``headstart serve RUN``, lets ``wrk`` (Debian's package; a
process of its own, on loopback) send photographs one a request, and prints Markdown. Before each round of wrk the bare
runtime predicts the same photographs in lists of 64 for as long, in a process of its own. ``--soak 600`` instead loads
the service for ten minutes and prints the memory that it holds after each of them. Needs ``headstart[serve]``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from headstart import runtime

CONNECTIONS, THREADS, LIST = 64, 1, 64

WRK = """
local bodies = {}
for name in io.lines(os.getenv("BODIES")) do
  local file = io.open(name, "rb"); bodies[#bodies + 1] = file:read("*all"); file:close()
end
local place, headers = 0, {["Content-Type"] = "image/jpeg"}
request = function()
  place = place % #bodies + 1
  return wrk.format("POST", "/predict", headers, bodies[place])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "errors": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each half of a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="only load the service, and watch its memory")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    images = [path.read_bytes() for path in photographs(options.images)]
    if options.bare:
        print(*bare(options.run, images, options.seconds))
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt-get install wrk")
    if options.soak:
        with served(options.run) as (process, port):
            soaked(process.pid, port, options)
        return
    with served(options.run) as (process, port):
        rows = []
        for _ in range(options.rounds):
            alone, cost = map(float, itself("--bare", options).split())
            before = processor_seconds(process.pid)
            found = loaded(port, options.images, options.seconds)
            own = (processor_seconds(process.pid) - before) / found["requests"]
            rows.append(Round(alone, cost, found, own, memory(process.pid)))
        show(rows, images)
        answered, seconds = stopped_under_load(process, port, images)
    print(f"\nEnded by SIGTERM under load: {dict(answered)}, after {seconds:.1f} s, exit code {process.returncode}.")
    with served(options.run) as (process, port):
        seconds = killed_and_started(process, port, options)
    print(f"Killed by SIGKILL under load and started again: ready {seconds:.1f} s later.")


def photographs(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return found[:: max(1, len(found) // 200)]


@dataclass(frozen=True)
class Round:
    """Images a second and processor seconds an image of the bare runtime; the same of the service, and its memory."""

    bare_rate: float
    bare_cost: float
    found: dict[str, Any]
    cost: float
    megabytes: float

    @property
    def rate(self) -> float:
        return float(self.found["requests"] / self.found["seconds"])


def processor_seconds(pid: int) -> float:
    """Of a process, all its threads, until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare(run: Path, images: list[bytes], seconds: float) -> tuple[float, float]:
    """Images a second of the runtime alone, in lists of 64, and its processor seconds an image."""
    model, left = runtime.load(run), cycle(images)
    model.predict(images[:LIST])
    count, start, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        model.predict([next(left) for _ in range(LIST)])
        count += LIST
    return count / (time.perf_counter() - start), (time.process_time() - used) / count


def itself(flag: str, options: argparse.Namespace) -> str:
    arguments = ["--run", options.run, "--images", options.images, "--seconds", options.seconds, flag]
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def served(run: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "headstart.cli", "serve", str(run), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"listening on http://\S+:(\d+)", line):
            port = int(found[1])
        if '"event": "ready"' in line:
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()  # else its log fills the pipe
    try:
        yield process, port
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def soaked(pid: int, port: int, options: argparse.Namespace) -> None:
    """Print the memory held after each tenth of a long load, and what wrk found."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(loaded, port, options.images, options.soak)
        for tenth in range(1, 11):
            wait([load], timeout=options.soak / 10)
            print(f"after {tenth * options.soak / 10:.0f} s: {memory(pid):.0f} MB", flush=True)
        print(load.result())


def loaded(port: int, images: Path, seconds: float) -> dict[str, Any]:
    """What wrk found."""
    with tempfile.TemporaryDirectory() as folder:
        script, names = Path(folder, "load.lua"), Path(folder, "names")
        script.write_text(WRK)
        names.write_text("".join(f"{path}\n" for path in photographs(images)))
        command = [
            "wrk",
            f"-t{THREADS}",
            f"-c{CONNECTIONS}",
            f"-d{seconds:.0f}s",
            "--timeout",
            "30s",
            "-s",
            script,
        ]
        text = subprocess.run(
            [*map(str, command), f"http://127.0.0.1:{port}/"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "BODIES": str(names)},
        ).stdout
    return dict(json.loads(text.split("RESULT ")[1].splitlines()[0]))


def show(rounds: list[Round], images: list[bytes]) -> None:
    size = sum(map(len, images)) / len(images) / 1000
    print(f"{len(images)} JPEGs, {size:.0f} kB on average; {CONNECTIONS} connections; {os.cpu_count()} cores;")
    print(f"load average at the end {os.getloadavg()[0]:.1f}; in brackets processor time an image\n")
    print("| round | bare runtime, images/s | service, requests/s | ratio | p50 | p95 | p99 | errors | memory |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for number, one in enumerate(rounds, 1):
        times = " | ".join(f"{one.found[name]:.0f} ms" for name in ("p50", "p95", "p99"))
        rates = f"{one.bare_rate:.0f} ({1000 * one.bare_cost:.1f} ms) | {one.rate:.0f} ({1000 * one.cost:.1f} ms)"
        ratio = f"{one.rate / one.bare_rate:.0%} ({one.bare_cost / one.cost:.0%})"
        print(f"| {number} | {rates} | {ratio} | {times} | {one.found['errors']} | {one.megabytes:.0f} MB |")
    ratio = statistics.median(one.rate / one.bare_rate for one in rounds)
    of_time = statistics.median(one.bare_cost / one.cost for one in rounds)
    print(f"\nMedian ratio {ratio:.0%}; of processor time {of_time:.0%}.")


def memory(pid: int) -> float:
    """Megabytes that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def stopped_under_load(process: subprocess.Popen[str], port: int, images: list[bytes]) -> tuple[Counter[str], float]:
    """How 16 clients that ask all the time fared when the service was asked to end."""
    ends: Counter[str] = Counter()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for image in cycle(images):
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError:
                    ends["not accepted"] += 1
                    return
            try:
                connection.request("POST", "/predict", image)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                ends["unanswered"] += 1
                return
            ends[f"answered {answer.status}"] += 1

    clients = [threading.Thread(target=ask) for _ in range(16)]
    for client in clients:
        client.start()
    time.sleep(3)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait()
    for client in clients:
        client.join()
    return ends, time.monotonic() - start


def killed_and_started(process: subprocess.Popen[str], port: int, options: argparse.Namespace) -> float:
    """Seconds from SIGKILL under load to the next answer of a service on the same port."""
    load = subprocess.Popen(
        ["wrk", "-t1", "-c16", "-d3s", f"http://127.0.0.1:{port}/health"], stdout=subprocess.DEVNULL
    )
    time.sleep(1)
    process.kill()
    process.wait()
    start = time.monotonic()
    with served(options.run, port) as (_, again), socket.create_connection(("127.0.0.1", again)) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(100)
        taken = time.monotonic() - start
        load.wait()
    return taken


if __name__ == "__main__":
    main()
