"""Writes docs/profiles.md: what every shipped profile reads, from which source, with what to know about it.

python -m drivers.profile_doc
"""

from collections.abc import Iterator
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


def document() -> str:
    profiles = {name: load_profile(name) for name in shipped_profiles()}
    lines = [HEAD, "| Profile | Device | Kind | Points |", "| --- | --- | --- | --- |"]
    for name, profile in profiles.items():
        lines.append(f"| [`{name}`](#{name}) | {profile.model} | {profile.kind} | {len(profile.points)} |")
    for name, profile in profiles.items():
        lines += ["", *_section(name, profile)]
    return "\n".join(lines) + "\n"


def _section(name: str, profile: Profile) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield f"{profile.model}. Source: {profile.source}."
    yield ""
    for caveat in profile.caveats:
        yield f"- {caveat[0].upper()}{caveat[1:]}."
    yield ""
    if profile.protocol == "modbus":
        numbered = "; the source numbers from 1" if profile.numbering == "one" else ""
        yield f"Modbus, at most {profile.max_registers} registers per request{numbered}."
        yield ""
    yield "| Point | Where | Encoding | Unit | Range | Class |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for point in profile.points:
        where = f"`{point.node}`" if point.node else _address(profile, point)
        low_high = f"{point.range[0]:g} … {point.range[1]:g}" if point.range else ""
        cells = [f"`{point.name}`", where, _encoding(point), point.unit, low_high, point.scan]
        yield "| " + " | ".join(cells) + " |"


def _address(profile: Profile, point: Point) -> str:
    address = point.address or 0
    printed = f" (no. {profile.printed(address)})" if profile.numbering == "one" else ""
    bit = f" bit {point.bit}" if point.bit is not None else ""
    return f"{profile.table_of(point)} {address} (0x{address:04X}){printed}{bit}"


def _encoding(point: Point) -> str:
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
    parts += [f"unknown 0x{word:X}" for word in point.invalid]
    return " ".join(parts)


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
