"""The list of backbones as a person reads it: in a terminal of any width, and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from headstart.backbones.entries import Entry, entries, select
from headstart.reporting import backbone_list
from headstart.reporting.backbone_list import Listing, Wanted

LONG = select(entries(), search="clip", domain="web")


def _shown(
    monkeypatch: pytest.MonkeyPatch, listing: Listing, limit: int, *, width: int | None, overview: bool = False
) -> str:
    """What is printed to a terminal of this width, or to a pipe."""
    file = io.StringIO()
    console = Console(file=file, highlight=False, emoji=False, width=width, force_terminal=width is not None)
    monkeypatch.setattr(backbone_list, "_OUT", console)
    monkeypatch.setattr(console, "_color_system", None)
    (backbone_list.show_overview if overview else backbone_list.show)(listing, limit)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("overview", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, overview: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Listing(LONG, frozenset({LONG[0].name}))
    lines = _shown(monkeypatch, listing, 50, width=width, overview=overview).splitlines()
    assert max(len(line) for line in lines) <= width


def test_a_pipe_gets_one_line_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _shown(monkeypatch, Listing(LONG[:3], frozenset()), 25, width=None).splitlines()
    assert lines[0].split() == ["name", "family", "params", "MACs", "px", "top-1", "licence", "trained", "on"]
    assert [line.split()[0] for line in lines[1:4]] == [entry.name for entry in LONG[:3]]


def test_it_says_how_many_more_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _shown(monkeypatch, Listing(LONG, frozenset()), 2, width=None)
    assert f"and {len(LONG) - 2:,} more" in shown
    assert LONG[2].name not in shown
    assert "more" not in _shown(monkeypatch, Listing(LONG, frozenset()), len(LONG), width=None)


def test_what_fit_would_refuse_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = select(entries(), search="convnextv2_tiny.fcmae_ft_in1k")
    shown = _shown(monkeypatch, Listing(refused, frozenset()), 5, width=None)
    assert "CC-BY-NC-4.0 †" in shown
    assert "--licence any" in shown
    assert "†" not in _shown(monkeypatch, Listing(select(entries(), licence="permissive"), frozenset()), 50, width=None)


def test_nothing_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none" in _shown(monkeypatch, Listing((), frozenset()), 5, width=None)


def test_unknown_numbers_are_dashes_and_markup_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = Entry("file/[red]x", "[b]", 999_600, None, 224, "unknown", "unknown", "unknown", None, "x")
    line = _shown(monkeypatch, Listing((odd,), frozenset({odd.name})), 5, width=None).splitlines()[1]
    assert line.split() == ["file/[red]x", "(here)", "[b]", "1.0M", "–", "224", "–", "unknown", "unknown"]


def test_only_what_is_here_is_listed_offline() -> None:
    listing = backbone_list.find(Wanted(here_only=True))
    assert {entry.name for entry in listing.entries} == listing.here
    assert "bundled/tf_efficientnet_lite0" in listing.here


def test_rows_for_programs_say_what_is_needed_and_whether_it_is_here() -> None:
    rows = backbone_list.find(Wanted(search="lite1", sort="size")).rows(1)
    assert len(rows) == 1
    assert rows[0]["name"] == "bundled/tf_efficientnet_lite1"
    assert rows[0]["extra"] == "more-weights"
    assert isinstance(rows[0]["here"], bool)
