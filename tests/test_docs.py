"""The documentation tells what is there: its Python runs, its commands and options exist, every hook and public name is described."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import zoo
from zoo import hookspecs
from zoo.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)?[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_PLACEHOLDER = re.compile(r"^[A-Z][A-Z_.|]*$|^\.\.\.$|[\[\]…]")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in _BLOCK.findall(page.read_text()) if name == language]


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words after ``zoo`` of every command in a code block, without what follows a pipe, a redirection or a comment."""
    for language in ("console", "sh", "bash", ""):
        for body in blocks(page, language):
            for line in body.replace("\\\n", " ").splitlines():
                text = line.removeprefix("$ ").split("  #")[0]
                if re.match(r"(\w+=\S* )*zoo ", text):
                    words = shlex.split(re.split(r"\s[|>]|\s{3,}", text)[0])
                    yield words[words.index("zoo") + 1 :]


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and what is left of them."""
    command: click.Command = cli
    context = click.Context(cli, info_name="zoo")
    while isinstance(command, click.Group) and words:
        if words[0].startswith("-"):
            takes_value = words[0] == "--plugin"
            words = words[2 if takes_value else 1 :]
            continue
        inner = command.get_command(context, words[0])
        if inner is None:
            break
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_in_the_docs_exists(page: Path) -> None:
    for words in command_lines(page):
        command, rest = find_command(words)
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}
        for word in rest:
            option = word.split("=")[0]
            if re.match(r"^--?[a-z]", option):
                assert option in known, f"{page.name}: 'zoo {shlex.join(words)}' has the unknown option {option}"
        group_takes_no_words = isinstance(command, click.Group) and command is not cli
        assert not (group_takes_no_words and rest and not _PLACEHOLDER.search(rest[0]) and not rest[0].startswith("-")), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_api_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    code = "\n".join(blocks(ROOT / "docs" / "api.md", "python"))
    exec(compile(code, "docs/api.md", "exec"), {"__name__": "docs"})


def test_every_hook_is_described() -> None:
    guide = (ROOT / "docs" / "plugins.md").read_text()
    for name in dir(hookspecs):
        if name.startswith("register_"):
            assert f"`{name}`" in guide or f"def {name}" in guide, name


def test_every_public_name_is_described() -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in ("api.md", "plugins.md"))
    for name in set(zoo.__all__) - {"__version__", "data", "frames", "steps", "storage"}:
        assert f"zoo.{name}" in text, name


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"zoo {name}" in readme, name


def test_readme_begins_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert any("make demo" in line for line in lines[:12])
    assert any("make test" in line for line in lines[:12])
    assert len(lines) <= 200
