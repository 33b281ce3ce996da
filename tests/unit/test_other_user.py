"""A test that becomes another user leaves its process as it was."""

from __future__ import annotations

import codecs
import encodings
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.other_user import as_nobody

REPOSITORY = Path(__file__).resolve().parents[2]
HIDDEN = """
import codecs, encodings, os, sys
from tests.helpers.other_user import as_nobody
places, encodings.__path__ = encodings.__path__, []  # as where only root may look
with as_nobody():
    try:
        codecs.lookup("utf-8-sig")
        sys.exit("found")
    except LookupError:
        encodings.__path__ = places
print(codecs.lookup("utf-8-sig").name)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_codec_that_nobody_may_read_is_found_afterwards() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", HIDDEN],
        env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("utf-8-sig\n", "")


def test_the_user_is_the_same_afterwards() -> None:
    user = os.geteuid()
    with as_nobody():
        pass
    assert os.geteuid() == user
    assert codecs.lookup("utf-8") is not None
    assert encodings.search_function("utf-8") is not None
