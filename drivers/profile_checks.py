"""What a profile's points have to be to each other. One line per problem, with its remedy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drivers.row import HISTORY

if TYPE_CHECKING:
    from drivers.profile import Profile


def problems_of(profile: "Profile") -> Iterator[str]:
    """Everything that is wrong with a profile beyond its single keys, a line each."""
    if not profile.point:
        yield "no point is there; add at least one [[point]]"
    names: set[str] = set()
    for point in profile.point:
        if point.name in ("q", "clk"):
            yield f"point {point.name} has a name that every row uses for quality or clock; give it another"
        if point.scan == HISTORY:
            yield f"point {point.name} has the scan class of rows that come later, {HISTORY}; give it another"
        if point.read != "poll" and profile.protocol == "modbus":
            yield f"point {point.name} of a Modbus profile cannot subscribe; take read out"
        if point.name in names:
            yield f"point {point.name} stands twice; give each its own name"
        names.add(point.name)
    yield from _group_problems(profile)
    if profile.protocol == "modbus":
        yield from _address_problems(profile)
        return
    for point in profile.point:
        if point.node is None or point.address is not None:
            yield f"point {point.name} of an OPC UA profile has node, and no address"
        if point.scale_from is not None:
            yield f"point {point.name} of an OPC UA profile has no scale_from; the server scales its values"
        if point.type == "float16" or point.type.startswith("bcd"):
            yield f"point {point.name}: OPC UA has no {point.type}; use float32 or an integer type"


def _group_problems(profile: "Profile") -> Iterator[str]:
    """What is wrong with the points that point at others."""
    points = {point.name: point for point in profile.point}
    for point in profile.point:
        source = points.get(point.scale_from or "")
        if point.scale_from is None:
            continue
        if source is None:
            yield f"point {point.name}: scale_from = {point.scale_from!r} is no point of this profile"
        elif (
            source.type not in ("int16", "uint16") or source.scale_from or (source.scale, source.offset) != (1, 0)
        ):
            yield f"point {point.name}: scale_from = {source.name!r} has to be an int16 that is not scaled itself"
        elif profile.table_of(source) != profile.table_of(point):
            yield f"point {point.name}: scale_from = {source.name!r} is in another table; one request reads both"
    for group in profile.together:
        listed = ", ".join(group)
        if unknown := [name for name in group if name not in points]:
            yield f"together = [{listed}]: {', '.join(unknown)} is no point of this profile"
            continue
        members = [points[name] for name in group]
        if len(set(group)) < 2:
            yield f"together = [{listed}] names one point; name two or more"
        if len({member.scan for member in members}) > 1:
            yield f"together = [{listed}]: points of several scan classes; give them one"
        if profile.protocol == "modbus" and len({profile.table_of(member) for member in members}) > 1:
            yield f"together = [{listed}]: points of several tables cannot come from one request; take one out"


def _address_problems(profile: "Profile") -> Iterator[str]:
    taken: dict[tuple[str, int], dict[int | None, str]] = {}  # by bit; None is the whole register
    for point in profile.point:
        if point.address is None or point.node is not None:
            yield f"point {point.name} of a Modbus profile has address, and no node"
            continue
        last = point.address + point.words - 1
        if last > 65_535:
            yield f"point {point.name} ends at register {last}, beyond 65535"
        if point.words > profile.max_registers:
            yield f"point {point.name} has {point.words} registers, max_registers is {profile.max_registers}"
        table = profile.table_of(point)
        for first, end in profile.forbidden_in(table):
            if point.address <= end and last >= first:
                yield f"point {point.name} at {point.address}-{last} lies in forbidden {first}-{end}"
        for address in range(point.address, last + 1):
            here = taken.setdefault((table, address), {})
            # bits share a register with other bits, but not with a whole value
            clash = (
                here.get(None) or here.get(point.bit) or (point.bit is None and next(iter(here.values()), None))
            )
            if clash:
                yield f"points {clash} and {point.name} overlap at {table} register {address}"
                break
            here[point.bit] = point.name
