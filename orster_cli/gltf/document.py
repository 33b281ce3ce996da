"""A parsed glTF 2.0 file: typed access to its JSON, its buffers and its accessors.

Everything that a file claims (lengths, counts, offsets, types, references) is checked before memory
is allocated for it; whatever is wrong raises `InputError` or `LimitError` with the place in the
file. Buffers and pictures beside a `.gltf` file are read from its folder (`external`); what leads out of
that folder is refused, never opened.
Source: glTF 2.0 specification, section 3.6 (buffers, accessors).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.gltf.external import read_beside

_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_NORMALISED_MAX = {5120: 127.0, 5121: 255.0, 5122: 32767.0, 5123: 65535.0}
_TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class GltfDocument:
    """A parsed file: typed access to its JSON and its binary data; `repairs`: what its container had
    that is not valid, in words."""

    def __init__(
        self,
        path: Path,
        root: dict[str, Any],
        glb_bin: memoryview | None,
        repairs: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.root = root
        self.repairs = repairs
        self._bin = glb_bin
        self._buffers: dict[int, memoryview] = {}
        self._decoded = 0
        self._items: dict[str, list[dict[str, Any]]] = {}
        self._views: dict[int, tuple[memoryview, int]] = {}  # by `set_view`
        self._decompressed: dict[int, np.ndarray] = {}  # by `set_values`

    # -- errors and typed JSON access ------------------------------------------------------------

    def fail(
        self, where: str, expected: str, got: object, *, hint: str | None = None
    ) -> InputError:
        """The InputError for a malformed part of this file."""
        shown = repr(got)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return InputError(
            f"{self.path}: {where}: expected {expected}, got {shown}", hint=hint, code="E-GLTF"
        )

    def count_decoded(self, where: str, size: int) -> None:
        """Add `size` bytes to be decoded to the file's total. LimitError: the total exceeds the limit."""
        self._decoded += size
        if self._decoded > limits.GLTF_MAX_DECODED_BYTES:
            raise LimitError(
                f"{self.path}: {where}: the file decodes to more than "
                f"{limits.GLTF_MAX_DECODED_BYTES} bytes",
                hint="simplify the object or shrink its textures",
            )

    def items(self, name: str) -> list[dict[str, Any]]:
        """The top-level array `name`, a list of objects; empty where it is absent."""
        if name not in self._items:  # validated on first access
            value = self.root.get(name, [])
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise self.fail(name, "an array of objects", type(value).__name__)
            self._items[name] = value
        return self._items[name]

    def item(self, name: str, index: object, where: str) -> dict[str, Any]:
        """Element `index` of the top-level array `name`."""
        items = self.items(name)
        if type(index) is not int or not 0 <= index < len(items):
            raise self.fail(where, f"an index into {len(items)} {name}", index)
        return items[index]

    def integer(
        self,
        owner: Mapping[str, Any],
        key: str,
        where: str,
        default: int | None = None,
        *,
        maximum: int = 2**53,
    ) -> int:
        """Non-negative integer `owner[key]`, required if `default` is None."""
        value = owner.get(key, default)
        if type(value) is not int or not 0 <= value <= maximum:
            raise self.fail(f"{where}.{key}", f"an integer in 0..{maximum}", value)
        return value

    def numbers(
        self, owner: Mapping[str, Any], key: str, where: str, default: tuple[float, ...]
    ) -> np.ndarray:
        """Float64 vector `owner[key]` as long as `default`, finite and below 1e30."""
        value = owner.get(key, default)
        if (
            not isinstance(value, (list, tuple))
            or len(value) != len(default)
            or not all(type(v) in (int, float) and abs(v) < 1e30 for v in value)
        ):
            raise self.fail(f"{where}.{key}", f"{len(default)} finite numbers", value)
        return np.array(value, dtype=np.float64)

    def mapping(self, owner: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
        """Object `owner[key]`; empty where it is absent."""
        value = owner.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(f"{where}.{key}", "an object", value)
        return value

    def sequence(self, owner: Mapping[str, Any], key: str, where: str) -> list[Any]:
        """Array `owner[key]`; empty where it is absent."""
        value = owner.get(key, [])
        if not isinstance(value, list):
            raise self.fail(f"{where}.{key}", "an array", value)
        return value

    # -- binary data -----------------------------------------------------------------------------

    def buffer(self, index: object, where: str) -> memoryview:
        """The bytes of buffer `index`, cut to its declared length."""
        entry = self.item("buffers", index, where)
        assert isinstance(index, int)
        if index not in self._buffers:
            length = self.integer(entry, "byteLength", f"buffers[{index}]")
            if "uri" in entry:
                data = memoryview(self.uri_bytes(entry["uri"], f"buffers[{index}].uri"))
            elif index == 0 and self._bin is not None:
                data = self._bin
            else:
                raise self.fail(f"buffers[{index}]", "a GLB binary chunk or a URI", entry)
            if len(data) < length:
                raise self.fail(f"buffers[{index}]", f"{length} bytes", f"{len(data)} bytes")
            self._buffers[index] = data[:length]
        return self._buffers[index]

    def uri_bytes(self, uri: object, where: str) -> bytes:
        """The bytes of a base64 `data:` URI, or of a file beside this one. InputError: any other URI."""
        if not isinstance(uri, str):
            raise self.fail(where, "a string", uri)
        head, comma, body = uri.partition(",")
        if not head.startswith("data:") or not comma:
            data = read_beside(self.path, uri, where)
            self.count_decoded(where, len(data))
            return data
        if not head.endswith(";base64"):
            raise self.fail(where, "base64 data", head[:60])
        self.count_decoded(where, len(body))
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self.fail(where, "valid base64", str(error)) from None

    def view(self, index: object, where: str) -> tuple[memoryview, int]:
        """The bytes of bufferView `index` and its byteStride (0: tightly packed)."""
        entry = self.item("bufferViews", index, where)
        where = f"bufferViews[{index}]"
        if index in self._views:
            return self._views[index]  # type: ignore[index]
        data = self.buffer(entry.get("buffer"), f"{where}.buffer")
        offset = self.integer(entry, "byteOffset", where, 0)
        length = self.integer(entry, "byteLength", where)
        if offset + length > len(data):
            raise self.fail(where, f"bytes inside its buffer of {len(data)}", offset + length)
        stride = self.integer(entry, "byteStride", where, 0, maximum=252)
        return data[offset : offset + length], stride

    def set_view(self, index: int, data: bytes, stride: int) -> None:
        """Let bufferView `index` have the bytes `data`, which were decompressed, and the byteStride."""
        self._views[index] = memoryview(data), stride

    def set_values(self, index: int, values: np.ndarray) -> None:
        """Let accessor `index` have `values` [count, width], which were decompressed, in its own type."""
        self._decompressed[index] = values

    def component(self, index: object, where: str) -> np.dtype:
        """The type of the numbers of accessor `index`."""
        code = self.item("accessors", index, where).get("componentType")
        if type(code) is not int or code not in _COMPONENTS:
            raise self.fail(f"{where}.componentType", f"one of {sorted(_COMPONENTS)}", code)
        return np.dtype(_COMPONENTS[code])

    def accessor(
        self,
        index: object,
        where: str,
        *,
        types: tuple[str, ...],
        max_count: int,
        finite: bool = True,
    ) -> np.ndarray:
        """Accessor `index` as an array [count, width] (MAT4: [count,4,4], row-major as in maths).

        Normalised integers become float32 in [0,1] or [-1,1]; other integers stay integers.
        InputError: a type outside `types`, data out of bounds or, with `finite`, a NaN or infinity;
        LimitError: more than `max_count` elements.
        """
        values, entry, where = self._stored(index, where, types, max_count)
        component = int(entry["componentType"])
        return self._finish(entry, where, values, component, entry["type"], finite)

    def stored(self, index: object, where: str, *, max_count: int) -> np.ndarray:
        """The values [count, width] of accessor `index` as the file stores them: integers are not
        normalised, nothing is checked to be finite. Errors as `accessor`."""
        return self._stored(index, where, tuple(_TYPES), max_count)[0]

    def _stored(
        self, index: object, where: str, types: tuple[str, ...], max_count: int
    ) -> tuple[np.ndarray, dict[str, Any], str]:
        """The stored values, the accessor's JSON and its place in the file, checked."""
        entry = self.item("accessors", index, where)
        where = f"{where} -> accessors[{index}]"
        dtype = self.component(index, where)
        kind = entry.get("type")
        if kind not in types:
            raise self.fail(f"{where}.type", " or ".join(types), kind)
        if kind.startswith("MAT") and dtype.kind != "f":
            raise self.fail(f"{where}.componentType", "float for a matrix", dtype)
        count = self.integer(entry, "count", where)
        if count < 1:
            raise self.fail(f"{where}.count", "at least 1", count)
        if count > max_count:
            raise LimitError(
                f"{self.path}: {where}: {count} elements, more than {max_count} are not read",
                hint="simplify the object",
            )
        width = _TYPES[kind]
        self.count_decoded(where, count * width * 4)
        if index in self._decompressed:
            values = self._decompressed[index]
            if values.shape != (count, width):
                raise self.fail(where, f"{count} x {width} numbers", values.shape)
        elif "bufferView" in entry:
            offset = self.integer(entry, "byteOffset", where, 0)
            values = self._strided(entry["bufferView"], where, offset, count, width, dtype)
        else:  # zeros (3.6.2.1), unless sparse values or an extension say otherwise
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._sparse(entry, where, values, count, width, dtype)
        return values, entry, where

    def _strided(
        self, view: object, where: str, offset: int, count: int, width: int, dtype: np.dtype
    ) -> np.ndarray:
        """[count,width] read-only view of the bytes."""
        data, stride = self.view(view, f"{where}.bufferView")
        size = dtype.itemsize * width
        stride = stride or size
        if stride < size:
            raise self.fail(f"{where}.byteStride", f"at least {size}", stride)
        if offset + stride * (count - 1) + size > len(data):
            raise self.fail(
                where, f"data inside its bufferView of {len(data)} bytes", f"count {count}"
            )
        return np.ndarray(
            (count, width), dtype, data, offset=offset, strides=(stride, dtype.itemsize)
        )

    def _sparse(
        self,
        entry: Mapping[str, Any],
        where: str,
        values: np.ndarray,
        count: int,
        width: int,
        dtype: np.dtype,
    ) -> np.ndarray:
        """`values` with the replacements of `entry["sparse"]`."""
        sparse = self.mapping(entry, "sparse", where)
        where = f"{where}.sparse"
        changed = self.integer(sparse, "count", where, maximum=count)
        if changed < 1:
            raise self.fail(f"{where}.count", "at least 1", changed)
        indices = self.mapping(sparse, "indices", where)
        component = indices.get("componentType")
        if component not in (5121, 5123, 5125):
            raise self.fail(f"{where}.indices.componentType", "5121, 5123 or 5125", component)
        which = self._strided(
            indices.get("bufferView"),
            f"{where}.indices",
            self.integer(indices, "byteOffset", where, 0),
            changed,
            1,
            np.dtype(_COMPONENTS[component]),
        )[:, 0]
        if which.max() >= count or np.any(np.diff(which.astype(np.int64)) <= 0):
            raise self.fail(f"{where}.indices", f"increasing indices below {count}", which.max())
        replaced = self.mapping(sparse, "values", where)
        offset = self.integer(replaced, "byteOffset", where, 0)
        new = self._strided(
            replaced.get("bufferView"), f"{where}.values", offset, changed, width, dtype
        )
        values = values.copy()
        values[which] = new
        return values

    def _finish(
        self,
        entry: Mapping[str, Any],
        where: str,
        values: np.ndarray,
        component: int,
        kind: str,
        finite: bool,
    ) -> np.ndarray:
        """Normalise, check and reshape the raw values of an accessor."""
        if entry.get("normalized", False) is True:
            if component not in _NORMALISED_MAX:
                raise self.fail(f"{where}.normalized", "8 or 16 bit integers", component)
            scaled = values.astype(np.float32) / np.float32(_NORMALISED_MAX[component])
            values = np.maximum(scaled, np.float32(-1.0))
        if values.dtype.kind == "f":
            values = np.ascontiguousarray(values, dtype=np.float32)
            if finite and not np.isfinite(values).all():
                raise self.fail(where, "finite numbers", "NaN or infinity")
        else:
            values = np.ascontiguousarray(values)
        if kind.startswith("MAT"):
            side = int(_TYPES[kind] ** 0.5)
            values = values.reshape(-1, side, side).transpose(0, 2, 1)  # glTF is column-major
        return values
