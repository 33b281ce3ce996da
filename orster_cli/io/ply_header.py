"""The header of a binary PLY file and the rows of its vertices.

What the header claims is checked against the size of the file before memory is allocated. Elements other
than `vertex` are skipped. Source: G. Turk, The PLY Polygon File Format (1994).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import PLY_MAX_HEADER_BYTES, PLY_MAX_VERTICES

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "<i2", "ushort": "<u2", "int": "<i4", "uint": "<u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "<i2", "uint16": "<u2", "int32": "<i4"},
    **{"uint32": "<u4", "float": "<f4", "double": "<f8", "float32": "<f4", "float64": "<f8"},
}
_END = re.compile(rb"end_header\r?\n")
_COMPRESSED = "npx @playcanvas/splat-transform in.compressed.ply out.ply"


@dataclass(frozen=True)
class Layout:
    """`count` vertices of `columns` (name, NumPy type) at byte `start`; `others`: the other elements, as
    "camera (1)"."""

    columns: tuple[tuple[str, str], ...]
    count: int
    start: int
    others: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(list(self.columns))


@dataclass
class _Element:
    name: str
    count: int
    columns: list[tuple[str, str]]
    has_list: bool = False

    @property
    def size(self) -> int:
        return self.count * sum(np.dtype(kind).itemsize for _, kind in self.columns)


def read_layout(path: Path) -> Layout:
    """The vertices that the header of `path` claims. InputError: another format, or a file that is too
    short for them; LimitError: too many."""
    lines, start, size = _header(path)
    if "format binary_little_endian 1.0" not in lines:
        formats = [line for line in lines if line.startswith("format")]
        got = formats[0][:60] if formats else "no format"
        raise InputError(
            f"{path}: expected binary little endian PLY, got {got!r}", code="E-PLY-HEADER"
        )
    elements = _elements(path, lines)
    names = [element.name for element in elements]
    if any(name == "packed_position" for e in elements for name, _ in e.columns):
        raise InputError(
            f"{path}: a compressed PLY (packed_position), which is not read",
            hint=f"{_COMPRESSED} writes it without compression",
            code="E-PLY-COMPRESSED",
        )
    if names.count("vertex") != 1:
        raise InputError(
            f"{path}: expected one element, vertex, found {', '.join(names[:8]) or 'none'}",
            code="E-PLY-HEADER",
        )
    which = names.index("vertex")
    vertex, before = elements[which], elements[:which]
    if any(element.has_list for element in (vertex, *before)):
        raise InputError(
            f"{path}: a list property of or before vertex is not a number", code="E-PLY-HEADER"
        )
    if vertex.count > PLY_MAX_VERTICES:
        raise LimitError(
            f"{path}: {vertex.count} Gaussians, at most {PLY_MAX_VERTICES}", code="E-PLY-COUNT"
        )
    if len({name for name, _ in vertex.columns}) < len(vertex.columns):
        raise InputError(f"{path}: not a readable PLY: a column twice", code="E-PLY")
    _check_size(path, elements, vertex, size - start)
    return Layout(
        columns=tuple(vertex.columns),
        count=vertex.count,
        start=start + sum(element.size for element in before),
        others=tuple(f"{e.name[:40]} ({e.count})" for e in elements if e is not vertex),
    )


def read_rows(path: Path, layout: Layout) -> np.ndarray:
    """The vertices of `path`, a structured array. InputError: it cannot be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(layout.start)
            rows = np.fromfile(handle, layout.dtype, layout.count)
    except (OSError, MemoryError, ValueError) as error:
        raise InputError(f"{path}: not a readable PLY: {error}", code="E-PLY") from error
    if len(rows) < layout.count:
        raise InputError(f"{path}: cut short while it was read", code="E-PLY-COUNT")
    return rows


def _header(path: Path) -> tuple[list[str], int, int]:
    """The lines of the header, where the body starts, and the size of the file."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        with path.open("rb") as handle:
            text = handle.read(PLY_MAX_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    end = _END.search(text)
    if not text.startswith((b"ply\n", b"ply\r\n")) or end is None:
        raise InputError(
            f"{path}: expected a PLY with a header of at most {PLY_MAX_HEADER_BYTES} bytes",
            code="E-PLY-HEADER",
        )
    try:
        lines = [line.strip() for line in text[: end.start()].decode("ascii").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the header is not ASCII", code="E-PLY-HEADER") from error
    return lines, end.end(), size


def _elements(path: Path, lines: list[str]) -> list[_Element]:
    found: list[_Element] = []
    for line in lines:
        words = line.split()
        if words[:1] == ["element"]:
            if len(words) != 3 or not re.fullmatch(r"[0-9]{1,12}", words[2]):
                raise InputError(
                    f"{path}: expected one element, vertex, and its count, got {line[:60]!r}",
                    code="E-PLY-HEADER",
                )
            found.append(_Element(words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            if found and words[1:2] == ["list"] and len(words) == 5:
                found[-1].has_list = True
            elif not found or len(words) != 3 or words[1] not in _TYPES:
                raise InputError(
                    f"{path}: property {line[:60]!r} is not a number", code="E-PLY-HEADER"
                )
            else:
                found[-1].columns.append((words[2], _TYPES[words[1]]))
    return found


def _check_size(path: Path, elements: list[_Element], vertex: _Element, body: int) -> None:
    """InputError: the body is not as long as the elements. Lists may have any length."""
    claimed = sum(element.size for element in elements if not element.has_list)
    if claimed > body or (claimed < body and not any(e.has_list for e in elements)):
        raise InputError(
            f"{path}: the header claims {vertex.count} Gaussians ({claimed} bytes) but {body} "
            "bytes follow",
            code="E-PLY-COUNT",
            hint="the file is cut short or damaged; export it again",
        )
