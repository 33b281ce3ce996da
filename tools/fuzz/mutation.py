"""Changes to bytes, JSON values and lines of text, as damage and malice make them.

Every function draws from `rng` alone: equal seeds give equal mutants on every machine.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 257, 4095, 32767, 32768, 65535, 65536),
    *(10**6, 10**7, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53 + 1, 2**63 - 1, 2**63),
    *(2**64 - 1, 2**64, 10**30, -2, -128, -(2**31), -(2**63), -(10**30)),
)
FLOATS = (0.5, -0.5, 1e-320, 1e-30, 1e30, 3.5e38, -3.5e38, 1e300, -1e300, 0.0, -0.0)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "../x",
        "/etc/passwd",
        "C:/x",
        "a\\b",
        "a\0b",
        "\x1b[2J",
        "é",
        "\u202e",
        "\U0001f40e",
    ),
    *(
        "nan",
        "-1",
        "1e999",
        "true",
        "null",
        "%2e%2e/x",
        "http://example.com/x",
        "data:,",
        "x" * 300,
    ),
)


def flip_bits(data: bytes, rng: random.Random, most: int = 8) -> bytes:
    """Up to `most` bits of `data` flipped."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most) if out else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 512)))


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _removed(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _doubled(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 100)) + data[end:]


def _swapped(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_span(data, rng), _span(data, rng)))
    if b > c:
        return data
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _filled(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + bytes([rng.choice((0, 255, 32, 65))]) * (end - start) + data[end:]


def _appended(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0", b"\n", b"PK\3\4", b"\x80\4", bytes(512), b"x" * 100))


def _number_written(data: bytes, rng: random.Random) -> bytes:
    kind = rng.choice(("<I", ">I", "<H", ">H", "<Q", ">Q", "<f", "<d", ">d", "B"))
    start = rng.randrange(len(data) + 1)
    if rng.random() < 0.7:  # fields of files are aligned, and most of them come early
        start = min(start, rng.randrange(256)) // 4 * 4
    if kind[-1] in "fd":
        number: float = rng.choice((float("nan"), float("inf"), -1e30, 1e38, 0.0))
        packed = struct.pack(kind, number)
    else:
        size = struct.calcsize(kind)
        packed = (rng.choice(NUMBERS) % 256**size).to_bytes(
            size, "big" if kind[0] == ">" else "little"
        )
    return data[:start] + packed + data[start + len(packed) :]


_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flip_bits, flip_bits, _cut, _removed, _doubled, _swapped, _filled, _appended),
    *(_number_written, _number_written, _number_written),
)


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """`data` after one to four changes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(_BYTES)(data, rng)
    return data


def change_number(number: float, rng: random.Random) -> Any:
    """Another number: close by, scaled, negative, or one of those that break readers."""
    way = rng.randrange(5)
    if way == 0:
        return number + rng.choice((-1, 1))
    if way == 1:
        return -number
    if way == 2:
        return number * rng.choice((2, 4, 1000, 2**20, 2**33))
    return rng.choice(NUMBERS if isinstance(number, int) or way == 3 else FLOATS)


def _odd_value(rng: random.Random) -> Any:
    return rng.choice(
        (
            *(None, True, False, [], {}, [[]], {"a": 1}, [1, 2, 3], [None], "x", 1.5),
            *(rng.choice(NUMBERS), rng.choice(FLOATS), rng.choice(TEXTS)),
            *([0] * 70, _nested(rng.choice((3, 63, 70)))),
        )
    )


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        found.append((value, key))
        if isinstance(inner, (dict, list)):
            _places(inner, found)
    return found


def change_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three of its entries changed, moved, doubled or gone."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = _places(value, []) if isinstance(value, (dict, list)) else []
        if not places or rng.random() < 0.01:
            return _odd_value(rng)
        holder, key = rng.choice(places)
        _change_entry(holder, key, places, rng)
    return value


def _change_entry(holder: Any, key: Any, places: list[tuple[Any, Any]], rng: random.Random) -> None:
    old, way = holder[key], rng.randrange(10)
    number = isinstance(old, (int, float)) and not isinstance(old, bool)
    if number and way < 6:
        holder[key] = change_number(old, rng)
    elif isinstance(old, str) and way < 4:
        holder[key] = _change_word(old, rng)
    elif way == 6:
        del holder[key]
    elif way == 7 and isinstance(holder, list):
        holder[key:key] = [old] * rng.choice((1, 2, 50))
    elif way == 7:
        holder[_change_word(str(key), rng)] = holder.pop(key)
    elif way == 8:
        other, other_key = rng.choice(places)
        if other_key in other if isinstance(other, dict) else other_key < len(other):
            copied = json.dumps(other[other_key])
            if len(copied) < 20_000:
                holder[key] = json.loads(copied)
    else:
        holder[key] = _odd_value(rng)


def _change_word(word: str, rng: random.Random) -> str:
    way = rng.randrange(4)
    if way == 0 and word:
        at = rng.randrange(len(word))
        return word[:at] + rng.choice("aZ09_./ -") + word[at + 1 :]
    if way == 1:
        return word + rng.choice((" ", "0", "_", "x", "."))
    if way == 2:
        return word.swapcase() if word else "x"
    return rng.choice(TEXTS)


def json_bytes(value: Any, rng: random.Random) -> bytes:
    """JSON text of `value`; now and then with a fault of the text itself."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() > 0.12:
        return text.encode("utf-8", "surrogatepass")
    way = rng.randrange(7)
    if way == 0:
        return ("\ufeff" + text).encode()
    if way == 1:
        return text.replace(
            "0", rng.choice(("NaN", "Infinity", "-Infinity", "1e999", "00")), 1
        ).encode()
    if way == 2:
        return text.replace("{", '{"a": 1, "a": 2, ', 1).encode()
    if way == 3:
        return text.encode("utf-16")
    if way == 4:
        return text.replace("[", "[" * rng.choice((2, 70, 20_000)), 1).encode()
    if way == 5:
        return text.encode().replace(b'"', b'"\xff', 1)
    return change_bytes(text.encode(), rng)


def change_lines(text: str, rng: random.Random) -> bytes:
    """A text with lines or words of it changed, and now and then its bytes."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        lines = text.split("\n")
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        way = rng.randrange(7)
        if way == 0:
            del lines[at]
        elif way == 1:
            lines[at:at] = [lines[other]] * rng.choice((1, 2, 60))
        elif way == 2:
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = _change_token(lines[at], rng)
        text = "\n".join(lines)
    data = text.encode("utf-8", "replace")
    way = rng.randrange(20)
    if way == 0:
        return data.replace(b"\n", b"\r\n")
    if way == 1:
        return b"\xef\xbb\xbf" + data
    return change_bytes(data, rng) if way < 5 else data


def _change_token(line: str, rng: random.Random) -> str:
    for mark in rng.sample((" ", ",", "=", '"', "|"), 5):
        if mark in line:
            words = line.split(mark)
            at = rng.randrange(len(words))
            new = str(rng.choice(NUMBERS)) if rng.random() < 0.5 else _change_word(words[at], rng)
            words[at : at + 1] = rng.choice(([new], [], [new, words[at]], [words[at]] * 40))
            return mark.join(words)
    return _change_word(line, rng)
