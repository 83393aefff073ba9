"""The kit's sentences, French and English: `text/fr.toml` and `text/en.toml` have the same keys."""

import string
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from firmware_sim.hil.verdict import Finding


class _Formatter(string.Formatter):
    """Numbers as the language writes them: a decimal comma in French."""

    def __init__(self, comma: bool) -> None:
        self._comma = comma

    def format_field(self, value: Any, format_spec: str) -> str:
        text: str = format(value, format_spec)
        if self._comma and isinstance(value, int | float):
            text = text.replace(".", ",").replace("%", "\u202f%")
        return text


class Texts:
    """One language. `texts("sheet.title")` is a sentence; a case has a title and what it asks for."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self._table = _load(lang)
        self._formatter = _Formatter(lang == "fr")

    def __call__(self, key: str, **params: object) -> str:
        part: Any = self._table
        for step in key.split("."):
            part = part[step]
        return self._formatter.vformat(str(part), (), params)

    def title(self, case: str) -> str:
        return str(self._table["case"][case]["title"])

    def must(self, case: str, limits: Mapping[str, float]) -> str:
        """What the case asks for, with this run's limits in place."""
        return self._formatter.vformat(str(self._table["case"][case]["must"]), (), limits)

    def finding(self, finding: Finding) -> str:
        return self(f"saw.{finding.key}", **finding.params)

    def group(self, case: str) -> str:
        """Heading that a case stands under: the letters of its id."""
        return str(self._table["group"][case.partition("-")[0]])

    def cases(self) -> Sequence[str]:
        return list(self._table["case"])


@cache
def _load(lang: str) -> dict[str, Any]:
    file = resources.files("firmware_sim.hil") / "text" / f"{lang}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
