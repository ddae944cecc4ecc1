"""Runs on an MLflow server: parameters, metrics, records, the report and the model folder.

MLflow's own client is used, from ``mlflow-skinny``; it is imported when it is asked for, and not before its telemetry
is switched off. A run is logged when it is finished and lies safely in its folder, so no server can lose one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from headstart.backbones.offline import is_offline
from headstart.errors import MissingExtraError, OfflineError, OptionError, RunError, TrackingError
from headstart.files import sha256
from headstart.reporting.verdict import verdict
from headstart.reporting.wording import TEXT_LENGTH, shorten
from headstart.runs import find_run
from headstart.runs.record import EVIDENCE, FILE
from headstart.runs.summary import METRICS, RunSummary, read_object, summarise

if TYPE_CHECKING:
    import mlflow

T = TypeVar("T")

EXPERIMENT = "headstart"
"""Where runs go unless ``MLFLOW_EXPERIMENT_NAME`` says otherwise."""

EXTRA = "mlflow"
_TAG = "headstart.run"
# Switched off before the client is imported: usage data, a line about the run's address on standard output, and bars.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CHOSEN = ("data", "task", "strategy", "backbone", "metric", "cut", "stages", "seed")
# Seconds to wait for an answer: at the beginning, when a person waits as well, and when a model is sent.
_PATIENCE, _PATIENCE_SENDING = 10, 60
_FILES = (FILE, *EVIDENCE, "fingerprint.json", "plan.json", "backbones.json", "history.csv", "report.html")
# Of one request; and characters of a value, as few as old servers take.
_MOST_PARAMETERS, _MOST_METRICS, _LONGEST_PARAMETER, _LONGEST_TAG = 100, 1000, 500, 5000
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_./ -]")
_LOCAL = ("", "file")
_CHECK = "check the address, that the server runs, and MLFLOW_TRACKING_USERNAME and _PASSWORD if it wants them"


@dataclass(frozen=True, eq=False)
class Server:
    """A server that has answered.

    Attributes
    ----------
    address:
        For people and messages: without a password.
    experiment:
        Its number there.
    client:
        What talks to it.
    secret_address:
        The address as it was given.
    """

    address: str
    experiment: str
    client: mlflow.MlflowClient
    secret_address: str


def connect(address: str) -> Server:
    """Ask a server whether it is there, lets us in and takes files, and make the experiment there.

    Parameters
    ----------
    address:
        ``http://`` or ``https://``. Who we are is told by MLflow's own variables (``MLFLOW_TRACKING_USERNAME``,
        ``MLFLOW_TRACKING_PASSWORD``, ``MLFLOW_TRACKING_TOKEN`` and the like).

    Raises
    ------
    OptionError
        If that is no address of a server.
    OfflineError
        If the network is switched off.
    MissingExtraError
        If the client isn't installed.
    TrackingError
        If the server doesn't answer within seconds, refuses, or leaves files to this machine's own disk.
    """
    shown = _shown(address)
    if is_offline():
        raise OfflineError(f"--mlflow {shown} needs the network, which is switched off: leave one of the two out")
    client = _client(address)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    what = f"the MLflow server at {shown} can't be used"
    with _told(address, what, _CHECK, _PATIENCE):
        experiment = _experiment(client, name)
    if experiment.lifecycle_stage != "active":
        raise TrackingError(f"{shown}: the experiment {name!r} is deleted there: restore it, or set another name with "
                            "MLFLOW_EXPERIMENT_NAME")  # fmt: skip
    if urlsplit(experiment.artifact_location).scheme in _LOCAL:
        raise TrackingError(
            f"{shown}: this server takes no files, but names a folder for them ({experiment.artifact_location}): "
            "start it with --serve-artifacts, or set another experiment with MLFLOW_EXPERIMENT_NAME"
        )
    return Server(shown, str(experiment.experiment_id), client, address)


def log_run(server: Server, folder: Path) -> str:
    """Log a finished run; one that was logged only in part is completed, and one that is there stays as it is.

    Returns
    -------
    str
        The address of its page.

    Raises
    ------
    RunError
        If the folder holds no finished run, or its files are damaged.
    TrackingError
        If the server fails. The run's folder is never changed.
    """
    run = find_run(folder)
    summary = summarise(folder)
    if summary is None or summary.problems:
        raise RunError(f"{folder} is not logged: {summary.problems[0] if summary else 'it is gone'}")
    key = sha256((folder / FILE).read_bytes())
    with _told(server.secret_address, f"{folder} can't be logged", log_later(server, folder), _PATIENCE_SENDING):
        there = _find(server, key)
        if there is None:
            tags = {_TAG: key, "mlflow.source.name": "headstart", "mlflow.source.type": "LOCAL"}
            there = server.client.create_run(
                server.experiment, start_time=_moment(run.record.started), tags=tags, run_name=shorten(folder.name)
            )
        number = there.info.run_id
        if there.info.status != "FINISHED":
            _send(server, number, folder, summary, _moment(run.record.finished))
    return f"{server.address}/#/experiments/{server.experiment}/runs/{number}"


def log_later(server: Server, folder: Path) -> str:
    """What a person can do where a run could not be logged."""
    return f"the run is kept; to log it later: headstart runs log {shlex.quote(str(folder))} --mlflow {server.address}"


def _send(server: Server, number: str, folder: Path, summary: RunSummary, finished: int | None) -> None:
    """Everything about a run, and last of all that it is complete."""
    from mlflow.entities import Metric, Param, RunTag

    log, client = server.client.log_batch, server.client
    told = _tags(summary, read_object(folder, METRICS)[0])
    tags = [RunTag(_name(key), shorten(str(value), _LONGEST_TAG)) for key, value in told.items()]
    chosen = _parameters(summary)
    parameters = [Param(_name(key), shorten(str(value), _LONGEST_PARAMETER)) for key, value in chosen.items()]
    metrics = [Metric(_name(key), value, finished or 0, step) for key, value, step in _metrics(summary, folder)]
    for part in _parts(parameters, _MOST_PARAMETERS):
        log(number, params=part)
    for part in _parts(tags, _MOST_PARAMETERS):
        log(number, tags=part)
    for part in _parts(metrics, _MOST_METRICS):
        log(number, metrics=part)
    for path, below in _files(folder):
        client.log_artifact(number, str(path), below)
    client.set_terminated(number, "FINISHED", finished)


def _client(address: str) -> Any:
    os.environ.update(_QUIET)
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("--mlflow", EXTRA) from error
    return mlflow.MlflowClient(address.rstrip("/"))


def _experiment(client: Any, name: str) -> Any:
    """The experiment of this name, made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    try:
        return client.get_experiment(client.create_experiment(name))
    except Exception:
        found = client.get_experiment_by_name(name)  # another process may have been faster
        if found is None:
            raise
        return found


