"""What is left of a site file whose tables do not validate, so that its other mistakes can be told at once."""

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from edge.modbus_settings import MODBUS_KEYS

ROUNDS = 6  # a table that is taken out may show another one below it
NAMING = ("name", "profile")  # keys by which tables refer to one another
Place = tuple[int | str, ...]


def salvage(model: type[BaseModel], table: dict[str, Any], error: ValidationError) -> tuple[Any, list[Place]]:
    """The model without what is wrong in it, and where that was; None if too much is.

    A wrong value is taken out, so that its default stands; what has no default gets a stand-in. Whatever is then
    said about such a place may be the stand-in's fault: `trusted` tells.
    """
    table, places = copy.deepcopy(table), [error_["loc"] for error_ in error.errors()]
    for _ in range(ROUNDS):
        for problem in error.errors():
            _mend(table, problem)
        try:
            return model.model_validate(table), places
        except ValidationError as again:
            error = again
    return None, places


def _mend(table: Any, problem: Any) -> None:
    """Take one wrong value out, or put a stand-in where one is missing."""
    place: Place = problem["loc"]
    way = [table]  # as far as the place is in the file; a step behind that names a member of a union
    for step in place[:-1]:
        inner = way[-1][step] if _has(way[-1], step) else None
        if not isinstance(inner, dict | list):
            break
        way.append(inner)
    if not place:
        return
    last: Any = way[-1]
    step = place[len(way) - 1]
    if problem["type"] == "missing":
        last[step] = _stand_in(place)
    elif isinstance(last, list):
        last[int(step)] = {}
    elif step in last:
        del last[step]
    elif len(way) > 1:
        way[-2].pop(place[len(way) - 2], None)


def _has(table: Any, step: int | str) -> bool:
    if isinstance(table, dict):
        return step in table
    return isinstance(table, list) and isinstance(step, int) and step < len(table)


def _stand_in(place: Place) -> Any:
    name = place[-1]
    if name in ("site", "broker"):
        return {}
    if name in ("schema", "series", "parallel", "chamber_area_m2"):
        return 1
    return "-".join(str(step) for step in place)


def trusted(key: str, places: Iterable[Place]) -> bool:
    """Whether what is said about a key can be believed, though these places of the file are wrong.

    It cannot below a wrong place, in a table of which a key is wrong that others follow from, and where devices
    are referred to by names that are wrong themselves.

    Args:
        key: As in `device[2].host`.
    """
    leading = (*MODBUS_KEYS, *NAMING, "url")
    for place in places:
        wrong, table = _text(place), _text(place[:2])
        if key == wrong or key.startswith((f"{wrong}.", f"{wrong}[")):
            return False
        whole = len(place) < 3
        if place[:1] == ("device",) and (whole or place[2] in leading) and key.startswith(f"{table}."):
            return False
        refers = key.startswith("berth[") or key.endswith(".parent")
        if refers and place[:1] == ("device",) and (whole or place[2] in NAMING):
            return False
    return True


def _text(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
