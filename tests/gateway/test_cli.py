"""The command `bollard`: what its help says reaches the reader."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text

from gateway.cli import GROUPS, _load, _mount


def _helps(command: Any) -> Iterator[str]:
    """All texts of a command and of those below it."""
    yield command.help or ""
    for param in command.params:
        yield getattr(param, "help", None) or ""
    for below in getattr(command, "commands", {}).values():
        yield from _helps(below)


@pytest.mark.parametrize("name", GROUPS)
def test_no_help_loses_what_stands_in_brackets(name: str) -> None:
    """Rich takes `[device.opcua]` for a style and leaves it out, unless the bracket is escaped."""
    module, attribute, text = GROUPS[name]
    front = typer.Typer()
    _mount(front, name, getattr(_load(name, module), attribute), text)
    texts = list(_helps(typer.main.get_command(front)))
    assert len(texts) > 1
    for said in texts:
        assert Text.from_markup(said).plain == said.replace("\\[", "[")
