"""The benchmark of regret: its samples, its scores on made-up numbers, its order of work and its tables."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def bench() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        yield


@pytest.fixture
def scores(bench: None) -> ModuleType:
    return importlib.import_module("regret_scores")


@pytest.fixture
def samples(bench: None) -> ModuleType:
    return importlib.import_module("regret_samples")


@pytest.fixture
def regret(bench: None) -> ModuleType:
    return importlib.import_module("regret")


@pytest.fixture
def priors(bench: None) -> ModuleType:
    return importlib.import_module("regret_prior")


@pytest.fixture
def tables(bench: None) -> ModuleType:
    return importlib.import_module("regret_report")


def rows(*accuracies: float, seeds: int = 3, count: int = 1000) -> np.ndarray:
    """Rungs that are right on exactly such shares of rows, each on rows drawn for itself: (K, S, N)."""
    generator = np.random.default_rng(1)
    order = np.argsort(generator.random((len(accuracies), seeds, count)), axis=2)
    return order < np.array(accuracies)[:, None, None] * count


# ---- scores ------------------------------------------------------------------------------------------------------


def test_the_best_rung_has_no_regret_and_another_has_the_difference(scores: ModuleType) -> None:
    right = rows(0.80, 0.90, 0.85)
    halves = scores.halvings(np.arange(1000), 5)
    assert scores.regret(right, right[1], halves) == pytest.approx(0.0, abs=1e-9)
    # Each half chooses once and judges once, so that every row counts alike and the difference comes out exactly.
    assert scores.regret(right, right[0], halves) == pytest.approx(10.0)
    assert scores.regret(right, right[2], halves) == pytest.approx(5.0)


def test_a_policy_above_every_rung_has_a_negative_regret(scores: ModuleType) -> None:
    right = rows(0.80, 0.90)
    policy = rows(0.93)[0]
    assert scores.regret(right, policy, scores.halvings(np.arange(1000), 5)) == pytest.approx(-3.0)


def test_the_luckiest_of_equal_rungs_is_no_oracle(scores: ModuleType) -> None:
    """Picked and scored on the same 150 rows, the best of six equal rungs looks better; halved, it doesn't."""
    generator = np.random.default_rng(7)
    naive, halved = [], []
    for _ in range(200):
        right = generator.random((6, 1, 150)) < 0.85
        naive.append(100 * (right.mean(axis=(1, 2)).max() - right[0].mean()))
        halved.append(scores.regret(right, right[0], scores.halvings(np.arange(150), 5)))
    assert np.mean(naive) > 2.0
    assert abs(np.mean(halved)) < 4 * np.std(halved) / np.sqrt(200)


def test_the_oracle_is_chosen_on_the_mean_of_the_seeds(scores: ModuleType) -> None:
    """A rung that is perfect with one seed and poor with two is not the best."""
    lucky = np.concatenate([np.ones((1, 400), bool), rows(0.5, seeds=2, count=400)[0]])
    steady = rows(0.8, count=400)[0]
    halves = scores.halvings(np.arange(400), 5)
    assert scores.regret(np.stack([lucky, steady]), steady, halves) == pytest.approx(0.0)


def test_halves_keep_groups_whole_and_come_out_the_same_again(scores: ModuleType) -> None:
    groups = np.repeat(np.arange(40), 3)
    halves = scores.halvings(groups, 5)
    assert len(halves) == 5
    for half in halves:
        assert half.sum() == 60
        assert all(len(set(half[groups == group])) == 1 for group in range(40))
    assert len({half.tobytes() for half in halves}) == 5
    assert all((a == b).all() for a, b in zip(halves, scores.halvings(groups, 5), strict=True))
    with pytest.raises(ValueError, match="can't be halved"):
        scores.halvings(np.zeros(9, int), 5)


def test_the_error_of_a_gain_is_that_of_paired_rows(scores: ModuleType) -> None:
    """One seed: the standard error of the mean of the differences; their pairs in groups of two alike count once."""
    generator = np.random.default_rng(3)
    policy, probe = generator.random((2, 1, 300)) < np.array([0.9, 0.8])[:, None, None]
    mean, error = scores.gain(policy, probe, np.arange(300))
    differences = 100 * (policy[0].astype(float) - probe[0])
    assert mean == pytest.approx(differences.mean())
    assert error == pytest.approx(differences.std(ddof=1) / np.sqrt(300), rel=1e-9)
    twice = [np.repeat(one, 2, axis=1) for one in (policy, probe)]
    assert scores.gain(*twice, np.repeat(np.arange(300), 2)) == pytest.approx((mean, error))


