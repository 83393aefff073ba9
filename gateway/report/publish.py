"""What may be published of a roll-up: the open series as CSV, with a dictionary that explains columns and names.

A figure is open or closed by nature (a ship company's energy is its own business); the shore file may close more.
Calls of fewer vessels than `open_vessels` would give away what one company does. Then the figures of calls of that
cut (by site, by month, …) are all held back, since the others and the total would tell the one that is missing;
the dictionary says so.
"""

import csv
import io
from collections.abc import Sequence
from fnmatch import fnmatchcase

from gateway.report.data import text
from gateway.report.figure import Figure
from gateway.report.rollup import Rollup, Slice
from gateway.texts import load_texts

OF_CALLS = (  # figures that come from ships
    "calls.", "co2.grid_calls", "co2.avoided", "co2.net", "co2.resold", "port.ships", "port.resold",
)  # fmt: skip
COLUMNS = ("name", "where", "period", "value", "unit", "coverage", "perimeter", "formula", "factors", "origin")


def open_figures(rollup: Rollup, closed: Sequence[str], vessels: int) -> tuple[list[Figure], list[str]]:
    """Figures that may be published, and the keys of those that are held back for too few vessels."""
    found = [f for f in rollup.figures() if f.open and not any(fnmatchcase(f.key, pattern) for pattern in closed)]
    thin = {_cut(f.key) for f in found if f.key.startswith(OF_CALLS) and 0 < _vessels(rollup, f.key) < vessels}
    held = [f.key for f in found if f.key.startswith(OF_CALLS) and _cut(f.key) in thin]
    return [f for f in found if f.key not in held], held


def open_csv(rollup: Rollup, figures: Sequence[Figure]) -> bytes:
    """A line per figure. An empty value: not measured."""
    origin = "SIMULATION" if rollup.simulated else "real"
    lines = []
    for f in figures:
        name, _, where = f.key.partition("/")
        period = _parts(f.key).get("month", str(rollup.period))
        lines.append([
            name, where, period, text(f.value), f.unit, text(f.coverage), f.perimeter, f.formula,
            " ".join(f.factors), origin,
        ])  # fmt: skip
    return _csv([list(COLUMNS), *lines])


def dictionary_csv(rollup: Rollup, figures: Sequence[Figure], held: Sequence[str]) -> bytes:
    """What each column and each name of the open series means, in French and English."""
    fr, en = load_texts("fr"), load_texts("en")
    lines: list[list[str]] = [["kind", "name", "unit", "fr", "en"]]
    for column in COLUMNS:
        key = f"report.open.{column}"
        lines.append(["column", column, "", fr(key), en(key)])
    monthly = {f.key.partition("/")[0]: f.formula for s in rollup.slices for f in s.figures.values()}
    for name, figure in {f.key.partition("/")[0]: f for f in figures}.items():
        key = f"report.formula.{monthly.get(name, figure.formula)}"  # of a sum, what its parts are
        lines.append(["figure", name, figure.unit, fr.template(key) or "", en.template(key) or ""])
    lines += [["withheld", key, "", fr("report.open.withheld"), en("report.open.withheld")] for key in held]
    lines.append(["scope", rollup.name, "", ", ".join(rollup.sites), ", ".join(rollup.sites)])
    return _csv(lines)


def _cut(key: str) -> frozenset[str]:
    """How a figure cuts the whole: by site, by month, by both, …"""
    return frozenset(_parts(key)) - {"baseline"}


def _vessels(rollup: Rollup, key: str) -> int:
    """Vessels behind a figure; those without a name count as one."""
    parts = _parts(key)
    found: list[Slice] = list(rollup.slices)
    for scope in ("site", "port", "operator", "month"):
        if scope in parts:
            found = [s for s in found if s in rollup.chosen(scope, parts[scope])]
    return len({vessel for s in found for vessel in s.vessels})


def _parts(key: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in key.partition("/")[2].split(",") if part)


def _csv(lines: Sequence[Sequence[str]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue().encode()
