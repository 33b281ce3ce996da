"""Compares two reports of one protocol, subject by subject: is the second better than the first?

Differences are paired, second minus first: how hard a subject is affects both values and cancels out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orster_cli.core.errors import InputError
from orster_cli.core.names import printable
from orster_cli.metrics.bootstrap import mean_interval
from orster_cli.report.file import check_version, load_report
from orster_cli.report.markdown import code_span, escape_markdown, markdown_table
from orster_cli.report.tabular import (
    UNDEFINED,
    finite,
    format_interval,
    format_number,
    metric_label,
    places_of,
    protocol_title,
)

LATER = {"up": "z"}  # settings that older reports do not have, and what they were measured with
DESCRIPTIVE = {"about", "description", "title", "source"}  # of a protocol: no figure depends on it
SAME_OBJECT = ("condition", "times")  # equal keys of a subject in both reports
DIGEST = "reference_sha256"  # of what the reference shows; reports before 0.2 do not have it

COMPARED = [
    *("metric", "first", "second", "difference"),
    *("95 % interval", "better / worse", "objects"),
]


def compare_report_files(first: Path, second: Path) -> dict[str, Any]:
    """`compare_reports` of two report folders or report.json files, called by their paths."""
    return compare_reports(load_report(first), load_report(second), (str(first), str(second)))


def not_compared(result: Mapping[str, Any]) -> int:
    """The number of subjects that only one of the reports has, or that differ in their reference."""
    subjects = result["subjects"]
    return sum(len(subjects[key]) for key in ("only_first", "only_second", "left_out"))


def compare_reports(
    first: dict[str, Any], second: dict[str, Any], names: tuple[str, str]
) -> dict[str, Any]:
    """Paired differences of two reports (version 2), which messages call by `names`.

    Metrics whose network or definition differs and subjects whose reference differs are left out, with the
    reason. InputError: the versions or protocols differ, or no subject or metric is in both."""
    for values, name in zip((first, second), names, strict=True):
        check_version(values, name, folder=name)
    _check_protocols(first["protocol"], second["protocol"], names)
    subjects = _subjects(first, second, names)
    pairs = subjects.pop("pairs")
    whole = len(pairs) == len(first["subjects"]) == len(second["subjects"])
    metrics: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys([*first["metrics"], *second["metrics"]]):
        why = _why_not(name, first, second, names)
        about = first["metrics"].get(name, {})
        if not why and about["scope"] == "set":
            if whole:
                found = _of_sets(name, first, second)
            else:
                why = "one value for a whole set, and the two sets of subjects differ"
        elif not why:
            found = _of_pairs(name, about["better"], pairs)
        if not why and found["difference"] is None:
            why = "not defined for any subject of both"
        if why:
            left_out[name] = why
        else:
            metrics[name] = {key: about[key] for key in ("unit", "better", "scope")} | found
    if not metrics:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InputError(
            f"{names[0]} and {names[1]} share no figure that can be compared ({reasons})",
            hint="evaluate both with the same --metrics and networks",
        )
    return {
        "format": "orster-comparison",
        "version": 1,
        "names": list(names),
        "protocol": first["protocol"],
        "metrics": metrics,
        "metrics_left_out": left_out,
        "subjects": subjects,
    }


def _check_protocols(one: Mapping[str, Any], two: Mapping[str, Any], names: Sequence[str]) -> None:
    one, two = LATER | dict(one), LATER | dict(two)
    differ = [
        f"{key} is {_quoted(one, key)} in {names[0]} and {_quoted(two, key)} in {names[1]}"
        for key in dict.fromkeys([*one, *two])
        if key not in DESCRIPTIVE and (key not in one or key not in two or one[key] != two[key])
    ]
    if differ:
        raise InputError(
            f"the protocols differ, so their figures cannot be compared: {'; '.join(differ)}",
            hint="evaluate both with the same protocol and settings, then compare again",
        )


def _quoted(protocol: Mapping[str, Any], key: str) -> str:
    return printable(repr(protocol[key]))[:80] if key in protocol else "not set"


def _subjects(
    first: dict[str, Any], second: dict[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """`pairs` (subject of the first, of the second), and by name: those that are paired, that are in one
    report only, and that are left out, with the reason. Subjects are paired by the content of their
    reference where both reports have one subject of it, else by name; a single subject in each report is
    paired whatever its name, if both have a reference. InputError: there are no pairs."""
    others = _partners(first["subjects"], second["subjects"])
    found = {id(other) for other in others.values()}
    pairs, left_out = [], {}
    for one in first["subjects"]:
        other = others.get(one["name"])
        if other is None:
            continue
        if differ := _differences(one, other):
            left_out[one["name"]] = f"another {' and '.join(differ)} in the two reports"
        else:
            pairs.append((one, other))
    if not pairs:
        reasons = "".join(f"; {name}: {why}" for name, why in left_out.items())
        raise InputError(
            f"{names[0]} and {names[1]} have no subject in common{reasons}",
            hint="subjects are paired by the content of their reference, else by name: evaluate the same "
            "objects in both",
        )
    return {
        "pairs": pairs,
        "paired": [one["name"] for one, _ in pairs],
        "only_first": [one["name"] for one in first["subjects"] if one["name"] not in others],
        "only_second": [one["name"] for one in second["subjects"] if id(one) not in found],
        "left_out": left_out,
    }


def _partners(
    first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The subject of `second` for each of `first`, by its name."""
    if len(first) == len(second) == 1 and first[0]["reference"] is not None:
        return {first[0]["name"]: second[0]}  # one subject each: no need of names
    mine, theirs = _by_content(first), _by_content(second)
    found = {mine[key]["name"]: theirs[key] for key in mine.keys() & theirs.keys()}
    taken = {id(one) for one in found.values()}
    named = {one["name"]: one for one in second if id(one) not in taken}
    for one in first:
        if one["name"] not in found and one["name"] in named:
            found[one["name"]] = named[one["name"]]
    return found


