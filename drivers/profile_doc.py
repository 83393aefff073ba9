"""Writes docs/profiles.md: what every shipped profile reads, from which source, with what to know about it.

python -m drivers.profile_doc
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drivers.profile import Point, Profile, load_profile, shipped_profiles

FILE = Path(__file__).parent.parent / "docs" / "profiles.md"
HEAD = """# Device profiles

Written from `drivers/profiles/*.toml` by `python -m drivers.profile_doc`; a test keeps it up to date. Addresses
are zero-based, as sent. A register map is a claim until the device confirms it: compare the first readings with
its display, and watch the meter's rows until they are no longer `unproven` (see `drivers/README.md`). None of the
makers' devices below was at hand.

SunSpec devices need no profile here: `drivers/sunspec.py` finds models 103, 201 to 204, 213 and 802 on the device.
"""


@dataclass(frozen=True)
class Words:
    """What stands around a profile's own words."""

    source: str = "Source: {source}."
    modbus: str = "Modbus, at most {most} registers per request"
    from_one: str = "; the source numbers from 1"
    columns: tuple[str, ...] = ("Point", "Where", "Encoding", "Unit", "Range", "Class")
    number: str = "no."
    bit: str = "bit"
    unknown: str = "unknown"


ENGLISH = Words()


def document() -> str:
    profiles = {name: load_profile(name) for name in shipped_profiles()}
    lines = [HEAD, "| Profile | Device | Kind | Points |", "| --- | --- | --- | --- |"]
    for name, profile in profiles.items():
        lines.append(f"| [`{name}`](#{name}) | {profile.model} | {profile.kind} | {len(profile.points)} |")
    for name, profile in profiles.items():
        lines += ["", f"## {name}", "", *section(profile, ENGLISH)]
    return "\n".join(lines) + "\n"


def section(profile: Profile, words: Words) -> Iterator[str]:
    """One profile in Markdown, below its heading."""
    yield f"{profile.model}. {words.source.format(source=profile.source)}"
    yield ""
    yield from (f"- {caveat}" for caveat in caveats(profile))
    yield ""
    if profile.protocol == "modbus":
        yield protocol(profile, words)
        yield ""
    yield "| " + " | ".join(words.columns) + " |"
    yield "| " + " | ".join("---" for _ in words.columns) + " |"
    for point in profile.points:
        name, where, *rest = cells(profile, point, words)
        where = f"`{where}`" if point.node else where
        yield "| " + " | ".join([f"`{name}`", where, *rest]) + " |"


def caveats(profile: Profile) -> Iterator[str]:
    """As sentences."""
    return (f"{caveat[0].upper()}{caveat[1:]}." for caveat in profile.caveats if caveat)


def protocol(profile: Profile, words: Words) -> str:
    numbered = words.from_one if profile.numbering == "one" else ""
    return f"{words.modbus.format(most=profile.max_registers)}{numbered}."


def cells(profile: Profile, point: Point, words: Words) -> list[str]:
    """Name, place, encoding, unit, range and scan class of a point."""
    low_high = f"{point.range[0]:g} … {point.range[1]:g}" if point.range else ""
    where = point.node or _address(profile, point, words)
    return [point.name, where, _encoding(point, words), point.unit, low_high, point.scan]


def _address(profile: Profile, point: Point, words: Words) -> str:
    address = point.address or 0
    printed = f" ({words.number} {profile.printed(address)})" if profile.numbering == "one" else ""
    bit = f" {words.bit} {point.bit}" if point.bit is not None else ""
    return f"{profile.table_of(point)} {address} (0x{address:04X}){printed}{bit}"


def _encoding(point: Point, words: Words) -> str:
    """Type, order, scale and the words for unknown, each only where it says something."""
    parts = [point.type + (f"[{point.length}]" if point.length else "")]
    if point.order != "abcd":
        parts.append(point.order)
    if point.scale != 1.0:
        parts.append(f"× {point.scale:g}")
    if point.offset:
        parts.append(f"+ {point.offset:g}")
    if point.scale_from:
        parts.append(f"× 10^{point.scale_from}")
    parts += [f"{words.unknown} 0x{word:X}" for word in point.invalid]
    return " ".join(parts)


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
