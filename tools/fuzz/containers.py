"""Mutants that keep to a container's rules, so that the code behind its outer checks is reached.

Chunks with right check sums, boxes with right or lying sizes, tar headers with right sums.
"""

from __future__ import annotations

import json
import random
import struct
import tarfile
import zlib
from collections.abc import Callable

from tools.fuzz.mutation import (
    NUMBERS,
    change_bytes,
    change_json,
    change_lines,
    change_number,
    flip_bits,
    json_bytes,
)

Change = Callable[[bytes, random.Random], bytes]


def safetensors(data: bytes, rng: random.Random) -> bytes:
    """The JSON of the header changed, its length right or not; or the bytes."""
    if rng.random() < 0.3:
        return change_bytes(data, rng)
    size = int.from_bytes(data[:8], "little")
    value = json.loads(data[8 : 8 + size])
    if rng.random() < 0.3:
        entries = [entry for entry in value.values() if "dtype" in entry]
        kinds = ("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F31", "")
        rng.choice(entries)["dtype"] = rng.choice(kinds)
    else:
        value = change_json(value, rng)
    text = json_bytes(value, rng)
    length = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**64
    body = data[8 + size :]
    if rng.random() < 0.1:
        body = change_bytes(body, rng)
    return length.to_bytes(8, "little") + text + body


def ply(data: bytes, rng: random.Random) -> bytes:
    """A line of the header changed, or the bytes of the body."""
    end = data.index(b"end_header\n") + 11
    way = rng.randrange(4)
    if way == 0:
        return change_bytes(data, rng)
    if way == 1:
        return data[:end] + change_bytes(data[end:], rng)
    return change_lines(data[:end].decode(), rng) + data[end:]


def glb(data: bytes, rng: random.Random) -> bytes:
    """The JSON chunk changed and packed again, the binary chunk, or the bytes of the container."""
    way = rng.randrange(8)
    if way == 0:
        return change_bytes(data, rng)
    size = int.from_bytes(data[12:16], "little")
    text, binary = data[20 : 20 + size], data[28 + size :]
    if way == 1:
        binary = change_bytes(binary, rng)
    else:
        text = json_bytes(change_json(json.loads(text), rng), rng)
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    parts = [(0x4E4F534A, text), (0x004E4942, binary)]
    if way == 2:
        parts = rng.choice((parts[::-1], parts[:1], parts * 2, [parts[0], (1, b"ab"), parts[1]]))
    body = b"".join(struct.pack("<II", len(part), kind) + part for kind, part in parts)
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def png(data: bytes, rng: random.Random) -> bytes:
    """Chunks changed, moved, doubled or left out, with check sums that are right."""
    if rng.random() < 0.2:
        return change_bytes(data, rng)
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.randint(1, 2)):
        i, j = rng.randrange(len(chunks)), rng.randrange(len(chunks))
        kind, body = chunks[i]
        way = rng.randrange(7)
        if way == 0:
            chunks[i], chunks[j] = chunks[j], chunks[i]
        elif way == 1 and len(chunks) > 1:
            del chunks[i]
        elif way == 2:
            chunks[i:i] = [chunks[j]] * rng.choice((1, 3, 40))
        elif way == 3 and kind == b"IHDR":
            width, height = (rng.choice(NUMBERS) % 2**32 for _ in range(2))
            chunks[i] = (kind, struct.pack(">II", width, height) + body[8:])
        elif way == 4:
            chunks[i] = (rng.choice((b"PLTE", b"tRNS", b"fcTL", b"fdAT", b"acTL", b"eXIf")), body)
        else:
            chunks[i] = (kind, change_bytes(body, rng) if body else b"\0" * rng.randrange(9))
    out = data[:8]
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


_OUTER = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf"}


def boxes(data: bytes, rng: random.Random) -> bytes:
    """MP4 and QuickTime: a box whose size, kind or content is changed, doubled or gone."""
    if rng.random() < 0.15:
        return change_bytes(data, rng)
    found: list[tuple[int, int, int]] = []  # of all boxes: start, end, where the content starts

    def walk(start: int, end: int) -> None:
        while start + 8 <= end:
            size = int.from_bytes(data[start : start + 4], "big")
            stop = min(end, start + size) if size >= 8 else end
            found.append((start, stop, start + 8))
            if data[start + 4 : start + 8] in _OUTER:
                walk(start + 8, stop)
            start = stop

    walk(0, len(data))
    start, stop, inner = rng.choice(found)
    way = rng.randrange(6)
    if way == 0:
        size = rng.choice(NUMBERS) % 2**32
        return data[:start] + size.to_bytes(4, "big") + data[start + 4 :]
    if way == 1:
        kind = data[rng.choice(found)[0] + 4 :][:4]
        return data[: start + 4] + kind + data[start + 8 :]
    if way == 2:
        return data[:start] + data[stop:]
    if way == 3:
        return data[:stop] + data[start:stop] + data[stop:]
    if way == 4:
        number = (rng.choice(NUMBERS) % 2**32).to_bytes(4, "big")
        at = inner + rng.randrange(max(1, (stop - inner) // 4)) * 4
        return data[:at] + number + data[at + 4 :]
    return data[:inner] + flip_bits(data[inner:stop], rng) + data[stop:]


def tar(data: bytes, rng: random.Random) -> bytes:
    """A member's header changed, its sum right, or blocks moved."""
    if rng.random() < 0.2:
        return change_bytes(data, rng)
    heads = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(heads)
    way = rng.randrange(6)
    if way == 0:  # blocks
        i, j = (512 * rng.randrange(len(data) // 512) for _ in range(2))
        i, j = min(i, j), max(i, j)
        return data[:i] + rng.choice((b"", data[i:j] * 2, data[j:]))
    head = bytearray(data[at : at + 512])
    if way in (1, 2):  # the size, in octal or as a number of base 256, which may be negative
        size = int(change_number(int(bytes(head[124:135]) or b"0", 8), rng))
        if way == 1:
            head[124:136] = b"%011o\0" % (abs(size) % 8**11)
        else:
            head[124:136] = (size % 256**12).to_bytes(12, "big")
            head[124] = rng.choice((0x80, 0xFF))
    elif way == 3:
        head[156] = rng.choice(b"0123456789LKxgSV\0")
    elif way == 4:
        name = change_lines(bytes(head[:100]).rstrip(b"\0").decode("utf-8", "replace"), rng)
        head[:100] = name[:100].ljust(100, b"\0")
    else:
        head[rng.randrange(512)] = rng.randrange(256)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(head))[0]
    return data[:at] + bytes(head) + data[at + 512 :]
