"""Fits with other seeds: the mean and its interval, a shared budget, and what is finished is not run again."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from headstart import cli, repeats
from headstart.errors import OptionError, RecordError, RunError
from headstart.planning.options import Options
from headstart.planning.plan import DataIdentity, Plan, Validation
from headstart.records import to_json
from headstart.repeats import FILE, fit_repeatedly, read_repeats, spread_of
from headstart.reporting import terminal
from headstart.runs import Run, find_run
from headstart.runs.budget import Budget, Countdown

OPTIONS = Options(strategy="linear_probe", seed=5)
CLIMBING = dataclasses.replace(OPTIONS, strategy="auto")


class Fits:
    """In the place of single fits: run folders with scores that their seeds give, on a clock that they move."""

    def __init__(self, *, test: str = "given", seconds: float = 10.0, climb: float = 0.0) -> None:
        self.test, self.fixed, self.climb, self.now = test, seconds, climb, 0.0
        self.seeds: list[int] = []
        self.plans: list[Plan | None] = []
        self.budgets: list[float | None] = []
        self.interrupt_at: int | None = None

    def clock(self) -> float:
        return self.now

    def accuracy(self, seed: int) -> float:
        return 0.8 + 0.01 * (seed * 7 % 5)

    def __call__(
        self,
        source: Any,
        options: Options,
        *,
        plan: Plan | None,
        out: Path,
        progress: Any,
        say: Callable[[str], None],
        stop: Callable[[], bool],
        countdown: Countdown | None,
        deliver: Callable[[Run], None] = lambda run: None,
    ) -> Run:
        with Run.create(
            out, "clouds", {"source": str(source), **dataclasses.asdict(options)}, seed=options.seed
        ) as run:
            self.seeds.append(options.seed)
            self.plans.append(plan)
            self.budgets.append(None if countdown is None else countdown.budget.seconds)
            climb = self.climb if countdown is None else min(self.climb, max(0.0, countdown.until_end() - self.fixed))
            self.now += self.fixed + climb
            accuracy = self.accuracy(options.seed)
            test = {"n": 50, "estimate": "held_out_rows", "accuracy": accuracy, "accuracy_ci95": [0.7, 0.95]}
            test |= {"log_loss": 2 - accuracy, "log_loss_ci95": None, "auroc": None, "auroc_ci95": None}
            seconds = {"total": self.fixed + climb, "climb": climb}
            metrics = {"metric": "accuracy", "protocol": {"test": self.test}, "splits": {"test": test}}
            run.write("metrics.json", {**metrics, "seconds": seconds})
            run.write("audit.json", {"images": 250})
            run.write("ladder.json", {"chosen": f"rung {options.seed}", "by_clock": climb < self.climb})
            if options.seed == self.interrupt_at:
                raise KeyboardInterrupt
            deliver(run)
            run.finish()
        return run


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    found = Fits()
    monkeypatch.setattr(repeats, "fit", found)
    return found


def test_the_record_has_every_fit_and_the_mean_with_its_interval(fits: Fits, tmp_path: Path) -> None:
    run = fit_repeatedly("clouds", OPTIONS, 4, out=tmp_path / "run")
    assert find_run(run.folder).record.seed == 5
    record = read_repeats(run.path(FILE))
    assert [one.seed for one in record.repeats] == fits.seeds == [5, 6, 7, 8]
    assert [one.folder for one in record.repeats] == [".", *(f"repeats/seed-{seed}" for seed in (6, 7, 8))]
    assert [one.chosen for one in record.repeats] == [f"rung {seed}" for seed in fits.seeds]
    assert all(find_run(run.folder / one.folder).record.seed == one.seed for one in record.repeats)
    accuracy, values = record.scores["accuracy"], [fits.accuracy(seed) for seed in fits.seeds]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert accuracy.ci95 == (pytest.approx(low), pytest.approx(high))
    assert (accuracy.mean, accuracy.sd) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert (accuracy.lowest, accuracy.highest, accuracy.repeats) == (min(values), max(values), 4)
    assert set(record.scores) == {"accuracy", "log_loss"}  # one that is nowhere defined has no mean
    assert record.test_to_train == 0
    assert "not which images test" in record.covers


def test_each_fit_follows_the_plan_with_its_own_seed(fits: Fits, tmp_path: Path) -> None:
    judged, data = Validation("folds", 5, 1, grouped=False), DataIdentity("clouds", 300, 3, "0" * 64)
    plan = Plan(
        1, data, "lite0", 9, 96, "crop", "accuracy", "linear_probe", (), judged, "5m", "fast", None, None, 5, ()
    )
    fit_repeatedly("clouds", CLIMBING, 3, plan=plan, out=tmp_path / "run")
    assert fits.seeds == [5, 6, 7]
    assert [dataclasses.replace(found, decisions=()) for found in fits.plans] == [
        dataclasses.replace(plan, seed=seed) for seed in fits.seeds
    ]
    assert fits.budgets[0] == pytest.approx(100, abs=1), "a third of the plan's budget"


def test_where_the_test_is_drawn_anew_the_interval_is_widened(fits: Fits, tmp_path: Path) -> None:
    same = read_repeats(fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "same").path(FILE))
    fits.test = "held_out"
    anew = read_repeats(fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "anew").path(FILE))
    assert anew.test_to_train == 50 / 200
    widths = [np.diff(record.scores["log_loss"].ci95 or (0, 0))[0] for record in (same, anew)]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt((1 / 3 + 1 / 4) / (1 / 3)))
    assert "Nadeau and Bengio" in anew.covers


def test_the_corrected_interval_holds_the_truth_where_the_plain_one_does_not() -> None:
    """The mean of a normal variable, by 10 random splits of 50 rows: scores of splits overlap as those of fits do."""
    rng = np.random.default_rng(0)
    hits = {0.0: 0, 0.25: 0}
    for _ in range(300):
        rows = rng.normal(0.5, 0.1, 50)
        scores = [float(rng.choice(rows, 10, replace=False).mean()) for _ in range(10)]
        for ratio in hits:
            low, high = spread_of(scores, test_to_train=ratio).ci95 or (0, 0)
            hits[ratio] += low <= 0.5 <= high
    assert hits[0.0] < 0.85 * 300
    assert 0.9 * 300 < hits[0.25] < 0.995 * 300


def test_an_interval_stays_in_the_range_of_its_score_and_one_fit_has_none() -> None:
    assert spread_of([0.99, 1.0, 1.0], test_to_train=0.25).ci95 == (pytest.approx(0.977, abs=0.005), 1.0)
    assert (spread_of([0.9, 3.0], test_to_train=0.0, most=math.inf).ci95 or (0, 0))[1] > 3
    agreed = spread_of([0.8, 0.8], test_to_train=0.0)
    assert (agreed.sd, agreed.ci95) == (0.0, None), "two fits that happen to agree don't show that a third would"
    alone = spread_of([0.9], test_to_train=0.0)
    assert (alone.sd, alone.ci95, alone.lowest, alone.highest) == (None, None, 0.9, 0.9)


def test_fits_that_the_time_cut_short_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Fits(climb=20.0)
    monkeypatch.setattr(repeats, "fit", fits)
    countdown = Countdown(Budget(75.0), 0.0, 0.0, fits.clock)
    run = fit_repeatedly("clouds", CLIMBING, 3, out=tmp_path / "run", countdown=countdown)
    (note,) = read_repeats(run.path(FILE)).notes
    assert note.startswith("3 of 3 fits had no time for all that they would have tried")


def test_one_fit_is_an_ordinary_one_and_none_is_refused(fits: Fits, tmp_path: Path) -> None:
    run = fit_repeatedly("clouds", CLIMBING, 1, out=tmp_path / "run", countdown=Countdown.from_now(Budget(60.0)))
    assert not run.path(FILE).exists()
    assert not run.path("repeats").exists()
    assert fits.budgets == [60.0]
    for wrong in (0, -3):
        with pytest.raises(OptionError, match=f"{wrong} repeats are no fit"):
            fit_repeatedly("clouds", OPTIONS, wrong, out=tmp_path / "other")


def test_what_is_finished_is_not_run_again(fits: Fits, tmp_path: Path) -> None:
    fits.interrupt_at = 7
    with pytest.raises(KeyboardInterrupt):
        fit_repeatedly("clouds", OPTIONS, 4, out=tmp_path / "run")
    assert len(read_repeats(tmp_path / "run" / FILE).repeats) == 2
    with pytest.raises(RunError, match="interrupted"):
        find_run(tmp_path / "run")
    fits.interrupt_at, fits.seeds = None, []
    run = fit_repeatedly("clouds", OPTIONS, 4, out=tmp_path / "run")
    assert fits.seeds == [5, 7, 8]
    assert [one.seed for one in read_repeats(run.path(FILE)).repeats] == [5, 6, 7, 8]
    whole = fit_repeatedly("clouds", OPTIONS, 4, out=tmp_path / "whole")
    assert to_json(read_repeats(whole.path(FILE))) == to_json(read_repeats(run.path(FILE)))


def test_a_finished_fit_of_another_request_is_not_taken_for_ours(fits: Fits, tmp_path: Path) -> None:
    fits.interrupt_at = 7
    with pytest.raises(KeyboardInterrupt):
        fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run")
    fit_repeatedly("clouds", dataclasses.replace(OPTIONS, metric="auroc", seed=6), 1, out=tmp_path / "foreign")
    shutil.rmtree(tmp_path / "run/repeats/seed-6")
    shutil.move(tmp_path / "foreign", tmp_path / "run/repeats/seed-6")
    with pytest.raises(RunError, match="seed-6 holds a fit of another request"):
        fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run")


def test_each_fit_gets_an_equal_part_of_what_is_left(fits: Fits, tmp_path: Path) -> None:
    fits.climb = 1000.0
    countdown = Countdown.from_now(Budget(130.0), fits.clock)
    fits.now = 10.0  # imports
    fit_repeatedly("clouds", CLIMBING, 4, out=tmp_path / "run", countdown=countdown)
    assert fits.budgets == [30.0, 30.0, 30.0, 30.0]
    assert fits.now == 130.0
    fits.budgets, fits.climb, fits.now = [], 5.0, 0.0
    countdown = Countdown.from_now(Budget(120.0), fits.clock)
    fit_repeatedly("clouds", CLIMBING, 3, out=tmp_path / "quick", countdown=countdown)
    assert fits.budgets == [40.0, 52.5, 90.0]  # what one leaves is the others'
    fits.budgets = []
    fit_repeatedly("clouds", CLIMBING, 2, out=tmp_path / "free", countdown=Countdown.from_now(Budget(None), fits.clock))
    assert fits.budgets == [None, None]


def test_after_an_interruption_the_finished_ones_have_no_part(fits: Fits, tmp_path: Path) -> None:
    fits.interrupt_at = 7
    for seconds in (90.0, 60.0):
        fits.budgets, fits.now = [], 0.0
        countdown = Countdown.from_now(Budget(seconds), fits.clock)
        with pytest.raises(KeyboardInterrupt):
            fit_repeatedly("clouds", CLIMBING, 3, out=tmp_path / "run", countdown=countdown)
    assert fits.budgets == [30.0, 50.0]


def test_a_fit_that_would_not_end_in_time_is_left_out_and_that_is_said(fits: Fits, tmp_path: Path) -> None:
    said: list[str] = []
    countdown = Countdown.from_now(Budget(25.0), fits.clock)
    run = fit_repeatedly("clouds", CLIMBING, 5, out=tmp_path / "run", say=said.append, countdown=countdown)
    assert fits.now == 20.0
    record = read_repeats(run.path(FILE))
    assert (record.asked, len(record.repeats)) == (5, 2)
    assert record.notes == (said[-1],)
    assert "3 of 5 fits were left out" in said[-1]
    fits.now = 0.0
    spent = Countdown(Budget(5.0), -10.0, 3.0, fits.clock)
    alone = fit_repeatedly("clouds", CLIMBING, 3, out=tmp_path / "spent", countdown=spent)
    assert read_repeats(alone.path(FILE)).scores["accuracy"].ci95 is None


def test_whoever_asks_to_stop_is_heard_between_fits(fits: Fits, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run", stop=lambda: len(fits.seeds) == 2)
    fits.seeds = []
    fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run")
    assert fits.seeds == [5, 7]


def test_it_is_delivered_once_when_all_is_written(fits: Fits, tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def deliver(run: Run) -> None:
        seen.append((len(read_repeats(run.path(FILE)).repeats), run.record.state))

    fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run", deliver=deliver)
    assert seen == [(3, "running")]


def test_lines_of_a_fit_say_which_one(fits: Fits, tmp_path: Path) -> None:
    said: list[str] = []
    fit_repeatedly("clouds", OPTIONS, 2, out=tmp_path / "run", say=said.append)
    assert said == ["fit 2 of 2, seed 6, begins"]


def test_the_record_is_strict(fits: Fits, tmp_path: Path) -> None:
    path = fit_repeatedly("clouds", OPTIONS, 2, out=tmp_path / "run").path(FILE)
    path.write_text(json.dumps({**json.loads(path.read_text()), "luck": 1}))
    with pytest.raises(RecordError, match="luck"):
        read_repeats(path)


def test_the_terminal_has_a_line_a_score(
    fits: Fits, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fit_repeatedly("clouds", OPTIONS, 3, out=tmp_path / "run").path(FILE)
    terminal.show_repeats(path)
    shown = capsys.readouterr().out
    found = read_repeats(path).scores["accuracy"]
    line = next(line for line in shown.splitlines() if line.startswith("accuracy"))
    assert found.ci95 is not None
    for value in (found.mean, *found.ci95, found.lowest, found.highest):
        assert f"{value:.3f}" in line
    assert "mean of 3 fits" in shown
    assert "AUROC" not in shown
    assert "not which images test" in shown


@pytest.mark.parametrize("wrong", ["0", "-1", "two"])
def test_the_command_refuses_what_is_no_number_of_fits(wrong: str) -> None:
    assert CliRunner().invoke(cli.app, ["fit", "x", "--repeats", wrong]).exit_code == 2


def test_the_command_shows_the_spread_beside_the_run_and_json_stays_what_it_was(
    fits: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "show_run", lambda folder: None)
    arguments = ["fit", "clouds", "--strategy", "linear_probe", "--repeats", "3", "--out"]
    shown = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "run"), "--json"])
    assert shown.exit_code == 0, repr(shown.exception)
    assert json.loads(shown.stdout) == json.loads((tmp_path / "run/metrics.json").read_text())
    assert fits.seeds == [0, 1, 2]
    spread: list[Path] = []
    monkeypatch.setattr(terminal, "show_repeats", spread.append)
    assert CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "other")]).exit_code == 0
    assert spread == [tmp_path / "other" / FILE]


@pytest.mark.real
@pytest.mark.usefixtures("warm")
def test_real_fits_differ_by_their_splits_and_share_the_features(digits: Path, tmp_path: Path) -> None:
    run = fit_repeatedly(digits, Options(strategy="linear_probe"), 3, out=tmp_path / "run")
    record = read_repeats(run.path(FILE))
    assert (record.test, record.test_to_train) == ("held_out", 60 / 240)
    assert len({one.scores["log_loss"] for one in record.repeats}) == 3
    assert json.loads(run.path("metrics.json").read_text())["seed"] == 0
    first = json.loads(run.path("metrics.json").read_text())["splits"]["test"]
    assert record.repeats[0].scores["accuracy"] == first["accuracy"]
    assert {"accuracy", "macro_f1", "auroc", "log_loss", "ece"} <= set(record.scores)
    assert (run.path("repeats") / "seed-2" / "report.html").is_file()