def test_the_error_of_a_gain_knows_that_seeds_differ(scores: ModuleType) -> None:
    probe = np.zeros((2, 100), bool)
    policy = np.stack([np.ones(100, bool), np.zeros(100, bool)])  # 100 points with one seed, none with the other
    mean, error = scores.gain(policy, probe, np.arange(100))
    assert mean == pytest.approx(50.0)
    assert error == pytest.approx(50.0)


def cell(scores: ModuleType, name: str, *accuracies: float, seconds: tuple[float, ...], ladder: int) -> Any:
    right = rows(*accuracies)
    spent = np.tile(np.array(seconds)[:, None], (1, 3))
    rungs = tuple(f"rung {k}" for k in range(len(accuracies)))
    return scores.Cell(name, "40", (0, 1, 2), rungs, right, right[ladder], np.arange(1000), spent, spent[ladder])


def test_a_cell_knows_its_regrets_and_its_share_of_the_time(scores: ModuleType) -> None:
    found = cell(scores, "a", 0.7, 0.9, seconds=(10.0, 30.0), ladder=0)
    assert found.regret() == pytest.approx(20.0)
    assert found.regret_of("rung 1") == pytest.approx(0.0)
    assert found.share() == pytest.approx(0.25)


def test_cells_of_one_data_set_are_not_taken_for_many(scores: ModuleType) -> None:
    cells = [cell(scores, name, 0.7, 0.9, seconds=(1.0, 1.0), ladder=0) for name in ("a", "a", "b", "b")]
    mean, error = scores.mean_over_sets(cells, [0.0, 0.0, 2.0, 2.0])
    assert (mean, error) == (pytest.approx(1.0), pytest.approx(1.0))  # as of the two means 0 and 2
    assert np.isnan(scores.mean_over_sets(cells[:2], [0.0, 1.0])[1])


def test_forecasts_are_judged_against_the_real_seconds(scores: ModuleType) -> None:
    assert scores.relative_errors([8.0, 12.0], [10.0, 10.0]) == pytest.approx([-0.2, 0.2])


def test_bits_come_back(scores: ModuleType) -> None:
    assert scores.to_bits([True, False, True]) == "101"
    assert scores.from_bits("101").tolist() == [True, False, True]


# ---- samples -----------------------------------------------------------------------------------------------------


def images(samples: ModuleType, classes: int, each: int, together: int = 1) -> list[Any]:
    return [
        samples.Image(f"set/{label}/{number}.jpg", str(label), f"{label}/{number // together}")
        for label in range(classes)
        for number in range(each)
    ]


def test_a_held_out_test_shares_no_group_with_the_samples(samples: ModuleType) -> None:
    pool = samples.hold_out(images(samples, 3, 90, together=4))
    assert not {image.group for image in pool.train} & {image.group for image in pool.test}
    assert len(pool.train) + len(pool.test) == 270
    assert all(36 <= count < 40 for count in Counter(image.label for image in pool.test).values())
    assert pool == samples.hold_out(images(samples, 3, 90, together=4)[::-1])


def test_a_held_out_test_is_limited(samples: ModuleType) -> None:
    pool = samples.hold_out(images(samples, 4, 500))
    assert Counter(image.label for image in pool.test) == {str(label): 100 for label in range(4)}


def test_draws_are_nested_and_differ_by_seed(samples: ModuleType) -> None:
    every = images(samples, 2, 50)
    small, large, other = (samples.draw(every, *wanted) for wanted in ((10, 0), (40, 0), (10, 1)))
    assert set(small) < set(large)
    assert Counter(image.label for image in small) == {"0": 10, "1": 10}
    assert set(small) != set(other)
    assert len(samples.draw(every, 400, 0)) == 100


def test_shuffled_labels_are_the_same_labels_on_other_images(samples: ModuleType) -> None:
    before = samples.draw(images(samples, 4, 25), 25, 0)
    after = samples.shuffled(before, 0)
    assert [image.file for image in after] == [image.file for image in before]
    assert Counter(image.label for image in after) == Counter(image.label for image in before)
    kept = np.mean([a.label == b.label for a, b in zip(before, after, strict=True)])
    assert kept < 0.5  # by chance a quarter


