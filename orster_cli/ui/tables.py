"""Tables of figures, as plain text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows under a header: the first column is left aligned, the others are right aligned, or left aligned
    and wrapped where they are `prose`."""

    rows: list[list[str]]
    header: list[str]
    prose: bool = False

    def turned(self) -> Table:
        """A single row as one line for each of its columns."""
        (row,) = self.rows
        return Table([list(pair) for pair in zip(self.header, row, strict=True)], ["", ""])

    def widths(self) -> list[int]:
        """Characters of the widest cell of each column."""
        cells = [self.header, *self.rows]
        return [max(len(row[i]) for row in cells) for i in range(len(self.header))]

    def __str__(self) -> str:
        widths = self.widths()
        lines = []
        headed = any(self.header)
        for row in [self.header, *self.rows] if headed else self.rows:
            shown = [
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(shown).rstrip())
        if headed:
            lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


def table(rows: list[list[str]], header: list[str]) -> str:
    """Columns as plain text."""
    return str(Table(rows, header))
