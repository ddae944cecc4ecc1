"""The command line without a job: versions, missing commands, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import headstart
from headstart import cli
from headstart.cli import process
from headstart.errors import BackboneError
from headstart.evaluation.metrics import METRICS
from headstart.features.measuring import Speed
from headstart.training.strategies import STRATEGIES


def test_the_version_needs_no_command() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output.strip()) == (0, headstart.__version__)


@pytest.mark.parametrize("arguments", [["--debug"], ["nosuch"], ["fit"], ["fit", "x", "--seed", "-1"]])
def test_what_is_misspelt_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2


def test_the_help_names_every_choice() -> None:
    shown = CliRunner().invoke(cli.app, ["fit", "--help"], env={"COLUMNS": "400"}).output
    assert all(name in shown for name in STRATEGIES)
    assert all(name in shown for name in (*METRICS, "sensitivity@specificity=0.95"))


def test_an_unknown_metric_is_named_with_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "fit", "x", "--metric", "y") == 2
    assert "unknown metric 'y': known are accuracy" in capsys.readouterr().err


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code; ``main`` itself would end this process."""
    monkeypatch.setattr(sys, "argv", ["headstart", *arguments])
    return process.run()


def test_an_interruption_is_said_and_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(wanted: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.reporting.backbone_list.find", interrupt)
    assert _main(monkeypatch, "backbones") == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_error_is_one_line_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "inspect", "/nowhere") == 2
    assert capsys.readouterr().err == "headstart: /nowhere: no such file or folder\n"


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["nowhere"], "no such file or folder"),
        (["{empty}"], "no images in it"),
        (["{digits}", "{digits}"], "the same place"),
        (["{digits}", "--split"], "name two places"),
        (["{digits}", "{empty}", "--split"], "--split compares the splits of one data set"),
    ],
)
def test_a_gap_that_cannot_be_measured_is_answered_with_the_way_out(
    arguments: list[str],
    way_out: str,
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [argument.format(empty=tmp_path, digits=digits) for argument in arguments]
    assert _main(monkeypatch, "gap", *named) == 2
    assert way_out in capsys.readouterr().err


def test_backbones_as_json_are_those_that_were_asked_for() -> None:
    arguments = ["backbones", "--family", "mobilenet", "--max-params", "5M", "--licence", "permissive", "--json"]
    shown = json.loads(CliRunner().invoke(cli.app, arguments).output)
    assert len(shown) > 10
    assert all(row["family"].startswith("mobilenet") and row["parameters"] <= 5_000_000 for row in shown)
    assert {row["licence"] for row in shown} == {"Apache-2.0", "BSD-3-Clause"}


def test_backbones_without_options_says_what_is_here_and_how_to_find_more() -> None:
    shown = CliRunner().invoke(cli.app, ["backbones"]).output
    assert "bundled/tf_efficientnet_lite0  (here)" in shown
    assert "--family" in shown


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        (["--family", "mobilnet"], "did you mean mobilenet"),
        (["--max-params", "many"], "write for example 30M"),
        (["--domain", "cats"], "medical"),
    ],
)
def test_a_bad_wish_for_backbones_is_answered_with_the_way_out(
    arguments: list[str], way_out: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "backbones", *arguments) == 2
    assert way_out in capsys.readouterr().err


def test_listing_backbones_imports_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['headstart', 'backbones', 'resnet']\n"
        "from headstart.cli import process\n"
        "assert process.run() == 0\n"
        "print(sorted({'torch', 'timm', 'numpy', 'openvino', 'pyarrow', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


def test_what_was_measured_is_shown_although_another_name_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure_named(name: str, **_: object) -> Speed:
        if name == "nothing":
            raise BackboneError("unknown backbone 'nothing'")
        return Speed(name, 224, 1, 1, None, 12.0, None, None, None, None, None)

    monkeypatch.setattr("headstart.features.measuring.measure_named", measure_named)
    assert _main(monkeypatch, "backbones", "--measure", "lite0", "nothing", "lite1", "--json") == 2
    said = capsys.readouterr()
    assert [row["name"] for row in json.loads(said.out)] == ["lite0", "lite1"]
    assert "unknown backbone 'nothing'" in said.err


def test_weights_for_non_commercial_use_are_refused_before_anything_is_fetched(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(name: str, **wanted: object) -> None:
        raise AssertionError("looked for the weights")

    monkeypatch.setattr("headstart.planning.backbone_choice.find_backbone", fetch)
    name = "timm/convnextv2_tiny.fcmae_ft_in1k"
    assert _main(monkeypatch, "fit", str(digits), "--out", str(tmp_path / "run"), "--backbone", name) == 2
    assert "non-commercial use only (CC-BY-NC-4.0)" in (said := capsys.readouterr().err)
    assert "--licence any" in said
    assert not (tmp_path / "run").exists()
    with pytest.raises(AssertionError, match="looked for"):
        _main(monkeypatch, "fit", str(digits), "--backbone", name, "--licence", "any")
