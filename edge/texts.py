"""The gateway's sentences, French and English: `text/fr.toml` and `text/en.toml` have the same keys."""

import os
import string
import tomllib
from functools import cache
from importlib import resources
from typing import Any

LANGS = ("fr", "en")


class _Formatter(string.Formatter):
    """Numbers as the language writes them."""

    def __init__(self, decimal: str) -> None:
        self._decimal = decimal

    def format_field(self, value: Any, format_spec: str) -> str:
        text: str = format(value, format_spec)
        return text.replace(".", self._decimal) if isinstance(value, float) else text


class Texts:
    """One language. `texts("plan.title")` is a sentence, its values put in by name."""

    def __init__(self, lang: str) -> None:
        """Raises: ValueError, where there is no such language."""
        if lang not in LANGS:
            raise ValueError(f"language {lang!r} is not one of {', '.join(LANGS)}")
        self.lang = lang
        self._table = _load(lang)
        self._formatter = _Formatter(self._table["decimal"])

    def __call__(self, key: str, /, **values: object) -> str:
        part: Any = self._table
        for step in key.split("."):
            part = part[step]
        return self._formatter.vformat(str(part), (), values)


def texts_for(lang: str = "") -> Texts:
    """The language asked for; else English where the terminal's is, and French everywhere else."""
    return Texts(lang or ("en" if os.environ.get("LANG", "").startswith("en") else "fr"))


@cache
def _load(lang: str) -> dict[str, Any]:
    return tomllib.loads((resources.files("edge") / "text" / f"{lang}.toml").read_text(encoding="utf-8"))
