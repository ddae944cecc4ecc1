"""`headstart runs` as a person types it: lists, filters, one run, comparisons, deletion, and what is wrong."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from headstart.cli import app
from headstart.errors import OptionError, RunError
from headstart.runs.index import list_runs

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun) -> Path:
    """A folder with three runs: the latest interrupted, the first edited."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    make_run(Path("runs/ants-1"), accuracy=0.8, started="2026-03-01T10:00:00+00:00")
    make_run(Path("runs/ants-2"), accuracy=0.9, started="2026-03-02T10:00:00+00:00", seed=1, strategy="full", epochs=9)
    make_run(Path("runs/bees-1"), state="running", started="2026-03-03T10:00:00+00:00", data="/data/bees")
    return tmp_path


def run(*words: str, answer: str | None = None) -> str:
    done = CliRunner().invoke(app, ["runs", *words], input=answer)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def listed(*words: str) -> list[str]:
    return [row["name"] for row in json.loads(run("--json", *words))]


def edit(path: str, **values: Any) -> None:
    Path(path).write_text(json.dumps({**json.loads(Path(path).read_text()), **values}))


def test_the_list_has_a_line_a_run() -> None:
    heading, *lines = run().splitlines()
    assert " ".join(heading.split()) == "run data strategy cut backbone test accuracy validation seconds started"
    assert [line.split()[0] for line in lines] == ["bees-1", "ants-2", "ants-1"]
    assert "interrupted" in lines[0]
    assert lines[1].split()[1:8] == ["ants", "full", "9/9", "lite", "0.900", "0.850–0.950", "0.900"]


def test_nothing_to_list_is_said_and_nothing_is_made() -> None:
    assert run("--folder", "elsewhere") == "no runs\n"
    assert run("--folder", "elsewhere", "--where", "nosuch>1") == "no runs\n"
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [([], ["bees-1", "ants-2", "ants-1"]), (["--data", "ANTS"], ["ants-2", "ants-1"]),
     (["--strategy", "full"], ["ants-2"]), (["--sort", "started", "--limit", "1"], ["ants-1"]),
     (["--where", "test_accuracy>0.85"], ["ants-2"]), (["--where", "test_accuracy>0", "--where", "seed=0"], ["ants-1"]),
     (["--sort", "-test_accuracy"], ["ants-2", "ants-1", "bees-1"])],
)  # fmt: skip
def test_lists_are_filtered_sorted_and_cut_short(words: list[str], wanted: list[str]) -> None:
    assert listed(*words) == wanted


def test_a_list_that_is_cut_short_says_so() -> None:
    assert "and 2 more; --limit 3 shows them all" in run("--limit", "1")


def test_what_is_asked_about_gets_a_column() -> None:
    heading, *lines = run("--sort", "-test_log_loss", "--where", "epochs>1").splitlines()
    assert "epochs" in heading
    assert "test_log_loss" in heading
    assert "0.1" in lines[0].split()


def test_what_is_wrong_is_said_below() -> None:
    edit("runs/ants-1/metrics.json", splits={})
    Path("runs/ants-2/report.html").unlink()
    Path("runs/ants-2/audit.json").unlink()
    text = run()
    assert "• ants-1: metrics.json was changed after the run had finished" in text
    assert "• ants-2: audit.json is missing, and 1 other problem" in text


def test_names_cannot_write_on_the_terminal(make_run: MakeRun) -> None:
    make_run(Path("runs/\x1b[2Jgone\nfake [bold]"), data="/data/\x1b]0;title\x07")
    text = run() + run("show", "\x1b[2Jgone\nfake [bold]")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "fake [bold]" in text


def test_one_run_is_shown_whole() -> None:
    text = run("show", "ants-2")
    for part in ("runs/ants-2  finished", "/data/ants", "headstart fit /data/ants", "epochs", "numpy", "report.html"):
        assert part in text
    assert ["accuracy", "0.900", "0.850–0.950", "0.900", "0.850–0.950"] in [line.split() for line in text.splitlines()]
    assert json.loads(run("show", "runs/ants-2", "--json"))["scores"]["test_accuracy"] == 0.9


def test_a_run_of_a_newer_headstart_is_shown_with_what_can_be_read() -> None:
    edit("runs/ants-2/run.json", schema=3, more="unknown")
    assert "run.json was written by a newer headstart (schema 3, known is 1)" in run("show", "ants-2")
    assert "0.900" in run("show", "ants-2")