def folders(root: Path, where: str, *names: str) -> None:
    for name in names:
        file = root / where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_data_set_keeps_its_own_test(samples: ModuleType, tmp_path: Path) -> None:
    folders(tmp_path, "mine", "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.png", "val/b/notes.txt")
    pool = samples.pool_of(tmp_path, "mine")
    assert [image.file for image in pool.train] == ["mine/train/a/1.jpg", "mine/train/b/2.jpg"]
    assert [image.file for image in pool.test] == ["mine/val/a/3.jpg", "mine/val/b/4.png"]
    with pytest.raises(FileNotFoundError, match="other"):
        samples.pool_of(tmp_path, "other")


def test_only_sketches_are_grouped_by_photograph(samples: ModuleType, tmp_path: Path) -> None:
    names = [f"dog/p{photo}-{drawing}.jpg" for photo in range(10) for drawing in range(3)]
    folders(tmp_path, "pacs/sketch", *names)
    folders(tmp_path, "mri", *names)
    pool = samples.pool_of(tmp_path, "pacs/sketch")
    assert {image.group for image in (*pool.train, *pool.test)} == {f"dog/p{photo}" for photo in range(10)}
    samples.write_table(tmp_path / "t.csv", tmp_path, pool.train, pool.test)
    assert (tmp_path / "t.csv").read_text().startswith("image,label,split,group\n")
    other = samples.pool_of(tmp_path, "mri")
    assert len({image.group for image in (*other.train, *other.test)}) == 30
    samples.write_table(tmp_path / "t.csv", tmp_path, other.train, other.test)
    head, *lines = (tmp_path / "t.csv").read_text().splitlines()
    assert head == "image,label,split"
    assert Counter(line.split(",")[2] for line in lines) == {"train": 18, "test": 12}


# ---- order of work -----------------------------------------------------------------------------------------------


def test_what_tells_most_is_run_first(regret: ModuleType, samples: ModuleType) -> None:
    large, small = (samples.Pool(tuple(images(samples, 2, each)), ()) for each in (80, 45))
    pools = {"large": large, "small": small}
    kinds = [*regret.rungs(), "ladder balanced"]
    jobs = list(regret.jobs(pools, ["10", "40", "all"], [0, 1], 400, kinds, "ladder balanced"))
    places = list(dict.fromkeys((job.dataset, job.size, job.seed, job.shuffled) for job in jobs))
    assert places == [
        *((name, size, 0, False) for size in ("10", "40") for name in pools),
        *((name, size, 0, True) for size in ("10", "40") for name in pools),
        *((name, size, 1, False) for size in ("10", "40") for name in pools),
        *(("large", "all", seed, False) for seed in (0, 1)),  # of the small one, 45 are hardly more than 40
    ]
    first = [job.kind for job in jobs[:6]]
    assert first == ["linear_probe", "race", "cut 7", "cut 4", "full", "ladder balanced"]
    assert {job.kind for job in jobs if job.shuffled} == {"ladder balanced"}
    assert len({job.key for job in jobs}) == len(jobs)


def test_second_tries_are_the_cuts_at_a_tenth_of_their_rate(regret: ModuleType) -> None:
    found = regret.retries()
    assert list(found) == ["cut 7 again", "cut 4 again", "full again"]
    assert found["cut 4 again"] == [*regret.rungs()["cut 4"], "--lr", "0.0001"]


def test_second_tries_are_compared_with_the_first(regret: ModuleType) -> None:
    """Gains of 10, 0 and -10 points at first, of 5, 2 and -6 at the second try."""
    accuracies = {"linear_probe": (0.5, 0.5, 0.5), "cut 7": (0.6, 0.5, 0.4), "cut 7 again": (0.55, 0.52, 0.44)}
    runs = {
        f"{kind} {seed}": {**record("a", seed, kind, np.arange(100) < round(100 * value), 1.0), "size": "10"}
        for kind, values in accuracies.items()
        for seed, value in enumerate(values)
    }
    tests = {"a": {"files": [], "groups": list(range(100))}}
    text = regret.report({"tests": tests, "runs": runs}, tuple(regret.rungs()), "balanced")
    line = next(line for line in text.splitlines() if line.startswith("| cut 7 "))
    likeness = np.corrcoef([10, 0, -10], [5, 2, -6])[0, 1]
    assert line == f"| cut 7 | 3 | +0.0 | +0.3 | {likeness:.2f} | 2 | -2.0 |"


