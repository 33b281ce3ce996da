"""Tar shards in the WebDataset layout, with the same bytes for the same content.

A sample is a run of plain ustar members that share the name before the first dot. Fixed owner,
mode and date; no pax headers. Samples are encoded apart from each other ("fragments"), so that a
shard is their concatenation and the end-of-archive blocks, whoever rendered them and whenever.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.core.names import printable

_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_BLOCK = tarfile.BLOCKSIZE
_RECORD = tarfile.RECORDSIZE


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """A sample key: letters, digits, _ and -, since WebDataset ends a key at the first dot."""
    if not is_key(key):
        raise ValueError(f"sample key {key!r}: only letters, digits, '_' and '-', at most 80")
    return key


def encode_sample(key: str, fields: Iterable[tuple[str, bytes]]) -> bytes:
    """The tar members ``key.field`` of one sample, without the end of the archive."""
    check_key(key)
    parts = []
    for field, data in fields:
        info = tarfile.TarInfo(f"{key}.{field}")
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        parts += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)]
    return b"".join(parts)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a sample lies in a shard: the bytes `offset` .. `offset + size`."""

    key: str
    offset: int
    size: int


def write_shard(path: Path, fragments: Iterable[tuple[str, Path]]) -> list[Placed]:
    """Concatenate encoded samples (key, file) into a complete tar at `path`.

    Memory does not grow with their size."""
    placed: list[Placed] = []
    with path.open("wb") as out:
        for key, fragment in fragments:
            offset = out.tell()
            with fragment.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
            placed.append(Placed(key=key, offset=offset, size=out.tell() - offset))
        out.write(bytes(2 * _BLOCK))
        out.write(bytes(-out.tell() % _RECORD))
    return placed


def read_sample(shard: Path, placed: Placed, prefix: str = "") -> dict[str, bytes]:
    """The fields of one sample whose names start with `prefix`, without reading the others.

    At most the bytes of the sample's place in the shard are read. IntegrityError: the shard does not
    hold the sample there, or holds a field twice; InputError: the shard cannot be read."""
    fields: dict[str, bytes] = {}
    for name, data in _members(shard, placed, prefix):
        if name in fields:
            raise _damaged(shard, placed, f"{printable(name)[:80]!r} is there twice")
        fields[name] = data
    return fields


def _members(shard: Path, placed: Placed, prefix: str) -> Iterator[tuple[str, bytes]]:
    offset, end = placed.offset, placed.offset + placed.size
    if not shard.is_file():  # a pipe would be read for ever
        raise InputError(f"{shard}: cannot be read: no such file")
    try:
        with shard.open("rb") as file:
            if end > os.fstat(file.fileno()).st_size:
                raise _damaged(shard, placed, f"the file ends before byte {end}")
            while offset < end:
                file.seek(offset)
                info = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
                offset += _BLOCK
                key, dot, field = info.name.partition(".")
                # a header may claim any size, negative ones too
                padded = info.size + (-info.size % _BLOCK)
                fits = info.size >= 0 and padded <= end - offset
                if key != placed.key or not dot or not info.isreg() or not fits:
                    raise IntegrityError(
                        f"{shard}: expected sample {placed.key!r} at byte {placed.offset}, got "
                        f"member {printable(info.name)[:100]!r} of {info.size} bytes",
                        hint="check the dataset with: orster verify",
                    )
                if field.startswith(prefix):
                    yield field, file.read(info.size)
                offset += padded
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise _damaged(shard, placed, str(error)) from None
    except OSError as error:
        raise InputError(f"{shard}: cannot be read: {error.strerror or error}") from None


def _damaged(shard: Path, placed: Placed, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{shard}: damaged near byte {placed.offset}: {reason}",
        hint="check the dataset with: orster verify",
    )


def png_bytes(pixels: object) -> bytes:
    """[H,W,4] uint8 as a PNG, lossless, without metadata."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=4)  # type: ignore[arg-type]
    return out.getvalue()
