"""Conditions and orders over runs: numbers as numbers, what is lacking last, and nothing that is executed."""

from __future__ import annotations

import pytest

from headstart.errors import OptionError
from headstart.runs.query import Condition, order, select, value_of
from headstart.runs.summary import RunSummary

RUNS = [
    RunSummary("a", "finished", data="/data/ants", strategy="full", seconds=9.0, scores={"test_accuracy": 0.9}),
    RunSummary("b", "finished", data="/data/bees", strategy="linear_probe", seconds=10.0,
               scores={"test_accuracy": 0.95}, intervals={"test_accuracy": (0.9, 0.98)}, options={"auto": True},
               made_with={"scikit-learn": "1.9"}),
    RunSummary("c", "interrupted", data="/data/Ants", strategy="auto"),
]  # fmt: skip


def names(*conditions: str) -> str:
    return "".join(run.name for run in select(RUNS, [Condition.parse(text) for text in conditions]))


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [("test_accuracy>0.9", "b"), ("test_accuracy >= 0.9", "ab"), (" test_accuracy = .90 ", "a"), ("seconds<10", "a"),
     ("test_accuracy!=0.9", "b"), ("test_accuracy_low>=0.9", "b"), ("strategy=linear_probe", "b"), ("data~ants", "ac"),
     ("state==interrupted", "c"), ("auto=yes", "b"), ("scikit-learn=1.9", "b"), ("seconds~9", "a"), ("name>a", "bc"),
     ("strategy=' OR 1=1; DROP TABLE entries; --", ""), ("data~%", ""), ("seconds>nan", ""), ("seconds>ten", "")],
)  # fmt: skip
def test_a_condition_keeps_what_passes(condition: str, wanted: str) -> None:
    assert names(condition) == wanted


def test_every_condition_must_hold() -> None:
    assert names("data~ants", "seconds<10") == "a"
    assert names() == "abc"


@pytest.mark.parametrize("text", ["", "seconds", ">3", "seconds > ", "sec;onds>3", "a b'c=1", "=", "seconds >< 3"])
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    if text in ("seconds > ", "seconds >< 3"):  # compared with a text, which no number is
        assert names(text) in ("", "ab")
        return
    with pytest.raises(OptionError, match="write for example"):
        Condition.parse(text)


def test_an_unknown_field_is_refused_with_those_that_are_near() -> None:
    with pytest.raises(OptionError, match="'test_acuracy'; known are for example test_accuracy"):
        names("test_acuracy>0.9")
    with pytest.raises(OptionError, match="no run has 'nosuch'"):
        order(RUNS, "-nosuch")
    assert select([], [Condition.parse("nosuch>1")]) == []


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [("-test_accuracy", "bac"), ("test_accuracy", "abc"), ("-seconds", "bac"), ("strategy", "cab"),
     ("data,-name", "cab")],
)  # fmt: skip
def test_runs_that_lack_the_field_come_last_either_way(fields: str, wanted: str) -> None:
    assert "".join(run.name for run in order(RUNS, fields)) == wanted


def test_a_field_has_one_meaning() -> None:
    run = RunSummary("a", "finished", strategy="full", options={"strategy": "auto"})
    assert value_of(run, "strategy") == "full"