def test_a_limit_on_all_is_told_apart_from_all(regret: ModuleType, samples: ModuleType) -> None:
    pools = {"set": samples.Pool(tuple(images(samples, 2, 80)), ())}
    kinds = ["ladder fast"]
    sizes = [{job.size for job in regret.jobs(pools, ["all"], [0], most, kinds, None)} for most in (400, 60, 45)]
    assert sizes == [{"all"}, {"all to 60"}, set()]


def test_results_of_another_test_are_not_mixed(regret: ModuleType, samples: ModuleType) -> None:
    kept: dict[str, Any] = {"tests": {}, "runs": {}}
    regret.keep_test(kept, "set", images(samples, 2, 5), Path("out.json"))
    kept = json.loads(json.dumps(kept))
    regret.keep_test(kept, "set", images(samples, 2, 5), Path("out.json"))
    with pytest.raises(SystemExit, match="another test"):
        regret.keep_test(kept, "set", images(samples, 2, 4), Path("out.json"))


# ---- running -----------------------------------------------------------------------------------------------------


def test_work_goes_on_where_it_stopped(
    regret: ModuleType, samples: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, ran = tmp_path / "out.json", []
    every = images(samples, 2, 20)
    monkeypatch.setattr(regret, "pool_of", lambda data, name: samples.Pool(tuple(every), tuple(every)))
    monkeypatch.setattr(regret.signal, "signal", lambda *wanted: None)
    fails, stops = {"set 10 0 cut 7"}, {"set 10 0 full"}

    def run(job: Any, *others: Any) -> dict[str, Any]:
        ran.append(job.key)
        if job.key in stops:
            raise KeyboardInterrupt
        return {"seconds": 1.0, **({"failed": "exit 1: broken"} if job.key in fails else {"accuracy": 1.0})}

    def main(*more: str) -> None:
        monkeypatch.setattr(regret.sys, "argv", ["regret", "--sets", "set", "--sizes", "10", "--out", str(out), *more])
        ran.clear()
        regret.main()

    monkeypatch.setattr(regret, "run", run)
    monkeypatch.setattr(regret, "prior_of", lambda *wanted: None)
    with pytest.raises(KeyboardInterrupt):
        main("--seeds", "0")
    assert len(json.loads(out.read_text())["runs"]) == 4
    stops.clear()
    main("--seeds", "0")
    assert ran == ["set 10 0 full", "set 10 0 ladder balanced"]  # what failed is not tried again
    fails.clear()
    main("--seeds", "0", "--retry")
    assert ran == ["set 10 0 cut 7"]
    main("--seeds", "0", "--controls", "--quality", "fast")
    assert ran == ["set 10 0 ladder fast", "set 10 0 ladder fast shuffled"]


def test_test_rows_are_read_in_the_order_of_the_table(regret: ModuleType, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [("/d/b.jpg", "test", "x", "x"), ("/d/a.jpg", "test", "x", "y"), ("/d/c.jpg", "validation", "y", "y")]
    columns = dict(zip(("image", "split", "truth", "predicted"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    wanted = [Path("/d/a.jpg"), Path("/d/b.jpg")]
    assert regret.right_rows(tmp_path / "p.parquet", wanted) == [False, True]
    with pytest.raises(ValueError, match="2 images were tested"):
        regret.right_rows(tmp_path / "p.parquet", [*wanted, Path("/d/c.jpg")])


# ---- tables ------------------------------------------------------------------------------------------------------

PROBE = "linear_probe"
RUNGS = (PROBE, "race", "cut 7", "cut 4", "full")


def record(name: str, seed: int, kind: str, right: np.ndarray, seconds: float, **more: Any) -> dict[str, Any]:
    probe = {"strategy": "linear_probe", "cut": 9, "seconds": 1.0, "score": 0.8, "log_loss": 0.5}
    own = {"strategy": kind, "score": 0.95 if kind == "full" else 0.9}  # where it was chosen
    sections = {"fine-tune": seconds - 5} if kind in ("cut 7", "cut 4", "full") else {"climb": seconds}
    return {
        **{"set": name, "size": "40", "seed": seed, "kind": kind, "shuffled": False, "counts": [40] * 5},
        **{"seconds": seconds, "cpu_seconds": 2 * seconds, "sections": sections, "train_groups": 200},
        **{"accuracy": float(right.mean()), "right": "".join(map(str, right.astype(int)))},
        **{"chosen": kind if kind in RUNGS[2:] else PROBE, "steps": [], "reason": "", "tried": [probe, own]},
        **more,
    }


def kept_of(names: tuple[str, ...], seeds: int) -> dict[str, Any]:
    """Everywhere cut 4 is 10 points above the probe, and the ladder takes it."""
    right = rows(0.80, 0.80, 0.86, 0.90, 0.85, 0.90, seeds=seeds, count=200)
    right[-1] = right[3]
    found = {}
    planned = [{"strategy": "partial", "cut": 4, "epochs": 12, "seconds": 30.0, "gain": None}]
    tried = [
        {"strategy": "linear_probe", "cut": 9, "seconds": 1.0, "score": 0.8, "log_loss": 0.5},
        {"strategy": "partial above cut 4", "cut": 4, "seconds": 40.0},
    ]
    for name in names:
        for seed in range(seeds):
            for place, (kind, seconds) in enumerate(zip(RUNGS, (10.0, 10.0, 25.0, 45.0, 110.0), strict=True)):
                found[f"{name} {seed} {kind}"] = record(name, seed, kind, right[place, seed], seconds)
            more = {"chosen": "partial above cut 4", "tried": tried, "planned": planned, "gap": 0.1}
            found[f"{name} {seed} ladder"] = record(name, seed, "ladder balanced", right[-1, seed], 50.0, **more)
    tests = {name: {"files": [str(row) for row in range(200)], "groups": list(range(200))} for name in names}
    return {"tests": tests, "runs": found, "gaps": dict.fromkeys(names, 0.1)}


def test_the_tables_say_what_the_numbers_are(tables: ModuleType) -> None:
    text = tables.report(kept_of(("a", "b", "c"), 3), RUNGS, "balanced")
    assert (
        "| a | 40 | 3 | 200 | 80.0 | 80.0 | 86.0 | 90.0 | 85.0 | 90.0 | +0.00 | 1, 1, 1 | cut 4, cut 4, cut 4 "
        "| 200 | 50 | 25% |"
    ) in text
    assert "| ladder | +0.00 | 0.00 |" in text
    assert "| always linear_probe | +10.00 |" in text
    assert "| always cut 4, the best single cut | +0.00 |" in text
    assert "| the highest score on held-out rows | +5.00 | 0.00 | +5.00 (a, 40) | 100% |" in text
    assert "29% of one process" in text  # 50 of the race's 10 and 20 + 40 + 105 of fine-tuning
    assert "| in the ladder | cut 4 | 9 | 40 | 25% | -25% |" in text
    assert "| by itself | cut 4 | 9 | 40 | 25% | -25% |" in text
    assert "9 gains of 3 data sets" in text
    assert "Failed" not in text


def test_time_is_also_told_of_rungs_alone_that_ran_as_the_ladder_did(tables: ModuleType) -> None:
    kept = kept_of(("a", "b", "c"), 3)
    assert "code and as it did" not in tables.report(kept, RUNGS, "balanced")
    for key, found in kept["runs"].items():
        if found["seed"] > 0 and found["kind"] in RUNGS:
            kept["runs"][key] = {**found, "seconds": 10 * found["seconds"], "slower": "older code"}
    text = tables.report(kept, RUNGS, "balanced")
    once = tables.report(kept_of(("a", "b", "c"), 1), RUNGS, "balanced")
    share = once.partition("The ladder takes ")[2][:3]
    assert "3 samples have rungs that ran with the ladder's code" in text
    assert f"code and as it did. There: The ladder takes {share}" in text
    assert "15 rungs ran both ways: as the ladder does they took 10% of the time." in text
    assert f"If all had been as fast, the ladder would take {share}" in text


def test_a_refit_follows_what_was_gained(tables: ModuleType, priors: ModuleType) -> None:
    """Half of the probe's error of 20 points is removed by cut 4: the middle's share rises from 0.2 towards 0.5."""
    middle = [outcome for outcome in priors.outcomes(kept_of(("a", "b", "c"), 3)) if outcome.reach == "middle"]
    assert [outcome.gain for outcome in middle] == pytest.approx([10.0] * 3)
    assert middle[0].conditions.error == pytest.approx(100 * (200 * 0.2 + 0.5) / 201)
    assert (middle[0].conditions.rows, middle[0].conditions.gap) == (200, pytest.approx(0.1))
    text = tables.report(kept_of(("a", "b", "c"), 3), RUNGS, "balanced")
    line = next(line for line in text.splitlines() if line.startswith("| middle |"))
    before, after = (float(line.split("|")[column]) for column in (2, 4))
    assert before < after < 0.5


def test_a_ladder_climbs_with_a_prior_that_has_not_seen_its_data_set(priors: ModuleType) -> None:
    kept = kept_of(("a", "b", "c"), 3)
    before = priors.fitted_to_others(kept, "a")
    for key in [key for key in kept["runs"] if key.startswith("a ")]:
        kept["runs"][key] = {**kept["runs"][key], "right": "0" * 200}
    assert priors.to_json(priors.fitted_to_others(kept, "a")) == priors.to_json(before)
    assert priors.to_json(priors.fitted_to_others(kept, "b")) != priors.to_json(before)
    assert before.coefficients["middle"].mean > priors.ELICITED.coefficients["middle"].mean
    assert priors.to_json(priors.from_json(priors.to_json(before))) == priors.to_json(before)
    assert priors.fitted_to_others(kept_of(("a", "b"), 3), "a") is priors.ELICITED
    assert priors.outcomes({**kept, "runs": {}}) == []


def test_the_prior_is_the_one_that_the_measurements_give(priors: ModuleType) -> None:
    """What headstart comes with is what is kept beside the bench, to three digits; another refit changes both."""
    found = priors.refit(priors.outcomes(json.loads((BENCH / "data" / "regret.json").read_text()))).table
    for name, known in priors.TABLE.coefficients.items():
        assert (known.mean, known.sd) == pytest.approx(
            (found.coefficients[name].mean, found.coefficients[name].sd), abs=6e-4
        )
    for name in ("shared_sd", "own_sd"):
        assert getattr(priors.TABLE, name) == pytest.approx(getattr(found, name), abs=6e-4)


def test_a_prior_takes_the_place_of_the_one_that_headstart_comes_with(tmp_path: Path, priors: ModuleType) -> None:
    """In a process of its own, as the table is changed for all that refer to it."""
    known = dataclasses.replace(priors.ELICITED, shared_sd=0.123)
    (tmp_path / "prior.json").write_text(priors.to_json(known))
    code = (
        "import regret_prior, sys\n"
        "from headstart.planning.empirical_rules import rungs_rule\n"
        f"regret_prior.use(regret_prior.from_json(open({str(tmp_path / 'prior.json')!r}).read()))\n"
        "print(rungs_rule.__kwdefaults__['table'].shared_sd)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCH, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.123"


def test_what_is_not_complete_or_failed_is_not_scored(tables: ModuleType) -> None:
    kept = kept_of(("a", "b"), 3)
    del kept["runs"]["a 1 ladder"]
    kept["runs"]["a 2 full"] = {**kept["runs"]["a 2 full"], "failed": "exit 1: no room left"}
    results = tables.Kept.of(kept, RUNGS, "balanced")
    assert [(cell.dataset, cell.seeds) for cell in results.cells()] == [("a", (0,)), ("b", (0, 1, 2))]
    text = tables.report(kept, RUNGS, "balanced")
    assert "## Regret where there are 3 seeds" in text
    assert "- a 2 full: `exit 1: no room left`" in text
    assert "Of no data set" in tables.report(kept, RUNGS, "fast")


def test_controls_are_told_apart(tables: ModuleType) -> None:
    kept = kept_of(("a", "b"), 1)
    stays = record("a", 0, "ladder balanced", rows(0.25, seeds=1, count=200)[0, 0], 12.0, shuffled=True)
    climbs = {**kept["runs"]["b 0 ladder"], "shuffled": True}
    kept["runs"] |= {"a shuffled": stays, "b shuffled": climbs}
    text = tables.report(kept, RUNGS, "balanced")
    assert "1 of 2 ladders tried no fine-tuning" in text
    assert "| a | 40 | 0 | balanced | none | linear_probe | 25.0 | 20.0 |" in text
    assert "| b | 40 | 0 | balanced | cut 4 | cut 4 | 90.0 | 20.0 |" in text
    assert len(tables.Kept.of(kept, RUNGS, "balanced").runs) == 12
