"""Sentences, numbers and dates in French and English, the same on every machine.

Sentences stand in `gateway/text/<lang>.toml`, both files with the same keys. Numbers and dates are written from
those files as well, never by the system's locale, so that a report has the same bytes everywhere.
"""

import tomllib
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

LANGS = ("fr", "en")
NBSP = "\u00a0"  # between a number and its unit
NARROW_NBSP = "\u202f"  # between thousands in French, and before %
MINUS = "\u2212"


class Texts:
    """One language. `texts("report.title", site="calais")` is the sentence with its values in place."""

    def __init__(self, lang: str, sentences: dict[str, str], months: tuple[str, ...]) -> None:
        self.lang = lang
        self._sentences = sentences
        self._months = months

    def __call__(self, key: str, **values: object) -> str:
        return self._sentences[key].format(**values)

    def template(self, key: str) -> str | None:
        """A sentence with its places still open; None if there is none of that key."""
        return self._sentences.get(key)

    def all(self) -> dict[str, str]:
        """Every sentence by its key, places still open: for a page that fills them itself."""
        return dict(self._sentences)

    def number(self, value: Fraction | int, digits: int = 0) -> str:
        """A number with exactly `digits` decimals, rounded half to even, thousands set apart."""
        scaled = round(Fraction(value) * 10**digits)
        whole, part = divmod(abs(scaled), 10**digits)
        text = f"{whole:,}".replace(",", self._sentences["number.group"])
        if digits:
            text += self._sentences["number.decimal"] + f"{part:0{digits}d}"
        return MINUS + text if scaled < 0 else text

    def factor(self, value: Fraction) -> str:
        """A number with as many decimals as it has, at least one: 52.0, 3.206, 0.00018."""
        digits = next((d for d in range(1, 10) if (value * 10**d).denominator == 1), 9)
        return self.number(value, digits)

    def quantity(self, value: Fraction | int, unit: str, digits: int = 0) -> str:
        return f"{self.number(value, digits)}{NBSP}{unit}"

    def percent(self, share: Fraction, digits: int = 1) -> str:
        """A share, cut and not rounded: only what is whole reads 100 %, only what is nothing reads 0 %."""
        step = Fraction(1, 100 * 10**digits)
        space = self._sentences["number.percent"]
        if 0 < share < step:
            return f"<{NBSP}{self.number(step * 100, digits)}{space}%"
        return f"{self.number(share // step * step * 100, digits)}{space}%"

    def date(self, t_ns: int, zone: ZoneInfo) -> str:
        return local(t_ns, zone).strftime(self._sentences["number.date"])

    def instant(self, t_ns: int, zone: ZoneInfo, seconds: bool = False) -> str:
        """Local date and time; with its distance from UTC in the hour that a change of clocks repeats."""
        at = local(t_ns, zone)
        text = at.strftime(f"{self._sentences['number.date']} %H:%M" + (":%S" if seconds else ""))
        repeated = at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset()
        return f"{text} UTC{at.strftime('%z')[:3]}" if repeated else text

    def duration(self, seconds: int) -> str:
        """Days, hours, minutes and seconds, from the first that is not zero, at most two of them."""
        parts = [(seconds // 86_400, self._sentences["number.day"]), (seconds // 3600 % 24, "h")]
        parts += [(seconds // 60 % 60, "min"), (seconds % 60, "s")]
        while len(parts) > 1 and parts[0][0] == 0:
            parts.pop(0)
        return " ".join(f"{count}{NBSP}{unit}" for count, unit in parts[:2])

    def month(self, year: int, month: int) -> str:
        return f"{self._months[month - 1]} {year}"

    def period(self, year: int, month: int, span: str) -> str:
        """A month, a half-year or a year, by its first month."""
        if span == "month":
            return self.month(year, month)
        return self._sentences[f"number.{span}"].format(year=year, half=month // 6 + 1)


def local(t_ns: int, zone: ZoneInfo) -> datetime:
    """An instant as local time, exact to the microsecond (`datetime.fromtimestamp` takes a float)."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t_ns // 1000)).astimezone(zone)


@cache
def load_texts(lang: str) -> Texts:
    """Sentences of one language. Raises: ValueError if there is no such language."""
    if lang not in LANGS:
        raise ValueError(f"language {lang!r} is not one of {', '.join(LANGS)}")
    table = tomllib.loads(resources.files("gateway").joinpath("text", f"{lang}.toml").read_text("utf-8"))
    months = tuple(table["month"].pop("names"))
    return Texts(lang, dict(_flat("", table)), months)


def _flat(prefix: str, table: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested tables as dotted keys."""
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        found += _flat(f"{prefix}{key}.", value) if isinstance(value, dict) else [(prefix + key, value)]
    return found
