"""README.md and docs/: links lead somewhere, commands and settings exist, paragraphs are short."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from orster_cli.app import build
from orster_cli.config.schema import Config

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TOP = sorted(set(DOCS.glob("*.md")) - {DOCS / "LOG.md"})
INNER = sorted([*(DOCS / "howto").glob("*.md"), *(DOCS / "reference").glob("*.md")])
FOLDERS = [REPOSITORY / "examples" / "README.md", REPOSITORY / "templates" / "README.md"]
PAGES = [REPOSITORY / "README.md", *TOP, *INNER, *FOLDERS]
PATHS = [*PAGES, DOCS / "LOG.md"]
# pages that need no glossary: howto/index.md and the site's menu have it for the short ones
WITHOUT_WORDS = {DOCS / n for n in ("exit-codes.md", "glossary.md", "python.md")} | {
    *INNER,
    *FOLDERS,
}
WITHOUT_WORDS -= {DOCS / "howto" / "index.md"}
SECTIONS = {field.name for field in fields(Config)}
FILES = {
    "json",
    "md",
    "mk",
    "py",
    "safetensors",
    "sbatch",
    "toml",
    "yaml",
}  # extensions, not settings


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def anchors(text: str) -> set[str]:
    """GitHub's anchors of the headings."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def without_code(text: str) -> str:
    """Without fenced blocks and indented lines."""
    unfenced = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^ {4}.*$", "", unfenced, flags=re.MULTILINE)


def broken_links(page: Path, text: str) -> list[str]:
    found = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            found.append(target)
        elif anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
            found.append(f"{target}#{anchor}")
    return found


def command_lines(text: str) -> list[list[str]]:
    """The words after `orster` in indented blocks and in backticks, without comments."""
    lines = re.findall(
        r"^ {4}(?:\$ )?(?:.* -m orster_cli|orster) (.+)$", text, re.MULTILINE
    ) + re.findall(r"`orster ([^`\n]+)`", text)
    return [re.split(r"\s+#\s|\s&&\s", line)[0].split() for line in lines]


def unknown(words: list[str]) -> list[str]:
    """The command or the options of a line that orster does not have."""
    command = get_command(build())
    subcommands = command.commands  # type: ignore[attr-defined]
    if words[0] == "run" and "--" in words:  # what stands there belongs to the command that it runs
        mark = words.index("--")
        inner = unknown([words[1], *words[mark + 1 :]])
        words = words[:mark]
        if inner:
            return inner
    if words[0] == "COMMAND" or words[0].startswith("-"):
        return []
    while words and words[0] in subcommands:
        command = subcommands[words.pop(0)]
        subcommands = getattr(command, "commands", {})
    if subcommands and words and re.fullmatch("[a-z-]+", words[0]):
        return [words[0]]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}
    options = [re.sub(r"[=\]).,;].*", "", word.lstrip("[(")) for word in words]
    return [o for o in options if re.fullmatch("-{1,2}[a-z][a-z0-9-]*", o) and o not in known]


def settings(text: str) -> set[tuple[str, str]]:
    """(section, key) of every setting that a page names in backticks or after --set."""
    found = re.findall(rf"[`\s]({'|'.join(SECTIONS)})\.([a-z_0-9]+)(?=[`= ]|\s)", text)
    return {(section, key) for section, key in found if key not in FILES}


def long_paragraphs(text: str) -> list[str]:
    """First lines of paragraphs over five lines; not of lists, tables and code."""
    blocks = re.split(r"\n\s*\n", without_code(text))
    prose = [b.strip("\n") for b in blocks if not re.match(r"\s*([-*|#!<>]|\d+\.)", b)]
    return [b.splitlines()[0] for b in prose if len(b.splitlines()) > 5]


@pytest.mark.parametrize("page", PATHS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_exist(page: Path) -> None:
    lines = command_lines(page.read_text(encoding="utf-8"))
    assert [(words, unknown(list(words))) for words in lines if unknown(list(words))] == []


def test_there_are_commands_to_check() -> None:
    lines = [line for page in PAGES for line in command_lines(page.read_text(encoding="utf-8"))]
    assert len(lines) > 60
    assert {"construct", "evaluate", "import", "pretrain"} <= {words[0] for words in lines}


def test_settings_exist() -> None:
    named = {one for page in PAGES for one in settings(page.read_text(encoding="utf-8"))}
    assert len(named) > 20
    named.remove(("construct", "hiden"))  # exit-codes.md: an example of a mistake
    assert [
        f"{section}.{key}"
        for section, key in sorted(named)
        if not hasattr(getattr(Config(), section), key)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paragraphs_have_at_most_five_lines(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert long_paragraphs(text) == []
    prose = [line for line in without_code(text).splitlines() if not line.startswith(("|", "!"))]
    assert [line for line in prose if len(line) > 150] == []


@pytest.mark.parametrize("page", sorted(set(PAGES) - WITHOUT_WORDS), ids=name)
def test_pages_link_to_the_glossary(page: Path) -> None:
    assert re.search(r"\]\((docs/|\.\./)?glossary\.md\)", page.read_text(encoding="utf-8"))


def test_the_readme_links_to_every_page() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in (*TOP, DOCS / "LOG.md") if f"](docs/{p.name})" not in text] == []


def test_the_start_page_of_each_folder_links_to_its_pages() -> None:
    start = (DOCS / "index.md").read_text(encoding="utf-8")
    how_to = (DOCS / "howto" / "index.md").read_text(encoding="utf-8")
    for page in INNER:
        here = start if page.parent.name == "reference" else how_to
        link = f"reference/{page.name}" if page.parent.name == "reference" else page.name
        assert f"]({link})" in here or page.name == "index.md", page


def test_the_glossary_is_short_and_sorted() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows.pop(0) == ("word", "meaning")
    words = [word for word, _ in rows]
    assert 20 <= len(words) <= 40
    assert words == sorted(words, key=str.lower)
    for word, meaning in rows:
        sentences = re.split(r"(?<=\.)\s+(?=[A-Z0-9`])", meaning)
        assert len(sentences) <= 2, word
        assert len(meaning.split()) <= 40, word
        assert meaning.endswith("."), word


def test_mistakes_in_a_page_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title, with `code`\n", encoding="utf-8")
    link = "[a](page.md#a-title-with-code) [b](#a-title-with-code) [c](none.md) [d](page.md#none)"
    assert broken_links(page, link) == ["none.md", "page.md#none"]
    text = (
        "    orster constrict x\n    orster evaluate a --bench  # --no\n`orster import clip X --no`"
    )
    assert [unknown(words) for words in command_lines(text)] == [
        ["constrict"],
        ["--bench"],
        ["--no"],
    ]
    assert settings("`construct.gaussians` --set vae.none=3, `sample.toml`") == {
        ("construct", "gaussians"),
        ("vae", "none"),
    }
    prose = "one\ntwo\nthree\nfour\nfive\nsix\n\n- one\n  two\n\n    a\n    b\n"
    assert long_paragraphs(prose) == ["one"]
