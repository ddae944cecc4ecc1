"""The command line without a job: versions, missing commands, and how it ends."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

import headstart
from headstart import cli
from headstart.evaluation.metrics import METRICS
from headstart.training.strategies import STRATEGIES


def test_the_version_needs_no_command() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, headstart.__version__)


@pytest.mark.parametrize(
    "arguments", [["--debug"], ["nosuch"], ["fit"], ["fit", "x", "--metric", "y"], ["fit", "x", "--seed", "-1"]]
)
def test_what_is_misspelt_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_the_help_names_every_choice() -> None:
    shown = CliRunner().invoke(cli.app, ["fit", "--help"], env={"COLUMNS": "400"}).output
    assert all(name in shown for name in STRATEGIES)
    assert {metric.value for metric in cli.Metric} == set(METRICS)


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code; ``main`` itself would end this process."""
    monkeypatch.setattr(sys, "argv", ["headstart", *arguments])
    return cli._run()


def test_an_interruption_is_said_and_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.backbones.catalogue.available", interrupt)
    assert _main(monkeypatch, "backbones") == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_error_is_one_line_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "inspect", "/nowhere") == 2
    assert capsys.readouterr().err == "headstart: /nowhere: no such file or folder\n"
