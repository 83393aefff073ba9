"""Which requests a scan class costs: points merged into the cheapest blocks, nothing read that must not be."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from drivers.cost import COST_TCP, Cost
from drivers.errors import ProfileError
from drivers.learned import TABLES, Learned
from drivers.profile import Point, Profile, Table

BITS_PER_WORD = 16
PICOSECONDS = 10**12
Span = tuple[int, int]  # first address, address behind the last


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
        points: Per block the positions, in a row, of the points that it carries. The scale factors of its
            points are in the block, too.
        refused: Positions of points that are not asked for, since commissioning found them refused.
    """

    scan: str
    blocks: tuple[Block, ...]
    points: tuple[tuple[int, ...], ...]
    refused: tuple[int, ...] = ()


def plan(profile: Profile, scan: str, cost: Cost = COST_TCP, learned: Learned | None = None) -> Plan:
    """Merge the points of a scan class into the cheapest requests that profile and device allow.

    No point is split, no scale factor parted from its points, and no point from those it has to come
    `together` with: each such set is a span that one request covers. A request is at most `max_registers` or
    `max_bits` long and bridges at most `max_gap` registers in a row that the class does not use, none of them
    forbidden or known to be unreadable. Among equally cheap plans one with the fewest requests is taken, and
    of these the one whose first requests are longest.

    Args:
        cost: What a request and a register cost on this connection.
        learned: What commissioning learned of the device.

    Raises: ProfileError, with a line for each point that cannot be read as the profile says.
    """
    learned = learned or Learned()
    problems = list(_problems(profile, scan))
    wanted = {i: point for i, point in enumerate(profile.points) if point.scan == scan}
    refused = {i for i, p in wanted.items() if p.name in learned.refused or p.scale_from in learned.refused}
    blocks: list[Block] = []
    members: list[tuple[int, ...]] = []
    for table in TABLES if not problems else ():
        points = {i: p for i, p in wanted.items() if i not in refused and profile.table_of(p) == table}
        land = _Land(profile, table, learned, points.values())
        spans = _spans(profile, points)
        if found := list(_impossible(profile, points, spans, land)):
            problems += found
            continue
        requests = _cheapest(set(spans.values()), land, cost)
        blocks += [Block(table, first, end - first) for first, end in requests]
        members += _shared_out(spans, requests)
    if problems:
        raise ProfileError("\n".join(problems))
    return Plan(scan, tuple(blocks), tuple(members), tuple(sorted(refused)))


class _Land:
    """Which registers of a table one request may ask for, as far as a scan class goes."""

    def __init__(self, profile: Profile, table: Table, learned: Learned, points: Iterable[Point]) -> None:
        self.is_bits = table in ("coil", "discrete")
        self._most = profile.max_bits if self.is_bits else profile.max_registers
        self._most_gap = profile.max_gap * (BITS_PER_WORD if self.is_bits else 1)
        self._zones = [(zone, "is forbidden") for zone in profile.forbidden_in(table)]
        self._zones += [(zone, "was found unreadable") for zone in learned.unreadable.get(table, ())]
        for point in profile.points:
            if point.name in learned.refused and profile.table_of(point) == table and point.address is not None:
                self._zones.append(((point.address, point.address + point.words - 1), "was found refused"))
        self._runs: list[Span] = []  # registers in use, joined where they touch
        for first, end in sorted({span for point in points for span in _registers(profile, point)}):
            if self._runs and first <= self._runs[-1][1]:
                self._runs[-1] = self._runs[-1][0], max(end, self._runs[-1][1])
            else:
                self._runs.append((first, end))
        self._starts = [first for first, _ in self._runs]
        self._walls = [end for _, end in self._runs]  # where a request has to end that begins in a run
        for i in range(len(self._runs) - 2, -1, -1):
            if not self._bar(self._runs[i][1], self._runs[i + 1][0]):
                self._walls[i] = self._walls[i + 1]

    def reach(self, first: int) -> int:
        """Where a request that begins with a register in use has to end at the latest."""
        return min(first + self._most, self._walls[self._run(first)])

    def why_not(self, first: int, end: int) -> str:
        """What is in the way of one request for a span; empty where nothing is."""
        if end - first > self._most:
            name = "max_bits" if self.is_bits else "max_registers"
            return f"that is {end - first} in one request, {name} is {self._most}"
        runs = self._runs[self._run(first) : self._run(end - 1) + 1]
        return next((text for a, b in pairwise(runs) if (text := self._bar(a[1], b[0]))), "")

    def _run(self, address: int) -> int:
        return bisect_right(self._starts, address) - 1

    def _bar(self, first: int, end: int) -> str:
        """What keeps a request from bridging a gap."""
        if end - first > self._most_gap:
            return f"{end - first} unused lie between {first - 1} and {end}, max_gap allows {self._most_gap}"
        for (low, high), reason in self._zones:
            if low < end and high >= first:
                return f"{low}-{high} between {first - 1} and {end} {reason}"
        return ""