def _by_content(subjects: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The subjects whose reference no other subject has, by its digest."""
    counts = Counter(one.get(DIGEST) for one in subjects)
    return {one[DIGEST]: one for one in subjects if one.get(DIGEST) and counts[one[DIGEST]] == 1}


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What is not the same of the object that two subjects show. Names of references count only where a
    report does not know their content."""
    key = DIGEST if one.get(DIGEST) and other.get(DIGEST) else "reference"
    differ = [] if one[key] == other[key] else ["reference"]
    return differ + [key for key in SAME_OBJECT if one[key] != other[key]]


def _why_not(
    name: str, first: dict[str, Any], second: dict[str, Any], names: Sequence[str]
) -> str | None:
    """Why metric `name` cannot be compared; None where it can."""
    for values, where in zip((first, second), names, strict=True):
        if name not in values["metrics"]:
            return f"not in {where}"
    one, two = first["metrics"][name], second["metrics"][name]
    if differ := [key for key in one if one[key] != two.get(key)]:
        return f"not the same in both: its {' and its '.join(differ)}"
    network = one["network"]
    if network is None:
        return None
    digests = [values["networks"][network]["sha256"] for values in (first, second)]
    if digests[0] == digests[1]:
        return None
    return (
        f"network {network} differs: sha256 {digests[0][:12]} in {names[0]}, "
        f"{digests[1][:12]} in {names[1]}"
    )


def _of_pairs(
    name: str, better: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> dict[str, Any]:
    """Means over the pairs with both values defined, and of their differences."""
    both = [(one["mean"].get(name), two["mean"].get(name)) for one, two in pairs]
    values = [(a, b) for a, b in both if len(finite([a, b])) == 2]
    if not values:
        return {"difference": None}
    differences = [b - a for a, b in values]
    sign = {"higher": 1, "lower": -1, "neither": 0}[better]
    interval = mean_interval(differences)
    return {
        "first": sum(a for a, _ in values) / len(values),
        "second": sum(b for _, b in values) / len(values),
        "difference": sum(differences) / len(values),
        "interval": None if interval is None or len(finite(interval)) < 2 else list(interval),
        "improved": sum(sign * d > 0 for d in differences) if sign else None,
        "worsened": sum(sign * d < 0 for d in differences) if sign else None,
        "objects": len(values),
    }


def _of_sets(name: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    one, two = (values["summary"].get(name, {}) for values in (first, second))
    values = finite([one.get("mean"), two.get("mean")])
    if len(values) < 2:
        return {"difference": None}
    return {
        "first": values[0],
        "second": values[1],
        "difference": values[1] - values[0],
        "interval": None,
        "improved": None,
        "worsened": None,
        "objects": one["objects"],
    }


def comparison_markdown(result: Mapping[str, Any]) -> str:
    """The result of `compare_reports` as Markdown that is legible as text too."""
    first, second = result["names"]
    subjects = result["subjects"]
    lines = [
        f"Second minus first: first {code_span(first)}, second {code_span(second)}; "
        f"protocol {escape_markdown(protocol_title(result['protocol']))}; "
        f"subjects in both: {len(subjects['paired'])}.",
        "",
        *markdown_table(COMPARED, [_row(name, f) for name, f in result["metrics"].items()]),
        "",
    ]
    for name, why in result["metrics_left_out"].items():
        lines.append(f"- {escape_markdown(name)} is left out: {escape_markdown(why)}")
    for name, why in subjects["left_out"].items():
        lines.append(f"- subject {escape_markdown(name)} is left out: {escape_markdown(why)}")
    for key, where in (("only_first", first), ("only_second", second)):
        if subjects[key]:
            lines.append(
                f"- only in {code_span(where)}: {escape_markdown(', '.join(subjects[key]))}"
            )
    return "\n".join(lines).rstrip()


def comparison_text(result: Mapping[str, Any]) -> tuple[str, list[list[str]], list[str]]:
    """The result of `compare_reports` for a terminal: a line before the table, the rows below `COMPARED`,
    and the lines after it."""
    first, second = result["names"]
    subjects = result["subjects"]
    head = (
        f"second ({second}) minus first ({first}), protocol {protocol_title(result['protocol'])}, "
        f"subjects in both: {len(subjects['paired'])}"
    )
    left_out = {**result["metrics_left_out"], **subjects["left_out"]}
    notes = [f"{name} is left out: {why}" for name, why in left_out.items()]
    for key, where in (("only_first", first), ("only_second", second)):
        if subjects[key]:
            notes.append(f"only in {where}: {', '.join(subjects[key])}")
    return head, [_row(name, found) for name, found in result["metrics"].items()], notes


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    places = places_of([found["first"], found["second"]])
    finer = max(places, min(places_of([found["difference"]]), places + 2))
    counts = UNDEFINED
    if found["improved"] is not None:
        counts = f"{found['improved']} / {found['worsened']}"
    return [
        metric_label(name, found),
        format_number(found["first"], places),
        format_number(found["second"], places),
        format_number(found["difference"], finer, sign=True),
        format_interval(found["interval"], finer, sign=True),
        counts,
        str(found["objects"]),
    ]
