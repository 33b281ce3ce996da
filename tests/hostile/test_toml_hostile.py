"""Config files that are damaged, hostile or from another system."""

from __future__ import annotations

from pathlib import Path

import pytest

from orster_cli.config.load import resolve
from orster_cli.core.errors import ConfigError
from orster_cli.core.limits import TOML_MAX_BYTES
from orster_cli.ui.errors import exit_code


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[construct]\nseed = 1\nseed = 2\n", "not valid TOML"),
        (b"[construct]\n[construct]\n", "not valid TOML"),
        (b"[construct]\nseed = 1" + b"0_" * 2000 + b"0", "64 bits"),
        (b"[construct]\nseed = 99999999999999999999999\n", "64 bits"),
        (b"[construct]\nl1 = 99999999999999999999999\n", "expected float"),
        (b"[construct]\nseed = " + b"[" * 4000, "not valid TOML"),
        (b"[construct]\nseed = [[[[[[[[[[1]]]]]]]]]]\n", "expected int"),
        (b"a." * 50_000 + b"b = 1", "larger than"),
        (b"a." * 3000 + b"b = 1", "a line is longer"),
        (b"\n".join(b"a." * 2000 + b"k%d = 1" % k for k in range(16)), "no section 'a'"),
        (b"[construct]\nseed = " + b"[\n" * 30_000, "not valid TOML"),
        (b"[construct]\nseed = true\n", "expected int"),
        (b'[construct]\nseed = "1"\n', "expected int"),
        (b"[construct]\nseed = 1979-05-27\n", "expected int"),
        (b"[construct]\nl1 = nan\n", "finite"),
        (b"[construct]\nl1 = inf\n", "finite"),
        (b"[construct]\nl1 = -1.0\n", "at least 0"),
        (b"[construct]\nrecurrence = 'never'\n", "expected one of auto, off"),
        (b'[construct]\nrecurrence = "\\u0007"\n', "expected one of auto, off"),
        (b"[evaluate]\nmetrics = ['a\\u0000']\n".replace(b"'", b'"'), "control characters"),
        (b"[evaluate]\nmetrics = [1]\n", "expected str"),
        (b"[construkt]\nseed = 1\n", "did you mean 'construct'"),
        (b"[construct]\nsede = 1\n", "did you mean 'seed'"),
        (b"[construct.seed]\nx = 1\n", "expected int"),
        (b"[[construct]]\nseed = 1\n", "outside a section"),
        (b"seed = 1\n", "outside a section"),
        (b"\x00\x01\x02\x7fELF", "not valid TOML"),
        (b"\xff\xfe[\x00c\x00]\x00", "cannot be read"),
        (b"# " + b"x" * TOML_MAX_BYTES, "larger than"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        resolve(file=path)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 600
    assert exit_code(caught.value) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"# nothing but a comment",
        b"\xef\xbb\xbf[construct]\nseed = 0\n",  # a byte-order mark
        b"[construct]\r\nseed = 0\r\n",  # another system's line ends
        b"[construct]\n",
    ],
)
def test_odd_but_good_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(data)
    assert resolve(file=path).config == resolve().config


def test_files_that_are_none(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.toml", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="cannot be read"):
            resolve(file=path)


def test_a_file_name_cannot_break_out_of_its_comment(tmp_path: Path) -> None:
    from orster_cli.config.load import read_toml, to_toml

    path = tmp_path / "a\nseed = 7\x1b[31m.toml"
    path.write_text("[construct]\nseed = 1\n")
    text = to_toml(resolve(file=path), ["construct"])
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert read_toml(again)["construct"]["seed"] == 1
    assert "\x1b" not in text
