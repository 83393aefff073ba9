"""Every command that the documentation shows is there, with every option that it is given."""

import importlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import ROOT

from gateway.cli import GROUPS

PAGES = sorted(
    page for folder in (".", "docs", "deploy", "*", "*/*") for page in ROOT.glob(f"{folder}/*.md")
    if not {".venv", "build", "node_modules"} & set(page.relative_to(ROOT).parts)
)  # fmt: skip
FENCED = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(?:\$ |\.venv/bin/)?bollard ([a-z]+ .*)$")
INLINE = re.compile(r"`(?:\$ )?bollard ([a-z]+(?: [^`]*)?)`")


def shown(page: Path) -> list[str]:
    """What follows `bollard` in code of a page."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = FENCED.findall(text)
    blocks.append("\n".join(re.findall(r"^    (\S.*)$", text, re.MULTILINE)))
    lines = [found[1] for block in blocks for line in block.split("\n") if (found := SHOWN.match(line.strip()))]
    return lines + INLINE.findall(" ".join(FENCED.sub("", text).split()))


@cache
def command(name: str) -> Any:
    module, attribute, _ = GROUPS[name]
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    app = typer.Typer()
    app.command()(target)
    return typer.main.get_command(app)


def misfit(line: str) -> str:
    """What is wrong with a shown command; empty if nothing is."""
    if re.match(r"[a-z]+ \|", line):  # a sentence about several
        words = re.split(r"[ |]+", line)
        return next((f"no command {word}" for word in words if word.isalpha() and word not in GROUPS), "")
    words = shlex.split(line, comments=True)
    if words[0] in ("version", "needs", "generic", "simulator"):  # the last three begin sentences and names
        return ""
    if words[0] not in GROUPS:
        return f"no command {words[0]}"
    found, rest = command(words[0]), words[1:]
    if words[0] == "report" and (not rest or rest[0] not in found.commands):
        rest = ["make", *rest]  # a month says so
    while rest and hasattr(found, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name in ("…", "|") or not re.fullmatch(r"[a-z-]+", name):
            return ""
        if name not in found.commands:
            return f"no command {words[0]} {name}"
        found = found.commands[name]
        if rest and rest[0] == "|":  # `pki init | renew`
            names = [word for word in rest if word.isalpha() and word.islower()]
            return next((f"no {name}" for name in names if name not in command(words[0]).commands), "")
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {re.split(r"[=,]", word)[0] for word in rest if re.match(r"--[a-z]", word)}
    return f"{words[0]}: no option {', '.join(sorted(given - known))}" if given - known - {"--help"} else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_shown_command_is_there(page: Path) -> None:
    assert [f"bollard {line}: {why}" for line in shown(page) if (why := misfit(line))] == []


def test_a_command_that_is_not_there_would_be_found() -> None:
    assert misfit("edge chekc --site x.toml") == "no command edge chekc"
    assert misfit("edge check --sight x.toml") == "edge: no option --sight"
    assert misfit("edge check --site x.toml") == ""
