"""The part of the Kubernetes API that the examples use: which fields an object may have, and of what type.

A field's type is str, int, bool, a table of fields (an object), a list of one type, or a dict of any
names to one type. Names and types are those of the API reference (batch/v1 Job, v1 Service).
`required`: the fields that must be there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Fields:
    fields: dict[str, Any]
    required: tuple[str, ...] = ()


class Quantity(str):
    """A number with a unit, "32Gi", or a plain number."""


_METADATA = Fields({"name": str, "labels": {str: str}, "annotations": {str: str}, "namespace": str})
_CLAIM = Fields({"claimName": str, "readOnly": bool}, ("claimName",))
_VOLUME = Fields(
    {
        "name": str,
        "persistentVolumeClaim": _CLAIM,
        "emptyDir": Fields({"medium": str, "sizeLimit": Quantity}),
    },
    ("name",),
)
_CONTAINER = Fields(
    {
        "name": str,
        "image": str,
        "workingDir": str,
        "command": [str],
        "args": [str],
        "env": [Fields({"name": str, "value": str}, ("name",))],
        "resources": Fields({"requests": {str: Quantity}, "limits": {str: Quantity}}),
        "volumeMounts": [
            Fields({"name": str, "mountPath": str, "readOnly": bool}, ("name", "mountPath"))
        ],
    },
    ("name",),
)
_POD = Fields(
    {
        "containers": [_CONTAINER],
        "volumes": [_VOLUME],
        "restartPolicy": str,
        "terminationGracePeriodSeconds": int,
        "subdomain": str,
        "nodeSelector": {str: str},
    },
    ("containers",),
)
_RULE = Fields(
    {
        "action": str,
        "onPodConditions": [Fields({"type": str, "status": str}, ("type",))],
        "onExitCodes": Fields(
            {"containerName": str, "operator": str, "values": [int]}, ("operator", "values")
        ),
    },
    ("action",),
)
_JOB = Fields(
    {
        "completions": int,
        "parallelism": int,
        "completionMode": str,
        "backoffLimit": int,
        "backoffLimitPerIndex": int,
        "maxFailedIndexes": int,
        "podFailurePolicy": Fields({"rules": [_RULE]}, ("rules",)),
        "template": Fields({"metadata": _METADATA, "spec": _POD}),
    },
    ("template",),
)
_SERVICE = Fields(
    {
        "clusterIP": str,
        "publishNotReadyAddresses": bool,
        "selector": {str: str},
        "ports": [Fields({"name": str, "port": int}, ("port",))],
    }
)
KINDS = {
    ("batch/v1", "Job"): _JOB,
    ("v1", "Service"): _SERVICE,
}


def faults(document: Any) -> list[str]:
    """What the API server would refuse in an object."""
    if not isinstance(document, dict):
        return ["expected an object"]
    kind = document.get("apiVersion"), document.get("kind")
    if kind not in KINDS:
        return [f"unknown kind {kind}"]
    whole = Fields(
        {"apiVersion": str, "kind": str, "metadata": _METADATA, "spec": KINDS[kind]},
        ("metadata", "spec"),
    )
    found = _faults(document, whole, "")
    if found:
        return found
    if NAME.fullmatch(document["metadata"].get("name", "")) is None:
        return ["metadata.name: not a DNS label"]
    return _job(document["spec"]) if kind[1] == "Job" else []


def _faults(value: Any, wanted: Any, where: str) -> list[str]:
    if isinstance(wanted, Fields):
        if not isinstance(value, dict):
            return [f"{where}: expected an object"]
        missing = [f"{where}.{name}: missing" for name in wanted.required if name not in value]
        unknown = [f"{where}.{name}: unknown" for name in value if name not in wanted.fields]
        known = [
            fault
            for name, inner in value.items()
            if name in wanted.fields
            for fault in _faults(inner, wanted.fields[name], f"{where}.{name}")
        ]
        return missing + unknown + known
    if isinstance(wanted, list):
        if not isinstance(value, list) or not value:
            return [f"{where}: expected a list"]
        return [f for k, one in enumerate(value) for f in _faults(one, wanted[0], f"{where}[{k}]")]
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return [f"{where}: expected an object"]
        return [f for n, one in value.items() for f in _faults(one, wanted[str], f"{where}.{n}")]
    if wanted is Quantity:
        good = type(value) is int or (isinstance(value, str) and QUANTITY.fullmatch(value))
        return [] if good else [f"{where}: {value!r} is no quantity"]
    return [] if type(value) is wanted else [f"{where}: expected {wanted.__name__}, got {value!r}"]


def _job(spec: dict[str, Any]) -> list[str]:
    """Rules between the fields of a Job."""
    pod, found = spec["template"]["spec"], []
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        found.append("restartPolicy: a Job needs Never or OnFailure")
    if "podFailurePolicy" in spec and pod.get("restartPolicy") != "Never":
        found.append("podFailurePolicy needs restartPolicy Never")
    indexed = spec.get("completionMode") == "Indexed"
    if indexed and "completions" not in spec:
        found.append("Indexed needs completions")
    if not indexed and ("backoffLimitPerIndex" in spec or "maxFailedIndexes" in spec):
        found.append("limits for each index need completionMode Indexed")
    actions = [rule["action"] for rule in spec.get("podFailurePolicy", {}).get("rules", ())]
    found += [
        f"unknown action {a}"
        for a in actions
        if a not in ("FailJob", "FailIndex", "Ignore", "Count")
    ]
    if "FailIndex" in actions and "backoffLimitPerIndex" not in spec:
        found.append("FailIndex needs backoffLimitPerIndex")
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for container in pod["containers"]:
        mounts = {mount["name"] for mount in container.get("volumeMounts", ())}
        found += [f"no volume {name}" for name in sorted(mounts - volumes)]
    return found
