"""Plain columns for a terminal: aligned by what is seen, also in scripts whose characters are two cells wide."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len

GAP = "  "


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """One line a row of equally many cells; columns whose number is in ``right`` are flush right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        blanks = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
        cells = (
            blank + cell if number in right else cell + blank
            for number, (cell, blank) in enumerate(zip(row, blanks, strict=True))
        )
        lines.append(GAP.join(cells).rstrip())
    return lines
