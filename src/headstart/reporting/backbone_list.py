"""The text of ``headstart backbones``: which pretrained weights there are, and which of them are on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from headstart.backbones.entries import Entry, Sort, best_of_each_size, entries, parse_count, select
from headstart.backbones.licences import Allowed, is_non_commercial
from headstart.backbones.presence import local_entries, missing_extra, names_here

if TYPE_CHECKING:
    from headstart.features.measuring import Speed

SHOWN = 25
_OUT = Console(highlight=False, emoji=False)
# The overview names the most accurate weights with at most so many parameters.
_SIZES = (3_000_000, 6_000_000, 12_000_000, 30_000_000, 100_000_000, 350_000_000)
_COLUMNS = ("family", "params", "MACs", "px", "top-1", "licence", "trained on")
SPEED_COLUMNS = ("px", "PyTorch", "OpenVINO", "ratio", "cosine", "conversion")
_RIGHT = {"params", "MACs", "px", "top-1"}
_HINTS = (
    ("headstart backbones dinov3 satellite", "words in name or data"),
    ("headstart backbones --family vit --max-params 30M", "one family, up to a size"),
    ("headstart backbones --domain medical", "what it was trained on"),
    ("headstart backbones --licence permissive --limit 50", "more, permissive only"),
    ("headstart fit DATA --backbone NAME", "use one"),
)


@dataclass(frozen=True)
class Wanted:
    """What ``headstart backbones`` is asked for; the fields are those of :func:`headstart.backbones.entries.select`."""

    search: str = ""
    family: str | None = None
    max_params: str | None = None
    domain: str | None = None
    licence: Allowed = "any"
    here_only: bool = False
    sort: Sort = "accuracy"


@dataclass(frozen=True)
class Listing:
    """Entries in their order, and the names of those whose weights are on this machine."""

    entries: tuple[Entry, ...]
    here: frozenset[str]

    def rows(self, limit: int | None) -> list[dict[str, Any]]:
        """For programs: every field of the first ``limit`` entries, what they need, and whether they are here."""
        return [
            {**asdict(entry), "extra": entry.extra, "here": entry.name in self.here} for entry in self.entries[:limit]
        ]


def find(wanted: Wanted) -> Listing:
    """The entries that are wanted, of the catalogue and of the local folders beside it.

    Raises
    ------
    OptionError
        If a value is unknown or no number.
    """
    every = (*entries(), *local_entries())
    found = select(
        every,
        family=wanted.family,
        max_parameters=None if wanted.max_params is None else parse_count(wanted.max_params),
        licence=wanted.licence,
        domain=wanted.domain,
        search=wanted.search,
        sort=wanted.sort,
    )
    here = names_here(found)
    return Listing(tuple(entry for entry in found if entry.name in here) if wanted.here_only else found, here)


def show(listing: Listing, limit: int) -> None:
    """A table of the first entries, and how many more there are."""
    shown = listing.entries[:limit]
    if not shown:
        _OUT.print("none; headstart backbones without options shows what there is", soft_wrap=True)
        return
    _show_table(shown, listing.here)
    rest = len(listing.entries) - len(shown)
    if rest:
        _OUT.print(f"\nand {rest:,} more; --limit {len(listing.entries)} shows them all")


def show_overview(listing: Listing, limit: int) -> None:
    """What is here, the most accurate of each size, and how to find others."""
    here = tuple(entry for entry in listing.entries if entry.name in listing.here)
    _OUT.print("[bold]On this machine[/bold]")
    show(Listing(here, listing.here), limit)
    _OUT.print("\n[bold]The most accurate of each size[/bold] (published ImageNet top-1, permissive licences)")
    _show_table(best_of_each_size(select(listing.entries, licence="permissive"), _SIZES), listing.here)
    families = len({entry.family for entry in listing.entries})
    _OUT.print(f"\n[bold]{len(listing.entries):,} sets of weights in {families} families[/bold]; to find others:")
    for command, meaning in _HINTS:
        _OUT.print(f"  {command:53}{meaning}", soft_wrap=True)


def show_speeds(speeds: Sequence[Speed]) -> None:
    """What was measured here: both engines in images a second, and how true the compiled one is."""
    rows = [("measured here", *SPEED_COLUMNS), *((speed.name, *speed_cells(speed)) for speed in speeds)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        _OUT.print(escape(f"{name:{widths[0]}}  {numbers}"), soft_wrap=True)
    _OUT.print("images a second; cosine: the least to PyTorch's float32, over photographs", style="dim", soft_wrap=True)
    for speed in speeds:
        if speed.problem:
            _OUT.print(escape(speed.problem), soft_wrap=True)


def speed_cells(speed: Speed) -> tuple[str, ...]:
    """What :data:`SPEED_COLUMNS` says of one backbone."""
    if speed.openvino is None or speed.minimum is None or speed.conversion is None:
        return (str(speed.size), f"{speed.torch:.0f}", "–", "–", "–", "–")
    ratio, compiled = speed.openvino / speed.torch, f"{speed.openvino:.0f} {speed.precision}"
    conversion = f"{speed.conversion:.0f} s"
    return (str(speed.size), f"{speed.torch:.0f}", compiled, f"{ratio:.1f} x", f"{speed.minimum:.4f}", conversion)


def _show_table(shown: Sequence[Entry], here: frozenset[str]) -> None:
    """One line an entry where there is room, or no terminal; else its name on a line of its own."""
    cells = [dict(zip(_COLUMNS, _cells(entry), strict=True)) for entry in shown]
    widths = {column: max(len(column), *(len(row[column]) for row in cells)) for column in _COLUMNS}
    names = [f"{entry.name}{'  (here)' if entry.name in here else ''}" for entry in shown]
    width = max(map(len, names))
    if _OUT.is_terminal and width + sum(widths.values()) + 2 * len(widths) > _OUT.width:
        _show_narrow(names, cells, widths)
    else:
        for name, row in zip(["name", *names], [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *cells], strict=True):
            _OUT.print(escape(f"{name:{width}}  {_line(row, widths)}".rstrip()), soft_wrap=True)
    _show_notes(shown)


def _show_narrow(names: Sequence[str], cells: Sequence[dict[str, str]], widths: dict[str, int]) -> None:
    hanging = 4 + sum(widths[column] + 2 for column in _COLUMNS[:-1])
    _OUT.print(f"    {_line({column: column for column in _COLUMNS}, widths)}", soft_wrap=True, style="dim")
    for name, row in zip(names, cells, strict=True):
        _OUT.print(f"[bold]{escape(name)}[/bold]", soft_wrap=True)
        first, *more = textwrap.wrap(row["trained on"], max(_OUT.width - hanging, 16))
        _OUT.print(escape(f"    {_line(row | {'trained on': first}, widths)}"), soft_wrap=True)
        for line in more:
            _OUT.print(" " * hanging + escape(line), soft_wrap=True)


def _show_notes(shown: Sequence[Entry]) -> None:
    if any(is_non_commercial(entry.licence) for entry in shown):
        _OUT.print("† for non-commercial use only; fit takes it with --licence any", soft_wrap=True)
    extras: dict[str, set[str]] = {}
    for entry in shown:
        if extra := missing_extra(entry):
            extras.setdefault(extra, set()).add(entry.name if entry.provider == "bundled" else f"{entry.provider}/…")
    for extra, names in extras.items():
        needing = " and ".join(sorted(names))
        _OUT.print(escape(f'{needing} can be used after: pip install "headstart[{extra}]"'), soft_wrap=True)


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        entry.family,
        _short(entry.parameters, " kMB"),
        "–" if entry.macs is None else _short(entry.macs, " kMGT"),
        str(entry.size),
        "–" if entry.top1 is None else f"{entry.top1:.1f}",
        entry.licence + (" †" if is_non_commercial(entry.licence) else ""),
        entry.source.replace(", then ", " → "),
    )


def _line(row: dict[str, str], widths: dict[str, int]) -> str:
    texts = (row[name].rjust(widths[name]) if name in _RIGHT else row[name].ljust(widths[name]) for name in _COLUMNS)
    return "  ".join(texts).rstrip()


def _short(count: int, units: str) -> str:
    """Three digits and a unit of thousands: 27.8M."""
    value, place = float(count), 0
    while value >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.{0 if value >= 99.95 or place == 0 else 1}f}{units[place].strip()}"
