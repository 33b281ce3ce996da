"""The page of one artifact in the gallery, in node: what it shows when the server fails or is slow."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "orster_cli" / "gallery" / "page" / "page.js"
STAND_INS = """
  const box = { replaceChildren(...parts) { this.text = parts.join(" "); }, text: "" };
  const byId = () => box, document = {}, location = { hash: "" };
  const make = (tag, values, text) => text, isDraft = (one) => one.draft, relatives = () => [];
  const address = (one) => `#${one.key}`, updateDraft = () => {}, draftPage = (one) => [one.name];
  const artifactPage = (one, full) => [one.name, full.folder];
  const state = { artifacts: ["a", "b"].map((key) => ({ key, name: `name of ${key}` })), cards: 1 };
  const fails = [], waiting = [];
  const answer = (key) => ({ ok: true, json: async () => ({ folder: `folder of ${key}` }) });
  const fetch = async (path) => {
    const key = path.split("/").pop(), how = fails.shift();
    if (how === "late") await new Promise((done) => waiting.push(done));
    if (how === "lost") throw new TypeError("Failed to fetch");
    if (how === "text") return { ok: true, json: async () => JSON.parse("<html>") };
    return how === "gone" ? { ok: false } : answer(key);
  };
  const show = (key) => { location.hash = `#${key}`; return showDetail(key); };
  const found = [];
"""


def shown(script: str) -> list[str]:
    """What `script` finds: it shows pages one after another."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    page = PAGE.read_text("utf-8")
    part = page[page.index("let open = ") : page.index("function draftPage")]
    whole = f"{STAND_INS}{part}(async () => {{{script}\nconsole.log(JSON.stringify(found)); }})();"
    done = subprocess.run([node, "-e", whole], capture_output=True, text=True, check=True)
    texts: list[str] = json.loads(done.stdout)
    return [text.strip() for text in texts]


@pytest.mark.parametrize("how", ["lost", "gone", "text"])
def test_a_page_that_could_not_be_read_is_asked_for_again(how: str) -> None:
    found = shown(f"""
      fails.push("", "{how}");
      for (const key of ["b", "a", "a"]) {{ await show(key).catch(() => {{}}); found.push(box.text); }}
    """)
    assert "name of b folder of b" in found[0]
    assert "name of a It cannot be read now." in found[1]
    assert "name of a folder of a" in found[2]


def test_what_was_left_for_an_artifact_that_is_gone_is_shown_again() -> None:
    found = shown("""
      for (const key of ["a", "none", "a"]) { await show(key); found.push(box.text); }
      fails.push("late");
      const first = show("b");
      await show("none");
      found.push(box.text);
      await show("b");
      waiting.pop()();
      await first;
      found.push(box.text);
    """)
    assert ["No such artifact" in text for text in found] == [False, True, False, True, False]
    assert "folder of b" in found[-1]


def test_a_late_failure_does_not_replace_what_was_read_since() -> None:
    found = shown("""
      fails.push("late", "");
      const first = show("a");
      state.artifacts[0] = { ...state.artifacts[0], name: "new name" };
      await show("a");
      waiting.pop()();
      await first;
      found.push(box.text);
    """)
    assert "new name" in found[0]
