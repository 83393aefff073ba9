"""What is wrong with a profile file, all at once and by line; and what is not wrong but ought to be looked at."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.errors import ProfileError
from drivers.plan import plan
from drivers.profile import Profile, explain_all, load_profile, not_toml, shipped_profiles
from edge.site_lines import lines_of, located

NO_MEASURE = ("bool", "string")
UNJUDGED = ("_total_", "heartbeat", "alarm_word", "interlock_word", "vessel", "session_")  # no range bounds them
STAND_INS = {"schema": 1, "kind": "meter", "model": "-", "source": "-"}  # for head keys that are wrong
EXACT_FLOAT = 2**24  # beyond it a float32 skips whole numbers


@dataclass(frozen=True)
class Warned:
    """Something to look at: `key` names the sentence, `values` go into it."""

    key: str
    values: dict[str, object] = field(default_factory=dict)


def check(path: Path) -> tuple[Profile | None, list[str]]:
    """The profile if it is right, else every problem with file, line, value and remedy."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        return None, [f"{path}: cannot be read: {error.strerror}; give an existing file"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return None, [f"{path}: {not_toml(error)}"]
    try:
        profile = Profile.model_validate(table)
    except ValidationError as error:
        return None, _problems(path, text, table, error)
    try:
        for scan in profile.scans if profile.protocol == "modbus" else ():
            plan(profile, scan)
    except ProfileError as error:
        return None, [f"{path}: {line}" for line in str(error).split("\n")]
    return profile, []


def _problems(path: Path, text: str, table: dict[str, Any], error: ValidationError) -> list[str]:
    """Of single keys; then of the points to each other, as far as the points are right by themselves."""
    if error.errors()[0]["type"] == "points":
        return _between(path, text, table, error)
    told = located(explain_all(str(path), error, Profile), path, text, table)
    wrong = {e["loc"][1] for e in error.errors() if len(e["loc"]) > 1 and e["loc"][0] == "point"}
    points = table.get("point")
    if not isinstance(points, list):
        return told
    names = [str(point.get("name")) for i, point in enumerate(points) if i in wrong and isinstance(point, dict)]
    heads = {str(e["loc"][0]) for e in error.errors() if e["loc"]}
    rest = {key: value for key, value in table.items() if key not in heads} | {
        key: value for key, value in STAND_INS.items() if key in heads
    }
    rest["point"] = [point for i, point in enumerate(points) if i not in wrong]
    try:
        Profile.model_validate(rest)
    except ValidationError as again:
        if again.errors()[0]["type"] == "points" and rest["point"]:
            more = _between(path, text, table, again)
            told += [line for line in more if not any(re.search(rf"\b{re.escape(n)}\b", line) for n in names)]
    return told


def _between(path: Path, text: str, table: dict[str, Any], error: ValidationError) -> list[str]:
    """Each with the line of the last point that it names."""
    lines = lines_of(text)
    names = [str(point.get("name")) for point in table.get("point", [])]
    told = []
    for problem in error.errors()[0]["ctx"]["problems"]:
        words = set(re.findall(r"[a-z0-9_-]+", problem))
        i = max((i for i, name in enumerate(names) if name in words), default=None)
        line = lines.get(("point", i, "name")) if i is not None else lines.get(("together",))
        told.append(f"{path}:{line}: {problem}" if line is not None else f"{path}: {problem}")
    return told


def warnings(profile: Profile) -> Iterator[Warned]:
    """What a profile ought to say and does not."""
    measured = [p for p in profile.points if p.type not in NO_MEASURE and not p.codes and p.unit]
    no_range = [p.name for p in measured if p.range is None and not any(word in p.name for word in UNJUDGED)]
    if no_range:
        yield Warned("no_range", {"points": ", ".join(no_range)})
    no_sentinel = [p.name for p in measured if "int" in p.type and not p.invalid]
    if no_sentinel:
        yield Warned("no_sentinel", {"points": ", ".join(no_sentinel)})
    if len(profile.source) < 12 or not re.search(r"\d", profile.source):
        yield Warned("source", {"source": profile.source})
    no_label = [p.name for p in profile.points if not (p.fr and p.en)]
    if no_label:
        yield Warned("no_label", {"points": ", ".join(no_label)})
    known = _known_names(profile.kind)
    for point in profile.points:
        if point.name not in known and (close := difflib.get_close_matches(point.name, known, 1, 0.75)):
            yield Warned("name", {"point": point.name, "close": close[0]})
    for point in profile.points:
        if point.type == "float32" and "_total_" in point.name:
            yield Warned("float_counter", {"point": point.name, "exact": f"{EXACT_FLOAT * abs(point.scale):.0f}"})
        if point.name == "state" and not point.codes:
            yield Warned("no_codes", {"point": point.name})
    names = profile.index
    if profile.kind == "meter" and "energy_import_total_wh" not in names:
        yield Warned("no_energy", {})
    if profile.kind in ("charger", "battery", "lock") and "heartbeat" not in names:
        yield Warned("no_heartbeat", {})


def _known_names(kind: str) -> Sequence[str]:
    """Of the points that shipped profiles of this kind have."""
    profiles = [load_profile(name) for name in shipped_profiles()]
    return list(dict.fromkeys(p.name for profile in profiles if profile.kind == kind for p in profile.points))
