"""Which requests a scan class costs: points merged into few blocks, nothing read that must not be."""

from collections.abc import Iterator
from dataclasses import dataclass

from drivers.errors import ProfileError
from drivers.profile import Profile, Table

BITS_PER_WORD = 16


@dataclass(frozen=True, slots=True)
class Block:
    """What one request asks for: `count` registers, or bits of the tables `coil` and `discrete`."""

    table: Table
    address: int
    count: int

    @property
    def is_bits(self) -> bool:
        return self.table in ("coil", "discrete")

    def __str__(self) -> str:
        return f"{self.table} {self.address}-{self.address + self.count - 1}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of one scan class, in the order they are sent.

    Attributes:
        blocks: At most one per request.
        points: Per block the positions, in a row, of the points that it carries.
    """

    scan: str
    blocks: tuple[Block, ...]
    points: tuple[tuple[int, ...], ...]


def plan(profile: Profile, scan: str) -> Plan:
    """Merge the points of a scan class into the fewest requests that the profile allows.

    Neighbours share a request while the gap between them is at most `max_gap` registers, none of which is
    forbidden, and the whole is at most `max_registers`. No point is ever split. Going through the points by
    address and extending as far as possible is optimal here, since every block may start anywhere. For coils
    and discrete inputs `max_gap` counts 16 bits as a register: the answer is as long.

    Raises: ProfileError, with a line for each point that cannot be read as the profile says.
    """
    if problems := list(_problems(profile, scan)):
        raise ProfileError("\n".join(problems))
    blocks: list[Block] = []
    members: list[list[int]] = []
    for table, first, end, index in sorted(_spans(profile, scan)):
        if blocks and (grown := _extended(profile, blocks[-1], table, first, end)):
            blocks[-1] = grown
            members[-1].append(index)
        else:
            blocks.append(Block(table, first, end - first))
            members.append([index])
    return Plan(scan, tuple(blocks), tuple(map(tuple, members)))


def _extended(profile: Profile, block: Block, table: Table, first: int, end: int) -> Block | None:
    """The block grown up to `end`, or None where a new request has to be made."""
    unit = BITS_PER_WORD if block.is_bits else 1
    block_end = block.address + block.count
    count = max(block_end, end) - block.address
    limit = profile.max_bits if block.is_bits else profile.max_registers
    fits = count <= limit and first - block_end <= profile.max_gap * unit
    crosses = any(low < first and high >= block_end for low, high in profile.forbidden_in(table))
    return Block(table, block.address, count) if table == block.table and fits and not crosses else None


def _spans(profile: Profile, scan: str) -> Iterator[tuple[Table, int, int, int]]:
    """Table, first address, address behind the last, position in a row: of each point of the scan class."""
    for index, point in enumerate(profile.points):
        if point.scan == scan and point.address is not None:
            yield profile.table_of(point), point.address, point.address + point.words, index


def _problems(profile: Profile, scan: str) -> Iterator[str]:
    if profile.protocol != "modbus":
        yield f"{profile.model}: protocol = {profile.protocol!r} has no registers to plan; use modbus"
    if scan not in profile.scans:
        yield f"{profile.model}: scan class {scan!r} has no points; use one of {', '.join(profile.scans)}"
    for point in profile.points:
        table = profile.table_of(point)
        if table in ("coil", "discrete") and (point.type != "bool" or point.bit is not None):
            yield f'point {point.name}: table = {table!r} holds single bits; use type = "bool" without bit'
        if point.type == "string" and point.order not in ("abcd", "badc"):
            yield f'point {point.name}: order = {point.order!r} of a string; use "abcd" or "badc"'
