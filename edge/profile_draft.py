"""A profile begun from what is known of a device: a file that loads, with what is left to find out as comments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.probe_match import SWAPS, variant
from drivers.profile import Point, Profile
from drivers.profile_toml import value_text
from edge.texts import Texts

POINT_EXAMPLE = "power_w=3004,int32,scale=10,low=-50000,high=1300000"
NODE_EXAMPLE = "soc_bms=ns=2;s=Pack.Soc,float64"
NUMBERS = {"scale": float, "offset": float, "low": float, "high": float, "deadband": float}
WHOLE = ("length", "bit")
WORDS = ("order", "scan", "table", "scale_from", "read", "wire", "fr", "en")
KEYS = (*NUMBERS, *WHOLE, *WORDS, "invalid")


@dataclass
class PointDraft:
    """One [[point]]: its keys as they stand in the file, and what was seen of it."""

    keys: dict[str, Any]
    note: str = ""


@dataclass
class ProfileDraft:
    """What is known. `spare` points are written commented out, for a person to choose from."""

    kind: str
    model: str
    source: str
    protocol: str = "modbus"
    table: str = "holding"
    caveats: list[str] = field(default_factory=list)
    forbidden: list[list[int]] = field(default_factory=list)
    points: list[PointDraft] = field(default_factory=list)
    spare: list[PointDraft] = field(default_factory=list)


def parse_point(text: str, option: str = "--point") -> dict[str, Any]:
    """`NAME=WHERE,TYPE[,KEY=VALUE…]` as keys of a [[point]]. Raises: ValueError."""
    name, _, rest = text.partition("=")
    where, *parts = [part.strip() for part in rest.split(",")]
    example = f"give it as in {POINT_EXAMPLE} or {NODE_EXAMPLE}"
    if not (name and where and parts):
        raise ValueError(f"{option} {text}: is not NAME=WHERE,TYPE[,KEY=VALUE]; {example}")
    keys: dict[str, Any] = {"name": name.strip()}
    if "=" in where:
        keys["node"] = where
    else:
        keys["address"] = _whole(where, text, option)
    keys["type"] = parts[0]
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if key not in KEYS or not value:
            raise ValueError(f"{option} {text}: {part!r}: no such key; use {', '.join(KEYS)}; {example}")
        keys[key] = _value(key, value, text, option)
    if ("low" in keys) != ("high" in keys):
        raise ValueError(f"{option} {text}: low and high go together; give both or neither")
    if "low" in keys:
        keys["range"] = [keys.pop("low"), keys.pop("high")]
    return keys


def _value(key: str, value: str, text: str, option: str) -> Any:
    if key in NUMBERS:
        try:
            return float(value)
        except ValueError as error:
            raise ValueError(f"{option} {text}: {key} = {value!r} is no number") from error
    if key in WHOLE:
        return _whole(value, text, option)
    if key == "invalid":
        return [_whole(one, text, option) for one in value.split("/")]
    return value


def _whole(value: str, text: str, option: str) -> int:
    try:
        return int(value, 0)
    except ValueError as error:
        example = f"give it as in {POINT_EXAMPLE}"
        raise ValueError(f"{option} {text}: {value!r} is no whole number; {example}") from error


def profile_text(draft: ProfileDraft, file: str, texts: Texts) -> str:
    """The file: what is known as keys, what has to be found out as comments beside them."""
    lines = [f"# {line}" for line in texts("profile_new.head", file=file).split("\n")]
    lines += ["schema = 1", f"kind = {value_text(draft.kind)}", f"model = {value_text(draft.model)}"]
    lines += [f"protocol = {value_text(draft.protocol)}", f"source = {value_text(draft.source)}"]
    lines.append(f"caveats = {value_text(draft.caveats)}")
    if draft.protocol == "modbus":
        lines.append(f"table = {value_text(draft.table)}")
        lines.append(f"# max_registers = 125  # {texts('profile_new.max_registers')}")
        known = value_text(draft.forbidden or [[100, 119]])
        lines.append(f"{'' if draft.forbidden else '# '}forbidden = {known}  # {texts('profile_new.forbidden')}")
    for point in draft.points:
        lines += ["", *_point(point, texts)]
    if draft.spare:
        lines += ["", *(f"# {line}" for line in texts("profile_new.spare").split("\n"))]
    for point in draft.spare:
        lines += ["#", *(f"# {line}" for line in _point(point, texts, spare=True))]
    return "\n".join(lines) + "\n"


def _point(point: PointDraft, texts: Texts, spare: bool = False) -> Iterator[str]:
    yield "[[point]]" + (f"  # {point.note}" if point.note else "")
    yield from (f"{key} = {value_text(value)}" for key, value in point.keys.items())
    if spare or point.keys["type"] in ("bool", "string"):
        return
    if "range" not in point.keys and "_total_" not in point.keys["name"]:
        yield f"# range = [0, 1000]  # {texts('profile_new.range')}"
    if "invalid" not in point.keys and "int" in point.keys["type"]:
        yield f"# invalid = 0x8000  # {texts('profile_new.invalid')}"


def changed_profile(profile: Profile, like: str, swap: str, shift: int) -> Profile:
    """A profile with its words or bytes swapped, or its addresses moved, and a caveat that says so.

    Raises: ValueError.
    """
    if swap not in SWAPS:
        raise ValueError(f"--swap {swap}: is not one of {', '.join(filter(None, SWAPS))}")
    if profile.protocol != "modbus" and (swap or shift):
        raise ValueError(f"--like {like}: speaks {profile.protocol}, which has no order and no addresses")
    made = variant(profile, shift, SWAPS[swap]) if swap or shift else profile
    if made is None:
        raise ValueError(f"--shift {shift:+d}: moves a point of {like} beyond 0 to 65535")
    what = [f"{swap} swapped"] if swap else []
    what += [f"addresses {shift:+d}"] if shift else []
    note = f"made from {like}" + (f": {', '.join(what)}, as the device was found" if what else "")
    return made.model_copy(update={"caveats": (*made.caveats, note)})


def labelled(keys: dict[str, Any], known: Sequence[Point]) -> dict[str, Any]:
    """The same with the labels that shipped profiles give a point of this name."""
    labels = next(({"fr": p.fr, "en": p.en} for p in known if p.name == keys["name"] and p.fr and p.en), {})
    return {**keys, **{key: label for key, label in labels.items() if key not in keys}}
