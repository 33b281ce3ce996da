"""Reads the node hierarchy of a glTF file, which must be a forest."""

from __future__ import annotations

from typing import Any

import numpy as np

from orster_cli.core import limits
from orster_cli.core.errors import LimitError
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.scene import Nodes


def read_nodes(document: GltfDocument) -> tuple[Nodes, list[int]]:
    """The transform hierarchy, and the nodes of the default scene in depth-first order."""
    entries = document.items("nodes")
    if not entries:
        raise document.fail("nodes", "at least one node", "none")
    count = len(entries)
    parent = np.full(count, -1, np.int64)
    children: list[list[int]] = []
    for i, entry in enumerate(entries):
        found = document.sequence(entry, "children", f"nodes[{i}]")
        for child in found:
            document.item("nodes", child, f"nodes[{i}].children")
            if parent[child] != -1 or child == i:
                raise document.fail(f"nodes[{child}]", "one parent and no cycle", found)
            parent[child] = i
        children.append(found)
    levels = _levels(document, parent, children)
    translation, rotation, scale = np.zeros((count, 3)), np.zeros((count, 4)), np.ones((count, 3))
    weights: dict[int, np.ndarray] = {}
    matrices: dict[int, np.ndarray] = {}
    identity = tuple(np.eye(4).reshape(-1).tolist())
    for i, entry in enumerate(entries):
        where = f"nodes[{i}]"
        if "matrix" in entry:
            matrices[i] = document.numbers(entry, "matrix", where, identity).reshape(4, 4).T
        translation[i] = document.numbers(entry, "translation", where, (0.0, 0.0, 0.0))
        scale[i] = document.numbers(entry, "scale", where, (1.0, 1.0, 1.0))
        quaternion = document.numbers(entry, "rotation", where, (0.0, 0.0, 0.0, 1.0))
        norm = float(np.linalg.norm(quaternion))
        if norm < 1e-6:
            raise document.fail(f"{where}.rotation", "a quaternion that is not zero", quaternion)
        rotation[i] = quaternion / norm
        rest = _rest_weights(document, entry, where)
        if rest is not None:
            weights[i] = rest
    nodes = Nodes(
        translation=translation,
        rotation=rotation,
        scale=scale,
        parent=parent,
        levels=levels,
        weights=weights,
        matrix=matrices,
    )
    return nodes, _scene_nodes(document, parent, children)


def _rest_weights(document: GltfDocument, entry: dict[str, Any], where: str) -> np.ndarray | None:
    """Default morph weights: the node's, else its mesh's."""
    owner = entry
    if "weights" not in entry and "mesh" in entry:
        owner = document.item("meshes", entry["mesh"], f"{where}.mesh")
    if "weights" not in owner:
        return None
    listed = document.sequence(owner, "weights", where)
    if len(listed) > limits.GLTF_MAX_MORPH_TARGETS:
        raise LimitError(f"{document.path}: {where}: {len(listed)} morph weights")
    return document.numbers(owner, "weights", where, (0.0,) * len(listed))


def _levels(
    document: GltfDocument, parent: np.ndarray, children: list[list[int]]
) -> tuple[np.ndarray, ...]:
    """Node indices by depth. A node that is not reachable from a root is part of a cycle."""
    level = [int(i) for i in np.flatnonzero(parent == -1)]
    levels: list[np.ndarray] = []
    reached = 0
    while level:
        if len(levels) >= limits.GLTF_MAX_NODE_DEPTH:
            raise LimitError(
                f"{document.path}: nodes nested deeper than {limits.GLTF_MAX_NODE_DEPTH}"
            )
        levels.append(np.array(level, np.int64))
        reached += len(level)
        level = [child for node in level for child in children[node]]
    if reached < len(parent):
        raise document.fail("nodes", "a tree", f"a cycle of {len(parent) - reached} nodes")
    return tuple(levels)


def _scene_nodes(
    document: GltfDocument, parent: np.ndarray, children: list[list[int]]
) -> list[int]:
    """The nodes of the default scene, parents before children; all nodes of a file without scenes."""
    scenes = document.items("scenes")
    if scenes:
        index = document.integer(document.root, "scene", "root", 0)
        scene = document.item("scenes", index, "scene")
        roots = document.sequence(scene, "nodes", f"scenes[{index}]")
    else:
        roots = [int(i) for i in np.flatnonzero(parent == -1)]
    ordered: list[int] = []
    seen: set[int] = set()
    queue = list(reversed(roots))
    while queue:
        node = queue.pop()
        document.item("nodes", node, "scene.nodes")
        if node in seen:
            raise document.fail("scene.nodes", "each node once", node)
        seen.add(node)
        ordered.append(node)
        queue.extend(reversed(children[node]))
    return ordered
