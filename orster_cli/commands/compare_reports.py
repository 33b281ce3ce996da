"""`orster evaluate --compare A B`: is the second report better than the first?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orster_cli.ui.out import Out


def run(first: Path, second: Path, out: Out) -> None:
    """Print the paired differences of two reports (folders or report.json files)."""
    from orster_cli.report.comparison import compare_reports, comparison_markdown
    from orster_cli.report.file import load_report

    result = compare_reports(load_report(first), load_report(second), (str(first), str(second)))
    subjects = result["subjects"]
    alone = len(subjects["only_first"]) + len(subjects["only_second"])
    if aside := alone + len(subjects["left_out"]):
        out.warn(f"subjects that are not compared, because both reports do not have them: {aside}")
    out.result(result, comparison_markdown(result))
