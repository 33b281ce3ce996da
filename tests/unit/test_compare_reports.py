"""Two reports, object by object: paired figures, what is left out, what is refused."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orster_cli.artifacts.store import begin
from orster_cli.commands.evaluate import compare_reports as run
from orster_cli.core.errors import InputError, IntegrityError
from orster_cli.core.reporting import Silent
from orster_cli.metrics.bootstrap import mean_interval
from orster_cli.report.comparison import compare_reports, comparison_markdown
from orster_cli.report.file import REPORT, load_report
from orster_cli.ui.out import Out
from tests.helpers.reports import report

NAMES = ("old", "new")


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    before = copy.deepcopy((first, second))
    result = compare_reports(first, second, NAMES)
    assert (first, second) == before
    return result


def means(values: dict[str, Any], name: str) -> np.ndarray:
    return np.array([one["mean"][name] for one in values["subjects"]])


# -- figures


def test_differences_are_paired() -> None:
    first, second = report(12), report(12, gain=0.1)
    rng = np.random.default_rng(5)
    for one in second["subjects"]:
        one["mean"]["psnr"] += float(rng.normal(0, 0.2))
        one["mean"]["flicker"] += float(rng.normal(0, 0.001))
    second["subjects"].reverse()  # pairs go by name, not by place
    result = compare(first, second)["metrics"]
    second["subjects"].reverse()
    d = means(second, "psnr") - means(first, "psnr")
    assert 0 < (d > 0).sum() < 12  # both ways, else the counts below say little
    found = result["psnr"]
    assert found["difference"] == pytest.approx(d.mean(), abs=1e-12)
    assert found["first"] == pytest.approx(means(first, "psnr").mean(), abs=1e-12)
    assert found["second"] == pytest.approx(means(second, "psnr").mean(), abs=1e-12)
    assert found["interval"] == pytest.approx(mean_interval(d))
    assert (found["improved"], found["worsened"]) == ((d > 0).sum(), (d < 0).sum())
    assert found["objects"] == 12
    # pairing is what makes it narrow: objects differ by more than the two reports do
    unpaired = np.subtract(*mean_interval(means(first, "psnr"))[::-1])
    assert found["interval"][1] - found["interval"][0] < unpaired / 4
    d = means(second, "flicker") - means(first, "flicker")
    found = result["flicker"]  # where less is better
    assert (found["improved"], found["worsened"]) == ((d < 0).sum(), (d > 0).sum())


def _with_content(values: dict[str, Any], digests: list[str | None]) -> dict[str, Any]:
    for one, digest in zip(values["subjects"], digests, strict=True):
        one["reference_sha256"] = digest
    return values


def test_subjects_are_paired_by_the_content_of_their_reference() -> None:
    """Whatever the subject or its reference is called in either report."""
    first = _with_content(report(4), ["aa", "bb", "cc", "dd"])
    second = _with_content(report(4, gain=1), ["aa", "bb", "cc", "dd"])
    second["subjects"][0] |= {"name": "frog, again", "reference": "data-2/frog"}
    second["subjects"][1]["name"], second["subjects"][2]["name"] = "object-02", "object-01"
    result = compare(first, second)
    assert result["subjects"]["paired"] == [f"object-0{i}" for i in range(4)]
    assert result["subjects"]["only_second"] == []
    found = result["metrics"]["psnr"]  # a swap of names would give two other differences
    assert found["difference"] == pytest.approx(1, abs=0.05)
    assert found["improved"] == 4


def test_an_equal_name_of_another_content_is_no_pair() -> None:
    first = _with_content(report(4), ["aa", "bb", "cc", "dd"])
    second = _with_content(report(4), ["aa", "bb", "cc", "xx"])
    result = compare(first, second)
    assert result["subjects"]["left_out"] == {"object-03": "another reference in the two reports"}
    assert len(result["subjects"]["paired"]) == 3
    one = compare_reports(_only(first, 0), _only(second, 0), NAMES)
    assert one["subjects"]["paired"] == ["object-00"]
    with pytest.raises(InputError, match="another reference"):
        compare_reports(_only(first, 3), _only(second, 3), NAMES)


def test_a_reference_that_several_subjects_share_pairs_them_by_name() -> None:
    first = _with_content(report(4), ["aa"] * 4)
    second = _with_content(report(4, gain=1), ["aa"] * 3 + [None])  # the last by an older orster
    second["subjects"].reverse()
    result = compare(first, second)
    assert result["subjects"]["paired"] == [f"object-0{i}" for i in range(4)]
    assert result["metrics"]["psnr"]["improved"] == 4


def _only(values: dict[str, Any], index: int) -> dict[str, Any]:
    found = copy.deepcopy(values)
    found["subjects"] = [found["subjects"][index]]
    return found


def test_a_metric_without_a_better_way_counts_nothing() -> None:
    found = compare(report(4), report(4, gain=1))["metrics"]["motion"]
    assert found["improved"] is found["worsened"] is None
    assert found["difference"] == 0


def test_equal_values_are_neither_better_nor_worse() -> None:
    found = compare(report(4), report(4))["metrics"]["psnr"]
    assert (found["difference"], found["improved"], found["worsened"]) == (0, 0, 0)
    assert found["interval"] == [0, 0]


def test_sets_have_a_difference_and_no_interval() -> None:
    found = compare(report(4), report(4, gain=1))["metrics"]["fvd"]
    assert (found["first"], found["second"]) == pytest.approx((512.3, 502.3))
    assert found["difference"] == pytest.approx(-10)
    assert found["interval"] is found["improved"] is None


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_pair_with_an_undefined_value_does_not_count(value: float | None) -> None:
    first, second = report(5), report(5, gain=1)
    first["subjects"][1]["mean"]["psnr"] = value
    del second["subjects"][2]["mean"]["psnr"]
    found = compare(first, second)["metrics"]["psnr"]
    kept = [0, 3, 4]
    d = [second["subjects"][i]["mean"]["psnr"] - first["subjects"][i]["mean"]["psnr"] for i in kept]
    assert found["objects"] == 3
    assert found["difference"] == pytest.approx(np.mean(d))
    assert found["first"] == pytest.approx(
        np.mean([first["subjects"][i]["mean"]["psnr"] for i in kept])
    )


def test_of_two_objects_there_is_no_interval() -> None:
    found = compare(report(2), report(2, gain=1))["metrics"]["psnr"]
    assert found["interval"] is None
    assert found["objects"] == 2


# -- what is left out, with why


def test_subjects_of_one_report_are_listed() -> None:
    first, second = report(5), report(5)
    del first["subjects"][4], second["subjects"][0]
    result = compare(first, second)
    assert result["subjects"]["paired"] == ["object-01", "object-02", "object-03"]
    assert result["subjects"]["only_first"] == ["object-00"]
    assert result["subjects"]["only_second"] == ["object-04"]
    assert result["metrics"]["psnr"]["objects"] == 3
    assert "two sets of subjects differ" in result["metrics_left_out"]["fvd"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("reference", "another"), ("condition", {"text": "x", "image": None}), ("times", [0.0])],
)
def test_a_name_that_stands_for_something_else_is_no_pair(key: str, value: object) -> None:
    first, second = report(4), report(4)
    second["subjects"][2][key] = value
    result = compare(first, second)
    assert result["subjects"]["left_out"] == {"object-02": f"another {key} in the two reports"}
    assert result["metrics"]["psnr"]["objects"] == 3
    assert "fvd" in result["metrics_left_out"]


def test_another_network_leaves_out_its_metrics_only() -> None:
    first, second = report(4), report(4)
    second["networks"]["clip"]["sha256"] = "ef" * 32
    result = compare(first, second)
    assert list(result["metrics_left_out"]) == ["clip-o"]
    why = result["metrics_left_out"]["clip-o"]
    assert why == "network clip differs: sha256 cd34cd34cd34 in old, efefefefefef in new"
    assert "clip-o" not in result["metrics"]
    assert {"psnr", "fvd"} <= set(result["metrics"])


def test_another_definition_leaves_a_metric_out() -> None:
    first, second = report(4), report(4)
    second["metrics"]["ssim"]["definition"] = "over luminance"
    assert compare(first, second)["metrics_left_out"] == {
        "ssim": "not the same in both: its definition"
    }


def test_a_metric_of_one_report_is_left_out() -> None:
    first, second = report(4), report(4)
    del second["metrics"]["ssim"], first["metrics"]["motion"]
    left_out = compare(first, second)["metrics_left_out"]
    assert left_out == {"ssim": "not in new", "motion": "not in old"}


def test_a_metric_that_is_never_defined_is_left_out() -> None:
    first, second = report(3), report(3)
    for one in first["subjects"]:
        one["mean"]["psnr"] = None
    first["summary"]["fvd"]["mean"] = None
    left_out = compare(first, second)["metrics_left_out"]
    assert left_out == dict.fromkeys(("psnr", "fvd"), "not defined for any subject of both")


# -- what is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"background": "black"}, "background is 'white' in old and 'black' in new"),
        ({"width": 256}, "width is 128 in old and 256 in new"),
        ({"version": 2}, "version is 1 in old and 2 in new"),
        ({"name": "c4d"}, "name is 'orster' in old and 'c4d' in new"),
        ({"gamma": 2.2}, "gamma is not set in old and 2.2 in new"),
        ({"seed": 1, "views": 4}, "views is 36 in old and 4 in new; seed is None in old"),
    ],
)
def test_another_protocol_is_refused(change: dict[str, Any], said: str) -> None:
    second = report(4)
    second["protocol"] |= change
    with pytest.raises(InputError) as caught:
        compare(report(4), second)
    assert said in str(caught.value)
    assert "same protocol" in str(caught.value.hint)


def test_a_description_changes_no_figure() -> None:
    second = report(4)
    second["protocol"]["description"] = "in other words"
    assert compare(report(4), second)["metrics"]


@pytest.mark.parametrize("place", [0, 1])
def test_older_reports_are_refused_with_how_to_make_them_again(place: int) -> None:
    both = [report(4), report(4)]
    both[place]["version"] = 1
    with pytest.raises(
        InputError, match=f"{NAMES[place]}: expected a report of version 2, got 1"
    ) as e:
        compare(*both)
    assert f"orster evaluate SUBJECT --reference REFERENCE -o {NAMES[place]} --force" in str(
        e.value.hint
    )


def test_newer_reports_and_other_files_are_refused() -> None:
    with pytest.raises(InputError, match="version 2, got 3") as caught:
        compare(report(4), report(4) | {"version": 3})
    assert "update" in str(caught.value.hint)
    with pytest.raises(InputError, match="another kind of JSON"):
        compare(report(4), report(4) | {"format": "orster-comparison"})


def test_no_subject_in_common_is_refused() -> None:
    first, second = report(2), report(2)
    for one in second["subjects"]:
        one["name"] += "-b"
    with pytest.raises(InputError, match="old and new have no subject in common"):
        compare(first, second)


def test_single_subjects_of_one_reference_are_a_pair_whatever_their_names() -> None:
    first, second = report(1), report(1, gain=1)
    second["subjects"][0]["name"] = "another-run"
    result = compare(first, second)
    assert result["subjects"] == {
        "paired": ["object-00"],
        "only_first": [],
        "only_second": [],
        "left_out": {},
    }
    assert result["metrics"]["psnr"]["objects"] == 1
    second["subjects"][0]["reference"] = "another"
    with pytest.raises(InputError, match="object-00: another reference in the two reports"):
        compare(first, second)
    first["subjects"][0]["reference"] = second["subjects"][0]["reference"] = None
    with pytest.raises(InputError, match="no subject in common"):
        compare(first, second)


def test_no_metric_in_common_is_refused_with_each_reason() -> None:
    first, second = report(2), report(2)
    first["metrics"] = {"clip-o": first["metrics"]["clip-o"]}
    second["metrics"] = {"psnr": second["metrics"]["psnr"]}
    with pytest.raises(InputError, match=r"\(clip-o: not in new; psnr: not in old\)"):
        compare(first, second)


# -- as text


def test_markdown_of_a_comparison() -> None:
    first, second = report(12), report(12, gain=0.5)
    first["subjects"].pop()
    second["networks"]["clip"]["sha256"] = "ef" * 32
    second["subjects"][1]["times"] = None
    result = compare(first, second)
    text = comparison_markdown(result)
    (row,) = [line for line in text.split("\n") if line.startswith("| psnr")]
    found = result["metrics"]["psnr"]
    low, high = found["interval"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "psnr (dB) ↑",
        f"{found['first']:.2f}",
        f"{found['second']:.2f}",
        f"{found['difference']:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        f"{found['improved']} / {found['worsened']}",
        "10",
    ]
    assert "first `old`, second `new`; protocol orster, version 1; subjects in both: 10." in text
    assert "- clip-o is left out: network clip differs" in text
    assert "- subject object-01 is left out: another times" in text
    assert "- only in `new`: object-11" in text
    assert "only in `old`" not in text


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, values in zip(files, (report(4), report(3, gain=1)), strict=True):
        file.write_text(json.dumps(values))
    out, err = io.StringIO(), io.StringIO()
    run(*files, Out(stdout=out, stderr=err))
    assert "| psnr (dB) ↑" in out.getvalue()
    assert str(files[0]) in out.getvalue()
    assert (
        "subjects that are not compared, because both reports do not have them: 1" in err.getvalue()
    )
    out = io.StringIO()
    run(*files, Out(as_json=True, stdout=out, stderr=err))
    result = json.loads(out.getvalue())
    assert result["ok"] is True
    assert result["metrics"]["psnr"]["objects"] == 3
    assert result["names"] == [str(file) for file in files]


# -- files


def test_a_report_is_read_from_a_file_and_from_an_artifact(tmp_path: Path) -> None:
    values = report(3)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(values))
    assert load_report(file) == values
    folder = tmp_path / "report"
    draft = begin(
        folder, kind="report", command="evaluate", config={}, force=False, reporter=Silent()
    )
    with draft:
        (draft.dir / REPORT).write_text(json.dumps(values))
        draft.commit({})
    assert load_report(folder) == values
    (folder / REPORT).write_text("{}")
    with pytest.raises(IntegrityError, match=REPORT):
        load_report(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        load_report(tmp_path / "empty")
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        load_report(tmp_path / "none.json")


def test_keys_that_a_later_version_adds_are_no_error(tmp_path: Path) -> None:
    values = report(2) | {"made_with": "a later orster"}
    values["subjects"][0]["seconds"] = 3.5
    (tmp_path / "x.json").write_text(json.dumps(values))
    assert load_report(tmp_path / "x.json") == values


def _set(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def _drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        place: Any = values
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop("protocol"), "protocol: Field required"),
        (_drop("protocol", "name"), "protocol has no name"),
        (_drop("metrics", "psnr", "better"), r"metrics\.psnr\.better"),
        (_drop("subjects", 1, "condition"), r"subjects\.1\.condition"),
        (_set("metrics", "psnr", "better", to="up"), r"metrics\.psnr\.better"),
        (_set("metrics", "psnr", "scope", to="pixel"), r"metrics\.psnr\.scope"),
        (_set("subjects", to=[]), "subjects"),
        (_set("subjects", to={}), "subjects"),
        (_set("subjects", 0, "mean", "psnr", to="24"), r"subjects\.0\.mean\.psnr"),
        (_set("subjects", 0, "mean", "psnr", to=True), r"subjects\.0\.mean\.psnr"),
        (_set("subjects", 0, "mean", "pnsr", to=1.0), "no definition"),
        (_set("subjects", 0, "mean", "fvd", to=1.0), "no definition"),
        (_set("subjects", 0, "frames", "clip-o", to=[1.0]), "no definition"),
        (_set("subjects", 0, "frames", "psnr", to=1.0), r"subjects\.0\.frames\.psnr"),
        (_set("subjects", 0, "name", to="object-01"), "subjects of one name: 'object-01'"),
        (_set("summary", "psnr", "interval", to=[1.0]), r"summary\.psnr\.interval"),
        (_set("summary", "psnr", "objects", to=-1), r"summary\.psnr\.objects"),
        (_set("summary", "other", to={"mean": 1, "interval": None, "objects": 1}), "no definition"),
        (_drop("networks", "i3d"), "'fvd' names network 'i3d'"),
        (_set("version", to="2"), "version 2, got '2'"),
        (_set("version", to=1), "version 2, got 1"),
        (_set("format", to="other"), "another kind of JSON"),
        (_set("protocol", "nested", to={"a": 1}), "protocol"),
    ],
)
def test_a_file_that_is_wrong_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    values = report(3)
    change(values)
    file = tmp_path / "x.json"
    file.write_text(json.dumps(values))
    with pytest.raises(InputError, match=said) as caught:
        load_report(file)
    assert str(file) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "[1]", "null", '{"format": NaN}', '{"a": 1, "a": 1}', "\0"])
def test_bytes_that_are_no_report(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        load_report(file)


def test_a_report_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(report(3))[:-40])
    with pytest.raises(InputError, match=r"x\.json: not valid JSON"):
        load_report(file)


def test_a_report_from_before_a_setting_compares_with_one_of_its_default() -> None:
    first, second = report(4), report(4)
    second["protocol"]["up"] = "z"
    assert compare(first, second)["metrics"]["psnr"]["difference"] == 0
    second["protocol"]["up"] = "-y"
    with pytest.raises(InputError, match=r"up is 'z' in .* and '-y' in "):
        compare(first, second)
