"""The main job as a user runs it: fit, predict, evaluate; without torch, without a network, twice at once, killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import headstart as api

Headstart = Callable[..., Any]
pytestmark = pytest.mark.real


def _metrics(text: str) -> dict[str, Any]:
    """Metrics of which equal runs must give equal values."""
    return {key: value for key, value in json.loads(text).items() if key != "seconds"}


def test_a_folder_in_a_measured_classifier_out(
    headstart: Headstart, digits: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Without torch, with sockets blocked: the whole way, and nothing written outside run folder and cache."""
    spy = tmp_path / "spied.txt"
    quiet = {"HEADSTART_NO_TORCH": "1", "HEADSTART_SPY": str(spy)}
    done = headstart("fit", digits, "--json", **quiet)
    assert done.code == 0, done.err
    metrics = done.json
    assert metrics["schema"] == 1
    assert metrics["classes"] == ["0", "1", "8"]
    assert metrics["splits"]["test"]["n"] == 60
    assert metrics["splits"]["test"]["accuracy"] > 0.9 > metrics["baselines"]["majority"]["test_accuracy"]
    low, high = metrics["splits"]["test"]["accuracy_ci95"]
    assert low < metrics["splits"]["test"]["accuracy"] <= high

    run = tmp_path / "work" / "runs" / "digits-1"
    names = {"run.json", "audit.json", "ladder.json", "metrics.json", "predictions.parquet", "report.html", "model"}
    assert names <= {path.name for path in run.iterdir()}
    table = pq.read_table(run / "predictions.parquet").to_pylist()
    assert sum(row["split"] == "test" for row in table) == 60
    assert {row["file"] for row in table if row["split"] == "test"}.isdisjoint(
        row["file"] for row in table if row["split"] == "val"
    )
    right = sum(row["predicted"] == row["truth"] for row in table if row["split"] == "test")
    assert right / 60 == pytest.approx(metrics["splits"]["test"]["accuracy"])

    predicted = headstart("predict", run, digits / "8", "--json", **quiet)
    rows = [json.loads(line) for line in predicted.out.splitlines()]
    assert len(rows) == 100
    assert sum(row["label"] == "8" for row in rows) > 90
    scored = headstart("evaluate", run, digits, "--json", **quiet)
    assert (scored.json["n"], scored.json["fitted_on"]) == (300, 240)
    assert "240 of these images" in scored.err
    assert headstart("backbones", **quiet).code == headstart("cache", **quiet).code == 0

    assert not spy.exists(), spy.read_text()
    assert not list((tmp_path / "home").rglob("*"))
    assert not list((tmp_path / "tmp").rglob("*"))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["runs"]


def test_the_core_install_alone_runs_the_main_job(headstart: Headstart, digits: Path, tmp_path: Path) -> None:
    """A fresh environment with nothing but the package and its core dependencies."""
    root = Path(__file__).parents[2]
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(root)], check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "torch " not in listed
    done = headstart("fit", digits, "--json", python=python)
    assert done.code == 0, done.err
    assert done.json["splits"]["test"]["accuracy"] > 0.9


def test_equal_seeds_give_equal_metrics_also_two_at_once(
    digits: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "headstart.cli", "fit", str(digits), "--json", "--seed", "3"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path / "work", "env": environment}
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    outs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    third = subprocess.run(command, text=True, check=True, **pipes).stdout
    assert _metrics(outs[0][0]) == _metrics(outs[1][0]) == _metrics(third)
    assert sorted(path.name for path in (tmp_path / "work" / "runs").glob("[!.]*")) == [
        "digits-1",
        "digits-2",
        "digits-3",
    ]


def _kill_storm(digits: Path, tmp_path: Path, environment: dict[str, str], kills: int) -> None:
    command = [sys.executable, "-m", "headstart.cli", "fit", str(digits), "--json", "--out", "run"]
    wanted = {**environment, "HEADSTART_CACHE": str(tmp_path / "undisturbed")}
    place: dict[str, Any] = {
        "cwd": tmp_path / "work",
        "text": True,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    started = time.monotonic()
    reference = subprocess.run([*command[:-1], "reference"], env=wanted, check=True, **place).stdout
    duration = time.monotonic() - started
    draw = random.Random(0)
    for number in range(kills):
        env = {**environment, "HEADSTART_CACHE": str(tmp_path / f"cache-{number}")}
        out = f"run-{number}"
        process = subprocess.Popen([*command[:-1], out], env=env, **place)
        time.sleep(draw.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            continue  # it was done before the kill
        again = subprocess.run([*command[:-1], out], env=env, check=False, **place)
        assert again.returncode == 0, again.stderr
        assert _metrics(again.stdout) == _metrics(reference)
        assert api.open(tmp_path / "work" / out).classes == ("0", "1", "8")
        hidden = [path.name for path in (tmp_path / "work" / out).rglob(".*") if path.name != ".lock"]
        assert not hidden, f"left behind: {hidden}"


def test_a_killed_fit_finishes_the_same_when_run_again(
    digits: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    _kill_storm(digits, tmp_path, environment, kills=3)


@pytest.mark.soak
def test_a_storm_of_kills(digits: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    _kill_storm(digits, tmp_path, environment, kills=10)


def test_ctrl_c_ends_with_130_and_keeps_the_store(digits: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "headstart.cli", "fit", str(digits), "--out", "run"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path / "work",
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background lets its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    graphs = tmp_path / "cache" / "graphs"
    while not list(graphs.rglob("graph.blob")) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not (tmp_path / "work" / "run" / "model").exists()
    assert subprocess.run(command, cwd=tmp_path / "work", env=environment, check=False).returncode == 0


def test_help_answers_fast_because_it_imports_little(environment: dict[str, str]) -> None:
    """Held as a property that can't be noisy: what the help imports, not how long it takes."""
    code = (
        "import sys; from headstart.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'openvino', 'pyarrow', 'torch', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "test", "least"),
    [
        ("hymenoptera", "val", 0.91),
        pytest.param("flowers5", None, 0.82, marks=pytest.mark.soak),
        pytest.param("rsscn7", None, 0.82, marks=pytest.mark.soak),
    ],
)
def test_real_folders(headstart: Headstart, shared: Path, name: str, test: str | None, least: float) -> None:
    done = headstart("fit", shared / "data" / name, "--json", *(["--test", test] if test else []))
    assert done.code == 0, done.err
    assert done.json["splits"]["test"]["accuracy"] >= least
    assert done.json["splits"]["test"]["ece"] < 0.12
