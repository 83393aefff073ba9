"""Where in a site file a key stands, so that a problem is told as a person looks for it: by line and by name."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Place = tuple[str | int, ...]
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")
_WHERE = re.compile(r"(?P<key>[A-Za-z_]\w*(?:\[\d+\])?(?:\.[\w-]+(?:\[\d+\])?)*)(?P<rest>(?: = |: ).*)", re.DOTALL)


def located(problems: Iterable[str], path: Path, text: str, table: dict[str, Any]) -> list[str]:
    """`site.toml: device[1].unit_id = 300: …` as `site.toml:14: device meter-1: unit_id = 300: …`.

    The line is that of the key, or of the table in which it is missing; without either it is left out.
    """
    lines = lines_of(text)
    return [_located(problem, f"{path}: ", lines, table) for problem in problems]


def _located(problem: str, start: str, lines: dict[Place, int], table: dict[str, Any]) -> str:
    found = _WHERE.fullmatch(problem.removeprefix(start)) if problem.startswith(start) else None
    if found is None:
        return problem
    place = _place(found["key"])
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
    where = start if line is None else f"{start.removesuffix(': ')}:{line}: "
    return where + _named(found["key"], place, table) + found["rest"]


def _named(key: str, place: Place, table: dict[str, Any]) -> str:
    """`device meter-1: unit_id` instead of `device[1].unit_id`, where that table has a name."""
    if len(place) < 2 or not isinstance(place[1], int):
        return key
    tables = table.get(str(place[0]))
    one = tables[place[1]] if isinstance(tables, list) and place[1] < len(tables) else None
    name = one.get("name") if isinstance(one, dict) else None
    if not isinstance(name, str) or not name:
        return key
    inside = key.partition("].")[2]
    return f"{place[0]} {name}" + (f": {inside}" if inside else "")


def _place(key: str) -> Place:
    """`device[1].meter.parent` -> ("device", 1, "meter", "parent")."""
    return tuple(int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", key))


def lines_of(text: str) -> dict[Place, int]:
    """Line of each table and key that stands on a line of its own; the first is 1."""
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _counted(header[2].split("."), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table += (counts[table],)
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *key[1].split(".")), number)
    return lines


def _counted(steps: list[str], counts: dict[Place, int]) -> Place:
    """A header's steps, with the number of the last table where one of them is an array of tables."""
    place: Place = ()
    for n, step in enumerate(steps, 1):
        place += (step,)
        if n < len(steps) and place in counts:
            place += (counts[place],)
    return place