@pytest.mark.parametrize("command", ["show", "delete"])
@pytest.mark.parametrize("name", ["nosuch", ".", "/", "runs", "", "../runs"])
def test_what_is_no_run_is_refused(command: str, name: str) -> None:
    with pytest.raises(RunError):
        run(command, name)
    assert len(listed()) == 3


def test_runs_are_compared_side_by_side() -> None:
    text = run("compare", "ants-1", "ants-2")
    lines = [line.split() for line in text.splitlines()]
    assert ["strategy", "linear_probe", "full"] in lines
    assert ["epochs", "–", "9"] in lines
    assert ["test", "accuracy", "0.800", "0.750–0.850", "0.900", "0.850–0.950", "+0.100"] in lines
    assert "numpy" not in text
    assert "can't be compared" not in text


def test_three_runs_have_no_difference(make_run: MakeRun) -> None:
    make_run(Path("runs/ants-3"), accuracy=0.7)
    found = json.loads(run("compare", "ants-1", "ants-2", "ants-3", "--json"))
    (row,) = (row for row in found["scores"] if row["name"] == "test_accuracy")
    assert (row["values"], row["difference"]) == ([0.8, 0.9, 0.7], None)


@pytest.mark.parametrize(
    ("change", "note"),
    [({"task": "multilabel"}, "of different tasks"), ({"classes": ["bee", "ant"]}, "different classes"),
     ({"protocol": {"test": "held_out"}}, "tested on different images")],
)  # fmt: skip
def test_what_speaks_against_a_comparison_is_said(change: dict[str, Any], note: str) -> None:
    edit("runs/ants-1/metrics.json", **change)
    assert note in run("compare", "ants-1", "ants-2")


def test_other_data_and_unfinished_runs_are_said(make_run: MakeRun) -> None:
    make_run(Path("runs/bees-2"), data="/data/bees")
    assert "fitted on different data" in run("compare", "ants-1", "bees-2")
    assert "bees-1 is interrupted: it has no scores yet" in run("compare", "ants-1", "bees-1")


def test_a_comparison_needs_two() -> None:
    with pytest.raises(RunError, match="needs two"):
        run("compare", "ants-1")


@pytest.mark.parametrize("there", [True, False])
def test_the_test_of_a_difference_is_named_if_there_is_one(there: bool) -> None:
    whole = typer.Typer()
    whole.add_typer(_runs(), name="runs")
    whole.command(name="compare" if there else "other")(lambda: None)
    text = CliRunner().invoke(whole, ["runs", "compare", "ants-1", "ants-2"]).output
    assert text.splitlines()[-1].endswith("headstart compare runs/ants-1 runs/ants-2") == there


def _runs() -> typer.Typer:
    from headstart.cli.runs import app as runs

    return runs


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("n\n", 3), ("", 3)])
def test_runs_are_deleted_after_asking(answer: str, left: int) -> None:
    text = run("delete", "ants-1", "runs/bees-1", answer=answer)
    assert "8 files" in text
    assert "metrics.json" in text
    assert len(listed()) == left
    assert len(list(Path("runs").glob("[!.]*"))) == left


def test_nobody_is_asked_with_yes() -> None:
    assert "Delete" not in run("delete", "--yes", "ants-1")
    assert listed() == ["bees-1", "ants-2"]


def test_all_are_looked_at_before_the_first_is_deleted() -> None:
    with pytest.raises(RunError):
        run("delete", "--yes", "ants-1", "nosuch")
    assert len(list_runs(Path("runs"))) == 3


def test_a_run_that_is_named_twice_is_deleted_once() -> None:
    run("delete", "--yes", "ants-1", "runs/ants-1")
    assert listed() == ["bees-1", "ants-2"]


def test_a_list_imports_no_heavy_package() -> None:
    heavy = {"torch", "openvino", "mlflow", "pyarrow", "sklearn", "scipy", "matplotlib"}
    script = "import sys; from headstart.cli import app; app(['runs'], standalone_mode=False);"
    script += f"print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "ants-2" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_conditions_that_make_no_sense_are_refused() -> None:
    for words in (["--where", "accuracy"], ["--where", "nosuch>1"], ["--sort", "nosuch"]):
        with pytest.raises(OptionError):
            run(*words)


def test_quoted_names_find_their_runs(make_run: MakeRun) -> None:
    for name in ("with space", "quo'te", "日本", "a;rm -rf x"):
        make_run(Path("runs") / name)
        (word,) = shlex.split(shlex.quote(name))
        assert f"runs/{name}  finished" in run("show", word)
        run("delete", "--yes", word)
        assert not (Path("runs") / name).exists()
