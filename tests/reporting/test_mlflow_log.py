"""Runs reach a real MLflow server whole and once; whatever it does, they are kept, and nobody else hears of them."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headstart.cli import app
from headstart.errors import MissingExtraError, OfflineError, OptionError, RunError, TrackingError
from headstart.reporting import mlflow_log
from headstart.reporting.mlflow_log import Server, connect, log_run
from headstart.runs import find_run

MakeRun = Callable[..., Path]
pytest.importorskip("mlflow")
# MLflow's own web application on its SQLite store. `mlflow server` puts workers around it, which takes twice as long.
APPLICATION = """
from mlflow.server import app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
HISTORY = "epoch,loss,note\n0,0.5,start\n1,0.25,nan\n2,nan,\n"
# Notes the address of every connection, from inside a process.
SPY = """
import os, sys
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open(os.environ["SPIED"], "a") as file:
            file.write(f"{arguments[1] if event == 'socket.connect' else arguments[:2]}\\n")
sys.addaudithook(hook)
"""


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for name in ("DO_NOT_TRACK", *mlflow_log._QUIET):  # set by the code under test: put back afterwards
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that is shared by the tests; each logs runs of its own."""
    place = tmp_path_factory.mktemp("mlflow")
    store = f"sqlite:///{place / 'mlflow.db'}"
    settings = {"FILE_STORE": store, "REGISTRY_STORE": store, "SERVE_ARTIFACTS": "true"}
    settings |= {"ARTIFACT_ROOT": "mlflow-artifacts:/", "ARTIFACT_DESTINATION": str(place / "artifacts")}
    environment = {**os.environ, **{f"_MLFLOW_SERVER_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-c", APPLICATION]
    process = subprocess.Popen(
        command, env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true"}, cwd=place, stdout=subprocess.PIPE, text=True,
        stderr=(place / "log").open("w"),
    )  # fmt: skip
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    assert port, (place / "log").read_text()
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def asked(address: str, path: str, **question: Any) -> Any:
    """What the server says, without MLflow's client."""
    body = json.dumps(question).encode() if question else None
    request = urllib.request.Request(f"{address}/api/2.0/{path}", body, {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request).read())


def entry(address: str, page: str) -> Any:
    """A run on the server, by the address of its page."""
    return asked(address, f"mlflow/runs/get?run_id={page.rpartition('/')[2]}")["run"]


def logged(run: Any, kind: str) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in run["data"].get(kind, [])}


def artifact(address: str, run: Any, name: str) -> bytes:
    path = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    with urllib.request.urlopen(f"{address}/api/2.0/mlflow-artifacts/artifacts/{path}/{name}") as answer:
        return bytes(answer.read())


def check(address: str, folder: Path) -> None:
    """Log a run and look at all that arrived."""
    (folder / "history.csv").write_text(HISTORY)
    (folder / "model" / "link.json").symlink_to("/etc/hostname")
    server = connect(address)
    page = log_run(server, folder)
    assert page.startswith(f"{address}/#/experiments/{server.experiment}/runs/")
    run = entry(address, page)
    assert (run["info"]["run_name"], run["info"]["status"]) == (folder.name, "FINISHED")
    assert run["info"]["end_time"] - run["info"]["start_time"] == 9000
    parameters, metrics, tags = (logged(run, kind) for kind in ("params", "metrics", "tags"))
    assert parameters["strategy"] == "linear_probe"
    assert (parameters["option.strategy"], parameters["option.epochs"], parameters["cut"]) == ("auto", "12", "9")
    assert metrics["test_accuracy"] == 0.9
    assert metrics["test_accuracy_low"] == pytest.approx(0.85)
    assert (metrics["knn_test_accuracy"], metrics["seconds"], metrics["tested"]) == (0.8, 3.5, 100)
    assert (metrics["epochs.loss"], metrics["epochs.epoch"]) == (0.25, 2)
    assert "epochs.note" not in metrics
    assert tags["made_with.numpy"] == "2.0"
    assert "90.0%" in tags["mlflow.note.content"]
    history = asked(address, f"mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key=epochs.loss")
    assert [(each["step"], each["value"]) for each in history["metrics"]] == [(0, 0.5), (1, 0.25)]
    for name in ("run.json", "metrics.json", "report.html", "model/model.json", "predictions.parquet"):
        assert artifact(address, run, name) == (folder / name).read_bytes()
    listed = asked(address, f"mlflow/artifacts/list?run_id={run['info']['run_id']}&path=model")
    assert [each["path"] for each in listed["files"]] == ["model/model.json"]
    assert log_run(server, folder) == page
    assert len(asked(address, "mlflow/runs/search", experiment_ids=[server.experiment])["runs"]) == 1


def test_a_real_server_gets_everything_once(
    address: str, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "all of it")
    check(address, make_run(tmp_path / "ants-1", epochs=12))


