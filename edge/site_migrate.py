"""Site files of an older schema, brought to the present one; what a person wrote beside the keys stays.

A step works on the lines of the file, since a TOML library would lose the comments. To add one: raise
`site_checks.SCHEMA`, and give STEPS a function for the number before it.
"""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.profile import not_toml
from edge.config import ConfigError
from edge.site_checks import SCHEMA, schema_problem

Step = Callable[[list[str]], Iterator[tuple[str, dict[str, object]]]]
"""Changes the lines in place; yields each change as the key of a sentence in `text/*.toml` and its values."""


def _from_0(lines: list[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Files without a number: they have the tables and keys of 1."""
    numbered = [i for i, line in enumerate(lines) if line.partition("=")[0].strip() == "schema"]
    if numbered:
        lines[numbered[0]] = "schema = 1"
    else:
        first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
        lines.insert(first, "schema = 1")
    yield "schema", {"to": 1}


STEPS: dict[int, Step] = {0: _from_0}


def migrated(text: str, path: Path) -> tuple[str, list[tuple[str, dict[str, object]]]]:
    """The text of the present schema, and what was changed; the same text and nothing if it is of it already.

    Raises: ConfigError, for what is no TOML, and for a newer schema.
    """
    try:
        found = tomllib.loads(text).get("schema", 0)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {not_toml(error)}") from error
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise ConfigError(f"{path}: schema = {found!r}: is no version; give a number from 0 to {SCHEMA}")
    if found > SCHEMA:
        raise ConfigError(schema_problem(found, path))
    lines, changes = text.split("\n"), []
    for schema in range(found, SCHEMA):
        changes += list(STEPS[schema](lines))
    return "\n".join(lines), changes
