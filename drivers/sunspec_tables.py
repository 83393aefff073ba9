"""Writes `sunspec_models.py` from the model definitions of pysunspec2 (Apache-2.0): offsets, types, scale factors.

    python -m drivers.sunspec_tables .../sunspec2/models/json

pysunspec2 itself is no dependency: 2.6 MB, a Modbus client that is not used here and imports pyserial, for
what are a hundred lines of facts about a handful of models.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from drivers.sunspec import BATTERY_NAMES, COMMON_NAMES, METER_NAMES

MODELS = (1, 103, 203, 213, 802)
SAME = {201: 203, 202: 203, 204: 203}  # the same layout, other wiring; 201 names a line voltage otherwise
HEAD = '''"""SunSpec models: where each point is, and how it is encoded. Facts only, no code.

Written by `python -m drivers.sunspec_tables` from the definitions in pysunspec2 1.3.7; not to be edited.
Offsets count from the model's own number.
"""

from typing import NamedTuple


class Field(NamedTuple):
    """One point of a model: SunSpec's names and types."""

    name: str
    offset: int
    words: int
    type: str
    factor: str = ""  # the scale factor that it is multiplied by
    mandatory: bool = False
    codes: tuple[tuple[str, str], ...] = ()


MODELS: dict[int, tuple[Field, ...]] = {'''


def lines(folder: Path) -> Iterator[str]:
    names = METER_NAMES.keys() | BATTERY_NAMES.keys() | COMMON_NAMES.keys() | {"Mn", "Md"}
    for number in MODELS:
        points = json.loads((folder / f"model_{number}.json").read_text(encoding="utf-8"))["group"]["points"]
        used = {point.get("sf") for point in points if point["name"] in names}
        yield f"    {number}: ("
        offset = 0
        for point in points:
            if point["name"] in names or point["name"] in used:
                codes = point["symbols"] if point["type"].startswith("enum") and "symbols" in point else []
                told = tuple((str(code["value"]), str(code["name"]).replace(" ", "_")) for code in codes)
                values = [point["name"], offset, point["size"], point["type"], point.get("sf", "")]
                values += [point.get("mandatory") == "M"] + ([told] if told else [])
                yield f"        Field({', '.join(map(_literal, values))}),"
            offset += point["size"]
        yield "    ),"
    yield "}"
    yield f"MODELS |= {{twin: MODELS[model] for twin, model in {SAME!r}.items()}}"


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    text = "\n".join([HEAD, *lines(Path(sys.argv[1]))])
    Path(__file__).with_name("sunspec_models.py").write_text(text + "\n", encoding="utf-8")
