"""safetensors files: atomic writing without copies, and reading with additional checks (a header
without duplicate keys, plain tensor names, known dtypes, finite values).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from orster_cli.core.atomic import replacing
from orster_cli.core.errors import InputError, LimitError
from orster_cli.core.limits import SAFETENSORS_MAX_HEADER_BYTES
from orster_cli.core.strict_json import parse_json

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}(/[A-Za-z0-9_.-]{1,200})*")
_TYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.int8,
)  # fmt: skip
# safetensors' dtype names in its layout order, widest first
_KINDS = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_RANK = {kind: place for place, kind in enumerate(_KINDS)}
_ALIGNED = 8
_MOST_DIMENSIONS = 16  # torch makes more than 64, and cannot work with them
_PIECE = 2**22  # elements checked at a time
_PICKLES = (b"\x80", b"PK")  # first bytes of a pickle, or of a zip archive of one


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str] | None = None,
    *,
    shared: bool = False,
) -> None:
    """Write `tensors` to `path`, from any device, one at a time; `shared`: see `replacing`.

    The bytes are those of the library's `save`, which holds a copy of all tensors in memory. Its
    `save_file` sets mode 0600 and hides the system's reason when the disk is full: hence this one."""
    order = sorted(tensors, key=lambda name: (_RANK[tensors[name].dtype], name))
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    start = 0
    for name in order:
        value = tensors[name]
        end = start + value.numel() * value.element_size()
        header[name] = {
            "dtype": _KINDS[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    # `tensors` may be mapped to the old file at `path`, which the rename leaves as it is
    with replacing(path, shared=shared) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            if flat.numel():
                file.write(memoryview(flat.view(torch.uint8).numpy()))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of `path`, on the CPU. InputError: unreadable, invalid names or dtypes, values that
    are not finite; LimitError: an oversized header. No code from the file is run."""
    _check_header(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a readable safetensors file: {reason}", code="E-TENSORS"
        ) from error
    check_tensors(tensors, where=str(path))
    return tensors


def check_tensors(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """InputError: invalid names or dtypes, values that are not finite. Memory-mapped tensors are read
    piece by piece."""
    for name, value in tensors.items():
        if not _NAME.fullmatch(name) or ".." in name:
            raise InputError(f"{where}: tensor name {name[:60]!r} is not allowed", code="E-TENSORS")
        if value.dtype not in _TYPES:
            raise InputError(f"{where}: {name}: type {value.dtype} is not expected here")
        if value.ndim > _MOST_DIMENSIONS:
            raise InputError(f"{where}: {name}: {value.ndim} dimensions", code="E-TENSORS")
        if value.is_floating_point() and not _all_finite(value):
            raise InputError(f"{where}: {name}: holds values that are not finite")


def _all_finite(value: Tensor) -> bool:
    """Checks piece by piece, because `torch.isfinite` allocates a mask."""
    return all(bool(torch.isfinite(part).all()) for part in value.reshape(-1).split(_PIECE))


def content_id(module: nn.Module, *more: object) -> str:
    """SHA-256 of a module's weights in float32, and of `more`."""
    digest = hashlib.sha256(repr(more).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_names(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], *, where: str
) -> None:
    """InputError that counts the missing, unexpected and misshapen tensors and names the first three of
    each."""
    kinds = {
        "missing": sorted(set(expected) - set(found)),
        "unexpected": sorted(set(found) - set(expected)),
        "of another shape": [
            f"{name} (expected {list(expected[name])}, got {list(found[name])})"
            for name in sorted(expected.keys() & found.keys())
            if expected[name] != found[name]
        ],
    }
    faults = [
        f"{len(listed)} {kind}: {', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}"
        for kind, listed in kinds.items()
        if listed
    ]
    if faults:
        raise InputError(
            f"{where}: not this model's weights: {'; '.join(faults)}",
            code="E-WEIGHTS",
            hint="compare with the file's source: it may be cut short, or another model's",
        )


class _NothingDrawn(TorchFunctionMode):
    """Leaves out initial values on the meta device: torch draws normal ones there in Python and imports
    its compiler for it, which takes two seconds of processor time."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            tensor: Tensor = args[0] if args else given["tensor"]
            if tensor.is_meta:
                return tensor
        elif func is torch.randn and "device" not in given:
            given = {key: value for key, value in given.items() if key != "generator"}
            func = torch.empty
        return func(*args, **given)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules made in here are on the meta device, for `fill_module`."""
    with torch.device("meta"), _NothingDrawn():
        yield


def fill_module(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Assign `tensors` as weights, in the types that it has, to a module on the meta device. InputError
    lists missing, unexpected and misshapen names."""
    own = module.state_dict()
    wanted = {name: tuple(value.shape) for name, value in own.items()}
    check_names(wanted, {name: tuple(v.shape) for name, v in tensors.items()}, where=where)
    typed = {name: value.to(own[name].dtype) for name, value in tensors.items()}
    module.load_state_dict(typed, assign=True)


def _check_header(path: Path) -> None:
    """Check that the JSON header is complete, bounded and without duplicate keys (of which readers may
    take the first or the last)."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as handle:
        start = handle.read(8)
        size = int.from_bytes(start, "little")
        if size > path.stat().st_size and start.startswith(_PICKLES):
            raise InputError(
                f"{path}: a pickle, which can run code when it is read; expected safetensors",
                code="E-PICKLE",
            )
        if size > SAFETENSORS_MAX_HEADER_BYTES:
            raise LimitError(
                f"{path}: a header of {size:,} bytes, at most {SAFETENSORS_MAX_HEADER_BYTES:,}",
                code="E-TENSORS",
            )
        header = handle.read(size)
    if len(start) < 8 or len(header) < size:
        raise InputError(f"{path}: cut short: it ends within its header", code="E-TENSORS")
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: its header is not UTF-8", code="E-TENSORS") from error
    if not isinstance(parse_json(text, where=f"{path}: header"), dict):
        raise InputError(f"{path}: its header is not an object", code="E-TENSORS")
