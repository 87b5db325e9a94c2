"""Listings for people: columns with headings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def format_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, each column as wide as its longest cell; an empty cell is a hyphen.

    Args:
        headings: one for each column.
        rows: as many cells each.
    """
    filled = [headings, *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in filled) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in filled]