def _registers(profile: Profile, point: Point) -> list[Span]:
    """What reading a point takes: its own registers, and its scale factor's."""
    parts = [point] if point.scale_from is None else [point, profile.points[profile.index[point.scale_from]]]
    return [(part.address or 0, (part.address or 0) + part.words) for part in parts]


def _spans(profile: Profile, points: Mapping[int, Point]) -> dict[int, Span]:
    """For each point the span that one request has to cover."""
    sets = {i: {i} for i in points}  # points that come together; groups with a common point are one
    for group in profile.together:
        if present := [profile.index[name] for name in group if profile.index[name] in points]:
            joined = set[int]().union(*(sets[i] for i in present))
            sets |= dict.fromkeys(joined, joined)
    spans = {}
    for i, joined in sets.items():
        parts = [span for member in joined for span in _registers(profile, points[member])]
        spans[i] = min(first for first, _ in parts), max(end for _, end in parts)
    return spans


def _cheapest(spans: Iterable[Span], land: _Land, cost: Cost) -> list[Span]:
    """The requests that cover all spans, by dynamic programming from the last span backwards.

    A span inside another one is covered with it. Of the others both ends rise, so the spans that a request is
    made for follow each other, and it begins and ends with theirs: it is enough to try all ways to cut the list.
    Where the next two spans touch, one more in this request is one less in the next, so no cut is tried there.
    """
    todo: list[Span] = []
    for first, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not todo or end > todo[-1][1]:
            todo.append((first, end))
    ends = [end for _, end in todo]
    # whether the next span begins where this one ends, and does not reach into the one after it
    joined = [
        b[0] == a[1] and c[0] >= b[1] for a, b, c in zip(todo, todo[1:], [*todo[2:], (65_536, 0)], strict=False)
    ]
    fixed, each = (round(PICOSECONDS * seconds) for seconds in cost.parts_s(land.is_bits))  # so that ties are ties
    best = [(0, 0, 0)] * (len(todo) + 1)  # cost, requests, minus the start of the next one: the least is best
    for i in range(len(todo) - 1, -1, -1):
        first = todo[i][0]
        farthest = bisect_right(ends, land.reach(first)) - 1
        best[i] = min(
            (fixed + each * (ends[j] - first) + best[j + 1][0], 1 + best[j + 1][1], -(j + 1))
            for j in range(i, farthest + 1)
            if j == farthest or not joined[j]
        )
    requests, at = [], 0
    while at < len(todo):
        behind = -best[at][2]
        requests.append((todo[at][0], todo[behind - 1][1]))
        at = behind
    return requests


def _shared_out(spans: Mapping[int, Span], requests: Sequence[Span]) -> list[tuple[int, ...]]:
    """The points that each request carries: a point comes with the first request that covers its span."""
    members: list[list[int]] = [[] for _ in requests]
    for i, (first, end) in spans.items():
        members[next(n for n, (low, high) in enumerate(requests) if low <= first and end <= high)].append(i)
    return [tuple(carried) for carried in members]


def _impossible(
    profile: Profile, points: Mapping[int, Point], spans: Mapping[int, Span], land: _Land
) -> Iterator[str]:
    """Spans that no request can cover, each once."""
    for span in sorted(set(spans.values())):
        if reason := land.why_not(*span):
            inside = [point for i, point in points.items() if spans[i] == span]
            names = dict.fromkeys(name for p in inside for name in (p.name, p.scale_from) if name)
            yield f"{profile.model}: {' and '.join(names)} have to come from one request, but {reason}"


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
