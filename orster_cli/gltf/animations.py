"""Reads the animations of a glTF file."""

from __future__ import annotations

from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.keyframes import AnimationClip, Channel

_WIDTHS = {"translation": 3, "rotation": 4, "scale": 3}
_INTERPOLATIONS = ("STEP", "LINEAR", "CUBICSPLINE")


class ClipReader:
    """Reads the animations of a document; `warnings` lists unsupported channels."""

    def __init__(self, document: GltfDocument, *, morphed: set[int], moving: set[int]) -> None:
        """`morphed`: the drawn nodes whose meshes have morph targets, `moving`: the nodes whose transforms
        place something that is drawn. Channels of other nodes (cameras, lights, what another scene shows)
        are left out: a clip is as long as what is seen of it."""
        self.document = document
        self.warnings: list[str] = []
        self._morphed, self._moving = morphed, moving

    def clips(self) -> tuple[AnimationClip, ...]:
        entries = self.document.items("animations")
        return tuple(self._clip(entry, index) for index, entry in enumerate(entries))

    def _clip(self, entry: dict[str, Any], index: int) -> AnimationClip:
        document, where = self.document, f"animations[{index}]"
        samplers = document.sequence(entry, "samplers", where)
        channels: dict[tuple[int, str], Channel] = {}
        for k, item in enumerate(document.sequence(entry, "channels", where)):
            place = f"{where}.channels[{k}]"
            if not isinstance(item, dict):
                raise document.fail(place, "an object", item)
            which = document.integer(item, "sampler", place)
            if which >= len(samplers) or not isinstance(samplers[which], dict):
                raise document.fail(f"{place}.sampler", f"below {len(samplers)}", which)
            channel = self._channel(item, samplers[which], place)
            if channel is not None:
                channels[channel.node, channel.path] = channel
        name = entry.get("name", "")
        found = tuple(channels.values())
        return AnimationClip(
            name=name if isinstance(name, str) else "",
            channels=found,
            start=min((float(c.times[0]) for c in found), default=0.0),
            end=max((float(c.times[-1]) for c in found), default=0.0),
        )

    def _channel(
        self, entry: dict[str, Any], sampler: dict[str, Any], where: str
    ) -> Channel | None:
        document = self.document
        target = document.mapping(entry, "target", where)
        path = target.get("path")
        if path not in ("translation", "rotation", "scale", "weights"):
            self.warnings.append(f"animation of {str(path)[:40]!r} is not played")
            return None
        if "node" not in target:
            return None  # the specification requires such a channel to be ignored
        node = document.integer(target, "node", where)
        owner = document.item("nodes", node, f"{where}.node")
        if node not in (self._morphed if path == "weights" else self._moving):
            return None
        if "matrix" in owner and path != "weights":
            raise document.fail(f"{where}.node", "a node without a matrix", f"nodes[{node}]")
        interpolation = sampler.get("interpolation", "LINEAR")
        if interpolation not in _INTERPOLATIONS:
            raise document.fail(f"{where}.interpolation", str(_INTERPOLATIONS), interpolation)
        times = document.accessor(
            sampler.get("input"),
            f"{where}.input",
            types=("SCALAR",),
            max_count=limits.GLTF_MAX_KEYFRAMES,
        )[:, 0].astype(np.float64)
        if np.any(np.diff(times) < 0) or np.abs(times).max() > 1e6:
            raise document.fail(f"{where}.input", "times that do not decrease", "disorder")
        values = self._keyframes(sampler, where, path, interpolation, len(times), owner)
        return Channel(
            node=node, path=path, interpolation=interpolation, times=times, values=values
        )

    def _keyframes(
        self,
        sampler: dict[str, Any],
        where: str,
        path: str,
        interpolation: str,
        count: int,
        owner: dict[str, Any],
    ) -> np.ndarray:
        """[K,W] or, for CUBICSPLINE, [K,3,W] float64."""
        document = self.document
        kinds = {"translation": "VEC3", "rotation": "VEC4", "scale": "VEC3", "weights": "SCALAR"}
        found = document.accessor(
            sampler.get("output"),
            f"{where}.output",
            types=(kinds[path],),
            max_count=limits.GLTF_MAX_KEYFRAMES * 3,
        )
        if found.dtype.kind != "f":  # integers of rotations and weights are normalised
            found = np.maximum(found / np.float64(np.iinfo(found.dtype).max), -1.0)
        parts = 3 if interpolation == "CUBICSPLINE" else 1
        width = _WIDTHS.get(path) or self._morph_count(owner)
        if found.size != count * parts * width:
            raise document.fail(
                f"{where}.output", f"{count} x {parts} x {width} numbers", found.size
            )
        shape = (count, 3, width) if parts == 3 else (count, width)
        return found.astype(np.float64).reshape(shape)

    def _morph_count(self, owner: dict[str, Any]) -> int:
        """Number of morph targets of a node's mesh, at least 1."""
        if "mesh" not in owner:
            return 1
        mesh = self.document.item("meshes", owner["mesh"], "node.mesh")
        primitives = self.document.sequence(mesh, "primitives", "mesh")
        counts = [
            len(self.document.sequence(p, "targets", "primitive"))
            for p in primitives
            if isinstance(p, dict)
        ]
        return max([1, *counts])