@pytest.mark.soak
def test_the_server_as_a_user_starts_it_gets_everything_once(tmp_path: Path, make_run: MakeRun) -> None:
    port = closed_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path / 'mlflow.db'}",
        "--artifacts-destination",
        str(tmp_path / "a"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--port", str(port), "--workers", "1"]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, env=quiet, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.2)
        check(f"http://127.0.0.1:{port}", make_run(tmp_path / "ants-1", epochs=12))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_was_sent_in_part_is_completed(
    address: str, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "in part")
    folder, server = make_run(tmp_path / "in part"), connect(address)

    def fail(*_: object) -> None:
        raise ConnectionResetError("the cable was pulled")

    with monkeypatch.context() as patch:
        patch.setattr(server.client, "log_artifact", fail)
        with pytest.raises(TrackingError, match="the cable was pulled") as caught:
            log_run(server, folder)
    assert f"the run is kept; to log it later: headstart runs log '{folder}' --mlflow {address}" in str(caught.value)
    (half,) = asked(address, "mlflow/runs/search", experiment_ids=[server.experiment])["runs"]
    assert half["info"]["status"] == "RUNNING"
    page = log_run(server, folder)
    assert page.endswith(half["info"]["run_id"])
    assert entry(address, page)["info"]["status"] == "FINISHED"


def test_only_the_server_hears_of_a_run(address: str, tmp_path: Path, make_run: MakeRun) -> None:
    """In a process that looks like no test and no CI to MLflow, which would be silent there by itself."""
    folder = make_run(tmp_path / "runs" / "quiet")
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    kept = {name: os.environ[name] for name in ("PATH", "HEADSTART_CACHE", "LANG") if name in os.environ}
    paths = os.pathsep.join([str(tmp_path / "spy"), *(path for path in sys.path if path)])
    environment = {**kept, "PYTHONPATH": paths, "SPIED": str(tmp_path / "spied"), "HOME": str(tmp_path)}
    # Not by the command line, which ends at once: threads that send, and what is sent at exit, get their time.
    script = "import sys, time; from headstart.cli import app; app(standalone_mode=False); time.sleep(1)"
    command = [sys.executable, "-c", script, "runs", "log", str(folder), "--mlflow", address]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(address)
    assert len(done.stdout.splitlines()) == 1
    spied = (tmp_path / "spied").read_text().replace("'", "").splitlines()
    assert set(spied) == {f"(127.0.0.1, {address.rpartition(':')[2]})"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "spied", "spy"]


@pytest.mark.parametrize(
    "wrong",
    ["", "mlruns", "sqlite:///mlflow.db", "file:///tmp", "databricks", "http://", "http://host:port", "https://:5000",
     "http://[::1", "ftp://host", "http://host/?a=b", "//host"],
)  # fmt: skip
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(OptionError, match=r"for example http://127\.0\.0\.1:5000"):
        connect(wrong)


def test_a_server_that_is_not_there_is_said_within_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:\d+ can't be used.*check the address"):
        connect(f"http://127.0.0.1:{closed_port()}")
    assert time.monotonic() - began < 30


def test_a_server_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TrackingError, match="timed out"):
        connect(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_another_kind_of_server_is_refused_and_a_password_never_shown() -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for user in ("", "anna:s3cret@"):
            with pytest.raises(TrackingError) as caught:
                connect(f"http://{user}127.0.0.1:{server.server_port}")
            assert "s3cret" not in str(caught.value)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(TrackingError) as caught:
        connect(f"http://anna:s3cret@127.0.0.1:{server.server_port}")
    assert "s3cret" not in str(caught.value)


def test_a_server_that_would_have_files_written_here_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(address, "mlflow/experiments/create", name="local", artifact_location=f"file://{tmp_path}/written")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "local")
    with pytest.raises(TrackingError, match=r"takes no files.*--serve-artifacts"):
        connect(address)


def test_offline_means_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_OFFLINE", "1")
    monkeypatch.setattr(mlflow_log, "_client", lambda *_: pytest.fail("the client was asked for"))
    with pytest.raises(OfflineError, match="leave one of the two out"):
        connect("http://127.0.0.1:5000")


def test_only_sound_finished_runs_are_logged(address: str, tmp_path: Path, make_run: MakeRun) -> None:
    server = connect(address)
    with pytest.raises(RunError, match="interrupted"):
        log_run(server, make_run(tmp_path / "unfinished", state="running"))
    edited = make_run(tmp_path / "edited")
    (edited / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match="was changed after the run had finished"):
        log_run(server, edited)


def test_without_the_extra_a_fit_ends_before_it_begins(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = CliRunner().invoke(app, ["fit", str(digits), "--mlflow", "http://127.0.0.1:5000"])
    assert isinstance(done.exception, MissingExtraError)
    assert 'pip install "headstart[mlflow]"' in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_a_fit_does_not_begin_where_no_server_is(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = CliRunner().invoke(app, ["fit", str(digits), "--mlflow", f"http://127.0.0.1:{closed_port()}"])
    assert isinstance(done.exception, TrackingError)
    assert not list(tmp_path.iterdir())


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_a_fit_is_logged_and_a_server_that_dies_meanwhile_costs_no_run(
    address: str, tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", str(digits), "--strategy", "prototype", "--json", "--mlflow", address]
    done = CliRunner().invoke(app, [*words, "--out", "runs/a"])
    assert done.exit_code == 0, done.output
    page = done.stderr.splitlines()[-1].split()[-1]
    metrics = logged(entry(address, page), "metrics")
    assert metrics["test_accuracy"] == json.loads(done.stdout)["splits"]["test"]["accuracy"]

    alive = connect(address)
    dead = Server(address, alive.experiment, mlflow_log._client(f"http://127.0.0.1:{closed_port()}"), address)
    monkeypatch.setattr(mlflow_log, "connect", lambda given: dead)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = CliRunner().invoke(app, [*words, "--out", "runs/b"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["splits"]["test"]["n"] == 60
    folder = find_run(tmp_path / "runs" / "b").folder
    assert f"the run is kept; to log it later: headstart runs log runs/b --mlflow {address}" in done.stderr

    monkeypatch.setattr(mlflow_log, "connect", lambda given: alive)
    later = CliRunner().invoke(app, ["runs", "log", "b", "--mlflow", address])
    assert logged(entry(address, later.stdout.strip()), "metrics") == pytest.approx(metrics, rel=1)  # seconds differ
    shutil.rmtree(folder)
