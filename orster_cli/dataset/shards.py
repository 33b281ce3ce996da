"""Tar shards in the WebDataset layout; equal content gives equal bytes.

A sample is a run of ustar members that share the name before the first dot, with fixed owner, mode and
date and without pax headers. Samples are encoded independently ("fragments"); a shard is their
concatenation and the end-of-archive blocks.
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


def is_sample_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def check_sample_key(key: str) -> str:
    """`key`, if it consists of letters, digits, _ and -: WebDataset ends a key at the first dot.
    ValueError."""
    if not is_sample_key(key):
        raise ValueError(f"sample key {key!r}: only letters, digits, '_' and '-', at most 80")
    return key


def encode_sample(key: str, fields: Iterable[tuple[str, bytes]]) -> bytes:
    """The tar members ``key.field`` of one sample, without the end-of-archive blocks."""
    check_sample_key(key)
    parts = []
    for field, data in fields:
        info = tarfile.TarInfo(f"{key}.{field}")
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        parts += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)]
    return b"".join(parts)


@dataclass(frozen=True, kw_only=True)
class SampleSpan:
    """The bytes `offset` .. `offset + size` of a shard, which hold one sample."""

    key: str
    offset: int
    size: int


def write_shard(path: Path, fragments: Iterable[tuple[str, Path]]) -> list[SampleSpan]:
    """Concatenate encoded samples (key, file) into a tar at `path`, in constant memory; return their
    byte ranges."""
    spans: list[SampleSpan] = []
    with path.open("wb") as out:
        for key, fragment in fragments:
            offset = out.tell()
            with fragment.open("rb") as source:
                shutil.copyfileobj(source, out, 1 << 20)
            spans.append(SampleSpan(key=key, offset=offset, size=out.tell() - offset))
        out.write(bytes(2 * _BLOCK))
        out.write(bytes(-out.tell() % _RECORD))
    return spans


def read_sample(shard: Path, span: SampleSpan, prefix: str = "") -> dict[str, bytes]:
    """The fields of one sample whose names start with `prefix`, without reading the others.

    No bytes outside the sample's range are read. IntegrityError: the range does not hold the sample,
    or a field is duplicated; InputError: the shard cannot be read."""
    fields: dict[str, bytes] = {}
    for name, data in _members(shard, span, prefix):
        if name in fields:
            raise _damaged(shard, span, f"{printable(name)[:80]!r} is duplicated")
        fields[name] = data
    return fields


def _members(shard: Path, span: SampleSpan, prefix: str) -> Iterator[tuple[str, bytes]]:
    offset, end = span.offset, span.offset + span.size
    if not shard.is_file():  # reading a pipe would not end
        raise InputError(f"{shard}: cannot be read: no such file")
    try:
        with shard.open("rb") as file:
            if end > os.fstat(file.fileno()).st_size:
                raise _damaged(shard, span, f"the file ends before byte {end}")
            while offset < end:
                file.seek(offset)
                info = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "strict")
                offset += _BLOCK
                key, dot, field = info.name.partition(".")
                # a header may claim any size, even a negative one
                padded = info.size + (-info.size % _BLOCK)
                fits = info.size >= 0 and padded <= end - offset
                if key != span.key or not dot or not info.isreg() or not fits:
                    raise IntegrityError(
                        f"{shard}: expected sample {span.key!r} at byte {span.offset}, got "
                        f"member {printable(info.name)[:100]!r} of {info.size} bytes",
                        hint="check the dataset with: orster verify",
                    )
                if field.startswith(prefix):
                    yield field, file.read(info.size)
                offset += padded
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise _damaged(shard, span, str(error)) from None
    except OSError as error:
        raise InputError(f"{shard}: cannot be read: {error.strerror or error}") from None


def _damaged(shard: Path, span: SampleSpan, reason: str) -> IntegrityError:
    return IntegrityError(
        f"{shard}: damaged near byte {span.offset}: {reason}",
        hint="check the dataset with: orster verify",
    )


def png_bytes(pixels: object) -> bytes:
    """[H,W,4] uint8 as a PNG, lossless, without metadata."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=4)  # type: ignore[arg-type]
    return out.getvalue()
