"""What `orster show` prints about an artifact: a headline, its facts and its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orster_cli.artifacts.manifest import FileEntry, Manifest

ROWS = 20  # files that are listed one by one
LONGEST = 160  # characters of one fact
UNITS = {"psnr": "dB", "psnr_masked": "dB", "seconds": "s", "resolution": "px"}


def headline(manifest: Manifest, *, maximum: int = LONGEST) -> str:
    """The artifact in one line of at most `maximum` characters: "16 frames, 64 px, 145 kB"."""
    content = manifest.content
    settings = content.get("settings")
    values = {**settings, **content} if isinstance(settings, dict) else content
    parts = [
        _count(values, "samples", "clip"),
        _count(values, "sources", "object"),
        _count(values, "gaussians", "Gaussian"),
        _text(values, "role", "{} model"),
        _count(values, "parameters", "parameter"),
        _count(values, "steps", "step"),
        _count(values, "frames", "frame"),
        _number(values, "resolution", "{} px"),
        _number(values, "psnr", "PSNR {:.2f} dB"),
        *_means(values.get("summary")),
        size(sum(entry.size for entry in manifest.files)),
        _text(values, "prompt", '"{}"'),
    ]
    return _cut(", ".join(part for part in parts if part), maximum)


def facts(content: Mapping[str, Any]) -> list[str]:
    """A line for each entry of a manifest's content and run."""
    return [f"{key}: {_cut(_fact(key, value))}" for key, value in content.items()]


def dropped(entries: Any) -> list[str]:
    """A line for each clip that a dataset has not, with the whole reason."""
    if not isinstance(entries, list):
        return []
    lines = [
        f"dropped {entry.get('key')} of {entry.get('source')}: {entry.get('reason')}"
        for entry in entries
        if isinstance(entry, dict)
    ]
    return [f"dropped: {len(lines) or 'none'}", *lines]


def files(entries: list[FileEntry]) -> list[str]:
    """A line for each file, or for each folder of many; the largest have their own."""
    folders: dict[str, list[FileEntry]] = {}
    for entry in entries:
        folder, slash, _ = entry.path.rpartition("/")
        folders.setdefault(folder + slash, []).append(entry)
    lines = []
    for folder, inside in folders.items():
        if folder and len(inside) > 3:
            total = sum(entry.size for entry in inside)
            lines.append(f"  {total:>12,}  {folder} ({len(inside)} files)")
        else:
            lines += [f"  {entry.size:>12,}  {entry.path}" for entry in inside]
    return lines[:ROWS] + more(len(lines), " ")


def more(count: int, lead: str) -> list[str]:
    """The line that stands for what is not listed."""
    return [f"{lead} ... and {count - ROWS} more"] if count > ROWS else []


def size(count: int) -> str:
    """Bytes in a unit that fits: "145 kB"."""
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= one:
            return f"{count / one:.3g} {unit}" if count < 999.5 * one else f"{count // one} {unit}"
    return f"{count} bytes"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(values: Mapping[str, Any], key: str, word: str) -> str:
    value = values.get(key)
    if isinstance(value, list) and len(value) == 1:  # an asset's frames, one count a clip
        value = value[0]
    if not _is_number(value) or not value:
        return ""
    return f"{value:,} {word}{'' if value == 1 else 's'}"


def _number(values: Mapping[str, Any], key: str, form: str) -> str:
    value = values.get(key)
    return form.format(value) if _is_number(value) and value else ""


def _text(values: Mapping[str, Any], key: str, form: str) -> str:
    value = values.get(key)
    return form.format(value) if isinstance(value, str) and value else ""


def _means(summary: Any) -> list[str]:
    """A report's metrics."""
    if not isinstance(summary, dict):
        return []
    means = {name: row.get("mean") for name, row in summary.items() if isinstance(row, dict)}
    return [f"{name} {_fact(name, mean)}" for name, mean in means.items() if _is_number(mean)]


def _fact(key: str, value: Any, *, inner: bool = False) -> str:
    """A JSON value as a reader writes it; several `inner` ones stand in parentheses."""
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, int) and abs(value) >= 10_000:
        value = f"{value:,}"
    elif isinstance(value, dict):
        text = ", ".join(f"{n} {_fact(n, entry, inner=True)}" for n, entry in value.items())
        return f"({text})" if inner else text
    elif isinstance(value, list):
        parts = [_fact("", entry, inner=True) for entry in value]
        if len(parts) > 1 and all(type(entry) is int for entry in value):
            return " x ".join(parts)
        text = ", ".join(parts)
        return f"({text})" if inner and len(parts) > 1 else text
    unit = UNITS.get(key)
    return f"{value} {unit}" if unit else str(value)


def _cut(text: str, maximum: int = LONGEST) -> str:
    return text if len(text) <= maximum else text[: maximum - 3] + "..."
