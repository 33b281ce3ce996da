"""What is drawn on a terminal, with rich; imported only where there is a terminal.

Every function returns text for `ui.out` to write. Texts of the user's come as they are: rich gets
them as `Text`, which knows no markup, after `printable` took the control characters out.
"""

from __future__ import annotations

import io
from dataclasses import replace

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from orster_cli.core.names import printable
from orster_cli.ui.progress import BAR_MAX, BAR_MIN, FIGURE_MAX, NAME_MIN, Parts
from orster_cli.ui.tables import Table

CLEAR = "\r\x1b[2K"


def paint(word: str, style: str) -> str:
    """A word of our own in colour."""
    return _render(Text(word, style=style), color=True)


def faint(text: str, *, columns: int, color: bool, encoding: str) -> str:
    """One line that the next output replaces."""
    shown = set_cell_size(_one_line(text), min(cell_len(_one_line(text)), columns - 1))
    return _render(Text(shown, style="dim"), color=color, encoding=encoding)


def progress_line(parts: Parts, share: float, *, columns: int, color: bool, encoding: str) -> str:
    """A bar that is full at `share` 1, and as much of `parts` as `columns` hold on one line.

    On a narrow terminal the last figures go first, then the name and the bar shrink: the count, the
    time left and the first figure stay."""
    width = columns - 1  # a full last column wraps on some terminals
    name = _one_line(parts.name)
    parts = replace(parts, figures=[_cut(_one_line(text), FIGURE_MAX) for text in parts.figures])
    figures = len(parts.figures)
    least = min(cell_len(name), NAME_MIN) + 1 + BAR_MIN + 1
    while figures > 1 and cell_len(parts.tail(figures)) + least > width:
        figures -= 1
    tail = _one_line(parts.tail(figures))
    room = max(width - cell_len(tail) - 1, 0)  # for the bar and the name
    wanted = min(cell_len(name), max(room - BAR_MIN - 1, min(NAME_MIN, room)))
    bar = min(room - wanted - 1, BAR_MAX)
    text = f"{_cut(name, wanted)} {tail}" if wanted > 1 else tail
    drawn = ""
    if bar >= BAR_MIN // 2:
        drawn = _bar(min(max(share, 0.0), 1.0), bar, color=color, encoding=encoding) + " "
        width -= bar + 1
    return drawn + set_cell_size(text, min(cell_len(text), width))


def _bar(share: float, width: int, *, color: bool, encoding: str) -> str:
    """A bar of `width` cells. Without colours its end is shown by brackets."""
    inner = width if color else width - 2
    shape = ProgressBar(
        total=1.0, completed=share, width=inner, style="bright_black", complete_style="cyan"
    )
    drawn = _render(shape, color=color, encoding=encoding, columns=inner)
    return drawn if color else f"[{drawn.ljust(inner)}]"


def draw_table(table: Table, *, columns: int, color: bool, encoding: str) -> str:
    """`table` with a ruled header; turned where its one row is too wide for the terminal."""
    if sum(table.widths()) + 3 * len(table.header) > columns and len(table.rows) == 1:
        table = table.turned()
    if sum(table.widths()) + 3 * len(table.header) > columns and not table.prose:
        return printable(str(table))
    headed = any(table.header)
    drawn = RichTable(box=box.SIMPLE_HEAD, show_header=headed, show_edge=False, header_style="bold")
    for i, title in enumerate(table.header):
        drawn.add_column(
            Text(printable(title)),
            justify="left" if i == 0 or table.prose else "right",
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    text = _render(drawn, color=color, encoding=encoding, columns=columns)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def _cut(text: str, cells: int) -> str:
    return text if cell_len(text) <= cells else set_cell_size(text, max(cells - 1, 0)) + "…"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")


def _render(
    what: RenderableType, *, color: bool, encoding: str = "utf-8", columns: int | None = None
) -> str:
    """`what` as text: with escape codes of colours alone, and of those only with `color`."""
    page = _Page()
    page.encoding = encoding
    console = Console(
        file=page,
        force_terminal=True,
        force_interactive=False,
        color_system="standard" if color else None,
        no_color=not color,
        width=columns,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=columns is None,
    )
    console.print(what, end="")
    return page.getvalue()


class _Page(io.StringIO):
    """Keeps what is drawn; its encoding says whether lines may be drawn with more than ASCII."""

    encoding = "utf-8"  # type: ignore[assignment]
