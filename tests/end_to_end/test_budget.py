"""A fit within a budget as a user runs it: the plan can be read, edited, followed, and refused."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.imaging import encode
from headstart.planning.plan import PlannedRung, read_plan
from headstart.records import to_json

pytestmark = pytest.mark.real
SMALL = ("--image-size", "64", "--test", "0.25")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty pictures of two classes, which differ in colour."""
    return _draw(tmp_path / "data", range(30))


def _draw(folder: Path, numbers: range) -> Path:
    rng = np.random.default_rng(numbers.start)
    for label, tint in (("blue", (0, 0, 60)), ("red", (60, 0, 0))):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            pixels = rng.integers(0, 120, (8, 8, 3)).repeat(8, 0).repeat(8, 1) + np.array(tint)
            (folder / label / f"{number}.png").write_bytes(encode(pixels.astype(np.uint8)))
    return folder


def test_too_little_time_gives_the_probe_and_a_plan_that_can_be_edited(
    headstart: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    done = headstart("fit", pictures, *SMALL, "--budget", "2s", "--out", "first")
    assert done.code == 0, done.err
    assert "only probes are fitted" in done.err
    ladder = json.loads((work / "first" / "ladder.json").read_text())
    assert ladder["chosen"].startswith(("linear_probe", "prototype"))
    assert "of the budget of 2s are left" in ladder["steps"][0]

    planned = headstart("plan", pictures, *SMALL, "--budget", "1s", "--out", "plan.json")
    assert planned.code == 0, planned.err
    plan = read_plan(work / "plan.json")
    assert plan.rungs == ()
    assert plan.data.images == {"blue": 30, "red": 30}
    rung = PlannedRung("partial", 7, 2, 1, 1e-4, "light", 5.0)
    edited = dataclasses.replace(plan, rungs=(rung,), quality="best", budget="2m")
    (work / "edited.json").write_text(to_json(edited))
    followed = headstart("fit", pictures, *SMALL[2:], "--plan", "edited.json", "--budget", "3m", "--out", "second")
    assert followed.code == 0, followed.err
    assert "usable now: " in followed.err
    kept = read_plan(work / "second" / "plan.json")
    assert (kept.budget, kept.quality, kept.image_size) == ("3m", "best", 64)
    assert [(one.name, one.epochs, one.rate, one.augment) for one in kept.rungs] == [(rung.name, 1, 1e-4, "light")]
    assert kept.rungs[0].seconds != rung.seconds, "measured here, or not yet"
    assert json.loads((work / "second" / "run.json").read_text())["request"]["quality"] == "best"
    assert json.loads((work / "second" / "fingerprint.json").read_text())["images"] == 45
    second = json.loads((work / "second" / "ladder.json").read_text())
    tried = [found["strategy"] for found in second["rungs"]]
    assert rung.name in tried or "too small" in second["steps"][-1]

    changed = json.loads((work / "edited.json").read_text())
    (work / "odd.json").write_text(json.dumps({**changed, "colour": "blue"}))
    (work / "deep.json").write_text(json.dumps({**changed, "rungs": [{**changed["rungs"][0], "cut": 12}]}))
    (work / "judged.json").write_text(json.dumps({**changed, "validation": {**changed["validation"], "repeats": 2}}))
    assert "the plan's validation is 5 folds dealt 2 times" in _refused(headstart, pictures, "judged.json")
    assert "--seed 5 contradicts the plan" in _refused(headstart, pictures, "edited.json", "--seed", "5")
    (pictures / "red" / "0.png").unlink()
    for name, word in (("odd.json", "colour"), ("deep.json", "cut"), ("edited.json", ": 1 image of 'red' fewer; plan")):
        assert word in _refused(headstart, pictures, name, "--budget", "1s"), "though nothing would climb"


def _refused(headstart: Callable[..., Any], pictures: Path, plan: str, *options: str) -> str:
    """The one line that a fit ends with, which leaves no run folder."""
    done = headstart("fit", pictures, *SMALL, "--plan", plan, *options)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert not (pictures.parent / "work" / "runs").exists()
    return str(done.err.strip().splitlines()[-1])


def test_a_plan_says_where_a_fit_would_end_at_its_probes(
    headstart: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    planned = headstart("plan", pictures, "--image-size", "64", "--out", "plan.json", "--budget", "2m")
    assert planned.code == 0, planned.err
    assert "too few images to hold any out as a test" in planned.out
    plan = read_plan(tmp_path / "work" / "plan.json")
    assert plan.rungs == ()
    assert [decision.value for decision in plan.decisions if decision.key == "tuning"] == ["no"]
    ladder = headstart("fit", pictures, "--plan", "plan.json", "--out", "run")
    assert ladder.code == 0, ladder.err
    assert "too few images to hold any out as a test" in ladder.err


def _hard(pictures: Path) -> None:
    """A hundred and eighty pictures more, and labels that can't all be learnt, so that a rung is worth a try."""
    _draw(pictures, range(30, 120))
    for number in range(0, 120, 3):
        (pictures / "blue" / f"{number}.png").rename(pictures / "red" / f"other-{number}.png")


def _with_one_rung(headstart: Callable[..., Any], pictures: Path, path: Path, epochs: int, budget: str) -> None:
    """Write a plan for hard pictures that tries one rung."""
    _hard(pictures)
    planned = headstart("plan", pictures, *SMALL, "--budget", "1s", "--out", path.name)
    assert planned.code == 0, planned.err
    rung = PlannedRung("partial", 7, 2, epochs, 1e-4, "light")
    plan = dataclasses.replace(read_plan(path), rungs=(rung,), quality="best", budget=budget)
    path.write_text(to_json(plan))


def _read(path: Path) -> Any:
    """A record with its numbers to nine digits: where memory lies may shape the last ones of a sum."""
    return json.loads(path.read_text(), parse_float=lambda number: float(f"{float(number):.9g}"))


def test_following_the_plan_that_a_run_leaves_gives_the_same_model(
    headstart: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    _with_one_rung(headstart, pictures, work / "mine.json", 2, "10m")
    found = []
    for given, out in (("mine.json", "once"), ("once/plan.json", "again")):
        done = headstart("fit", pictures, *SMALL, "--plan", given, "--out", out)
        assert done.code == 0, done.err
        kept, metrics, ladder = (_read(work / out / name) for name in ("plan.json", "metrics.json", "ladder.json"))
        (trained,) = (one for one in ladder["rungs"] if one["cut"] == 7)
        (planned_rung,) = kept["rungs"]
        assert planned_rung["precision"] == trained["precision"] is not None
        assert [one["by_clock"] for one in kept["decisions"] if one["key"] == "partial above cut 7.precision"] == [True]
        found.append((trained | {"seconds": 0}, metrics | {"seconds": 0, "evaluation_seconds": 0}))
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_an_interrupted_climb_keeps_the_best_and_finishes(
    headstart: Callable[..., Any], environment: dict[str, str], pictures: Path, tmp_path: Path, kind: signal.Signals
) -> None:
    """A rung that would take hours is ended in its first epochs."""
    work = tmp_path / "work"
    _with_one_rung(headstart, pictures, work / "long.json", 5000, "5h")
    command = [sys.executable, "-m", "headstart.cli", "fit", str(pictures), *SMALL, "--plan", "long.json"]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    # A shell that starts the tests in the background lets its children ignore Ctrl-C.
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    lines = []
    single = {**environment, "OMP_NUM_THREADS": "1"}  # threads would wait for each other beside other work
    with subprocess.Popen([*command, "--out", "run"], cwd=work, env=single, **pipes) as process:
        for line in process.stderr or ():
            lines.append(line)
            if "epoch 2:" in line:
                process.send_signal(kind)
    said = "".join(lines)
    assert "usable now: " in said, said
    assert process.returncode == 0, said
    ladder = json.loads((work / "run" / "ladder.json").read_text())
    assert "was interrupted" in ladder["steps"][-1]
    assert ladder["chosen"].startswith(("linear_probe", "prototype"))
    assert json.loads((work / "run" / "metrics.json").read_text())["splits"]["test"]["n"] == 60
    assert json.loads((work / "run" / "run.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("options", "word"),
    [(("--budget", "5"), "no unit"), (("--budget", "1m", "--strategy", "full"), "leave out --strategy full")],
)
def test_what_can_not_be_is_refused_in_one_line(
    headstart: Callable[..., Any], pictures: Path, options: tuple[str, ...], word: str
) -> None:
    done = headstart("fit", pictures, *options)
    assert done.code == 2
    assert word in done.err
