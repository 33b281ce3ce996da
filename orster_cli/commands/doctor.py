"""`orster doctor`: will it work here?"""

from __future__ import annotations

from orster_cli.ui.options import JsonOption
from orster_cli.ui.out import Out

_MARK = {"ok": "ok", "warn": "--", "fail": "NO"}


def doctor(as_json: JsonOption = False) -> None:
    """Check the environment: Python, GPU, rasterizers, ffmpeg, disk, weights at hand.

    Exit code 4 if something is broken that a command needs. Example: orster doctor"""
    from orster_cli.core.errors import MissingResourceError
    from orster_cli.diagnosis import diagnose

    out = Out(as_json=as_json)
    findings = diagnose()
    lines = [f"[{_MARK[f.state]}] {f.name}: {f.detail}" for f in findings]
    lines += [f"     -> {f.hint}" for f in findings if f.state == "fail" and f.hint]
    values = {"checks": [{"name": f.name, "state": f.state, "detail": f.detail} for f in findings]}
    out.result(values, "\n".join(lines))
    broken = [f for f in findings if f.state == "fail"]
    if broken:
        raise MissingResourceError(
            f"{len(broken)} checks failed: {', '.join(f.name for f in broken)}",
            hint=broken[0].hint,
        )