@contextlib.contextmanager
def _told(address: str, what: str, way_out: str, seconds: int) -> Iterator[None]:
    """Turn whatever the client raises into :class:`TrackingError`, and let it wait so many seconds for an answer.

    The client's own defaults keep a person waiting for minutes where no server is; what the user has set counts.
    """
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    changed = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(changed)
    try:
        yield
    except Exception as error:  # the client's own, requests', or those of an answer that it can't read
        raise TrackingError(f"{what}: {_reason(error, address)}; {way_out}") from error
    finally:
        for name in changed:
            os.environ.pop(name, None)


def _reason(error: Exception, address: str) -> str:
    """What an error says, without the password that the address may hold, which messages repeat."""
    text = str(error) or type(error).__name__
    secret = urlsplit(address).password
    return shorten(text if not secret else text.replace(secret, "…"), TEXT_LENGTH)


def _shown(address: str) -> str:
    """The address without name and password; raises :class:`OptionError` if it is none."""
    try:
        parts = urlsplit(address.rstrip("/"))
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise OptionError(
            "--mlflow wants the address of a server, for example http://127.0.0.1:5000; for a database or a folder "
            "start one: mlflow server --backend-store-uri sqlite:///mlflow.db"
        )
    place = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, place if port is None else f"{place}:{port}", parts.path, "", ""))


def _find(server: Server, key: str) -> Any:
    """The entry of a run on the server, or ``None``."""
    wanted = f"tags.`{_TAG}` = '{key}'"
    found = server.client.search_runs([server.experiment], filter_string=wanted, max_results=1)
    return found[0] if found else None


def _parameters(run: RunSummary) -> dict[str, Any]:
    """What was chosen, by its name, and what was asked for, behind ``option.``."""
    chosen = {name: getattr(run, name) for name in _CHOSEN}
    options = {f"option.{name}": value for name, value in run.options.items()}
    return {name: value for name, value in {**chosen, **options}.items() if value is not None}


def _tags(run: RunSummary, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What was made with what, and the verdict as the description."""
    versions = {f"made_with.{name}": value for name, value in run.made_with.items()}
    return {
        "headstart.version": run.version,
        "headstart.command": run.command or "from Python",
        **versions,
        "mlflow.note.content": verdict(metrics),
    }


def _metrics(run: RunSummary, folder: Path) -> Iterator[tuple[str, float, int]]:
    """Names, values and steps: scores and the ends of their intervals, seconds, and every epoch of a fine-tuning."""
    for name, value in run.scores.items():
        yield name, value, 0
        for end, bound in zip(("low", "high"), run.intervals.get(name, ()), strict=False):
            yield f"{name}_{end}", bound, 0
    for name, number in (("seconds", run.seconds), ("tested", run.tested)):
        if number is not None:
            yield name, float(number), 0
    history = folder / "history.csv"
    if history.is_file():
        for step, row in enumerate(csv.DictReader(io.StringIO(history.read_text()))):
            for name, text in row.items():
                with contextlib.suppress(ValueError, TypeError):
                    if math.isfinite(float(text)):
                        yield f"epochs.{name}", float(text), step


def _files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Plain files of the run, and below which folder they go; links are left out, whatever they point to."""
    model = folder / "model"
    parts = [] if model.is_symlink() or not model.is_dir() else sorted(model.iterdir())
    for path in [*(folder / name for name in _FILES), *parts]:
        if path.exists() and stat.S_ISREG(path.lstat().st_mode):
            yield path, "model" if path.parent == model else None


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _name(name: str) -> str:
    """A name as MLflow takes it: letters, digits and a few signs, at most 250 characters."""
    return _FORBIDDEN.sub("_", name)[:250]


def _moment(iso: str | None) -> int | None:
    """Milliseconds since 1970."""
    try:
        return None if iso is None else int(datetime.fromisoformat(iso).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
