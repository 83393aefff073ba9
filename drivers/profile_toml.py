"""A profile as the text of a profile file: how a discovered device is kept, to be read and changed by a person."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from drivers.profile import Profile


def as_toml(profile: Profile) -> str:
    """Text that `parse_profile` turns into the same profile, with the same hash."""
    return "\n".join(_lines(profile)) + "\n"


def _lines(profile: Profile) -> Iterator[str]:
    head = profile.model_dump(by_alias=True, exclude_defaults=True)
    points = head.pop("point")
    yield from (f"{key} = {value_text(value)}" for key, value in head.items())
    for point in points:
        yield from ("", "[[point]]", *(f"{key} = {value_text(value)}" for key, value in point.items()))


def value_text(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # a JSON string is a TOML string
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {value_text(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return repr(value)
