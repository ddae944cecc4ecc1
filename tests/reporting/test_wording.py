"""Numbers and names as a person reads them."""

from __future__ import annotations

import pytest

from headstart.reporting.wording import (
    interval_text,
    listed,
    plain_names,
    score_text,
    seconds_text,
    shorten,
    strategy_text,
)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.9543, "95.4%"),
        ("macro_f1", 0.9543, "0.954"),
        ("log_loss", 1.23456, "1.235"),
        ("auroc", None, "–"),
    ],
)
def test_scores_are_written_as_their_metric_usually_is(metric: str, value: float | None, text: str) -> None:
    assert score_text(metric, value) == text


def test_an_interval_names_its_unit_once() -> None:
    assert interval_text("accuracy", (0.9, 0.975)) == "90.0 to 97.5%"
    assert interval_text("macro_f1", (0.9, 0.975)) == "0.900 to 0.975"
    assert interval_text("accuracy", None) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.02, "0.02 s"), (3.94, "3.9 s"), (42.4, "42 s"), (600.0, "10 min"), (7260.0, "2 h 01 min"), (None, "–")],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_a_strategy_keeps_what_distinguishes_it() -> None:
    assert strategy_text("linear_probe, balanced classes") == "linear probe, balanced classes"
    assert strategy_text("partial above cut 7") == "partial fine-tuning above cut 7"
    assert strategy_text("full at a tenth of its rate") == "full fine-tuning at a tenth of its rate"
    assert strategy_text("home_made") == "home made"


def test_names_in_a_sentence_are_put_into_words_and_words_are_left_alone() -> None:
    told = (
        "partial above cut 7 adds 1 point to linear_probe_all_stages, a partial answer in full, not my_linear_probe_2"
    )
    assert plain_names(told) == (
        "partial fine-tuning above cut 7 adds 1 point to linear probe on all stages, a partial answer in full, "
        "not my_linear_probe_2"
    )


@pytest.mark.parametrize("text", ["", "short", "x" * 60, "ü" * 61, "🙂" * 500, "a/" * 300 + "end.jpg"])
def test_shortened_text_has_its_length_and_keeps_both_ends(text: str) -> None:
    short = shorten(text, 60)
    assert len(short) == min(len(text), 60)
    assert short[:20] == text[:20]
    assert short[-20:] == text[-20:]


def test_what_could_spoil_a_page_is_replaced() -> None:
    spoilers = "a\udc80b\u202ec\x00d\ne"
    assert shorten(spoilers) == "a\ufffdb\ufffdc\ufffdd e"
    shorten(spoilers).encode()


def test_lists_of_names_are_bounded() -> None:
    assert listed(()) == "none"
    assert listed(("a", "b")) == "a, b"
    assert len(listed(["a long name"] * 10_000)) <= 60
