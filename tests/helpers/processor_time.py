"""The processor time of each test, and of the whole run: wall time depends on what else a machine does.

`--slowest 25` prints it. Counted are the process that runs the test and all that it started, user and
system time together. What several tests share counts for the first that asks for it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROPERTY = "processor seconds"
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Of this process, of those that it waited for, and (on Linux) of those that still run."""
    times = os.times()
    ended = times.user + times.system + times.children_user + times.children_system
    return ended + sum(_running(pid) for pid in _children())


def _children() -> list[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return [int(pid) for path in lists for pid in _text(path).split()]


def _running(pid: int) -> float:
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS  # own and waited for


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just ended
        return ""


class ProcessorTime:
    """Measures in whatever process runs the tests, and adds up in the one that reports."""

    def __init__(self, shown: int, config: pytest.Config) -> None:
        self.shown, self.config = shown, config
        self.tests: dict[str, float] = {}
        self.workers = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.start = processor_seconds()
        return (yield)  # type: ignore[return-value]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        if call.when == "teardown":
            item.user_properties.append((PROPERTY, processor_seconds() - self.start))
        return (yield)  # type: ignore[return-value]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.tests[report.nodeid] = float(dict(report.user_properties).get(PROPERTY, 0))  # type: ignore[arg-type]

    def pytest_sessionfinish(self) -> None:
        output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[PROPERTY] = processor_seconds()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.workers += getattr(node, "workeroutput", {}).get(PROPERTY, 0.0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.partition("::")[0]] += seconds
        write = terminalreporter.write_line
        for title, values in (("tests", Counter(self.tests)), ("files", files)):
            write(f"\nslowest {title}, in seconds of processor time")
            for name, seconds in values.most_common(self.shown):
                write(f"{seconds:8.1f}  {name}")
        own = processor_seconds()  # the workers have ended, and are among its children
        total = sum(self.tests.values())
        write(
            f"\nprocessor time: {total:.0f} s of {len(self.tests)} tests, {max(own, self.workers):.0f} s "
            "with the start of the workers"
        )
