"""Commissioning: find out once which registers between its points a device refuses, and which points."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from drivers.cost import COST_TCP, Cost
from drivers.errors import DeviceRefused
from drivers.learned import Learned, Zone
from drivers.plan import Block, plan
from drivers.profile import Point, Profile, Table

Ask = Callable[[Block], Awaitable[bytes]]
ILLEGAL_ADDRESS = "exception_2"  # MODBUS Application Protocol 1.1b3, section 7
MOST_REQUESTS = 500


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that a person should know.

    Attributes:
        key: `unreadable`, `refused`, `other_refusal` (nothing is learned from it), `too_long` (a request is
            refused and its halves are not), or `stopped`.
        what: Registers, or the name of a point.
        why: What the device said.
    """

    key: str
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What asking a device has taught.

    Attributes:
        learned: What `plan` has to know from now on.
        requests: How many it took.
        complete: Whether every planned request is answered now, or set aside.
    """

    learned: Learned
    requests: int
    notes: tuple[Note, ...]
    complete: bool


async def learn(profile: Profile, ask: Ask, cost: Cost = COST_TCP, most_requests: int = MOST_REQUESTS) -> Lesson:
    """Ask for everything that the profile plans; where the device refuses an address, find out which.

    A refused request is halved between its points until what is refused is one point, which is set aside by
    name, or a gap that two readable points enclose. Of the gap, the first and the last register that cannot
    be read are found, and what is between them is avoided from then on. Other refusals (a busy device, too
    long a request) teach nothing and are noted.

    Args:
        ask: Sends one request; raises DeviceRefused, whose `fault` names the exception.
        cost: As for `plan`, which decides what gaps are worth bridging.
        most_requests: Ends the search.

    Raises: DeviceUnreachable, and whatever else `ask` raises; ProfileError, if points that have to come
        together cannot.
    """
    search = _Search(profile, ask, most_requests)
    complete = True
    try:
        for scan in profile.scans:
            complete &= await search.settle(scan, cost)
    except _Enough:
        search.notes.append(Note("stopped", str(most_requests)))
        complete = False
    return Lesson(search.learned(), search.requests, tuple(search.notes), complete)


class _Enough(Exception):
    """The search has sent as many requests as it may."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Registers from `first` to before `end`: of points, or of none."""

    first: int
    end: int
    names: tuple[str, ...] = ()


@dataclass
class _Search:
    profile: Profile
    ask: Ask
    most_requests: int
    requests: int = 0
    notes: list[Note] = field(default_factory=list)
    _unreadable: dict[Table, set[int]] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def learned(self) -> Learned:
        return Learned({table: _zones(found) for table, found in self._unreadable.items()}, dict(self._refused))

    async def settle(self, scan: str, cost: Cost) -> bool:
        """Plan, ask and learn until a plan is answered as a whole, or nothing more can be learned."""
        done: set[Block] = set()
        settled = True
        while True:
            known = self.learned()
            for block in plan(self.profile, scan, cost, known).blocks:
                if block in done:
                    continue
                if await self._refusal(block):
                    await self._find(block.table, self._pieces(scan, block))
                    if self.learned() != known:
                        break  # plan anew
                    settled = False
                done.add(block)
            else:
                return settled

    async def _refusal(self, block: Block) -> str:
        """Why the device says that a block has an illegal address; empty if it does not say so."""
        if self.requests >= self.most_requests:
            raise _Enough
        self.requests += 1
        try:
            await self.ask(block)
        except DeviceRefused as error:
            if error.fault == ILLEGAL_ADDRESS:
                return str(error)
            self.notes.append(Note("other_refusal", str(block), str(error)))
        return ""

    def _pieces(self, scan: str, block: Block) -> list[_Piece]:
        """The points in a block, as far as the scan class needs them: those of one register together."""
        profile = self.profile
        users = [p for p in profile.points if p.scan == scan and profile.table_of(p) == block.table]
        factors = {p.scale_from for p in users if p.scale_from}
        wanted = [p for p in profile.points if p in users or p.name in factors]
        inside = [
            p for p in wanted if p.address is not None and block.address <= p.address < block.address + block.count
        ]
        return _by_address([p for p in inside if p.name not in self._refused])

    async def _find(self, table: Table, pieces: Sequence[_Piece]) -> None:
        """Halve a refused request."""
        first, last = pieces[0], pieces[-1]
        if len(pieces) == 1:
            await self._set_aside(table, first)
            return
        halves = pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]
        found = False
        for half in halves:
            if await self._refusal(_block(table, half[0].first, half[-1].end)):
                found = True
                await self._find(table, half)
        if found:
            return  # what lies between the halves shows with the next plan
        left, right = halves[0][-1], halves[1][0]
        if left.end < right.first:
            await self._find_in_gap(table, left, right)
        else:
            self.notes.append(Note("too_long", str(_block(table, first.first, last.end))))

    async def _set_aside(self, table: Table, piece: _Piece) -> None:
        """Ask for points alone; if refused, remember that by name."""
        if self._refused.keys() >= set(piece.names):
            return
        if reason := await self._refusal(_block(table, piece.first, piece.end)):
            for name in piece.names:
                self._refused[name] = reason
                self.notes.append(Note("refused", name, reason))

    async def _find_in_gap(self, table: Table, left: _Piece, right: _Piece) -> None:
        """Two readable points enclose something unreadable: find its first and its last piece."""
        between = self._gap(table, left.end, right.first)
        low, high = 0, len(between) - 1
        while low < high:  # the first piece with which a request that begins with `left` is refused
            middle = (low + high) // 2
            if await self._refusal(_block(table, left.first, between[middle].end)):
                high = middle
            else:
                low = middle + 1
        start, high = low, len(between) - 1
        while low < high:  # the last piece with which a request that ends with `right` is refused
            middle = (low + high + 1) // 2
            if await self._refusal(_block(table, between[middle].first, right.end)):
                low = middle
            else:
                high = middle - 1
        lost = between[start : low + 1]
        for piece in lost:
            if piece.names:  # a point of another scan class: it may well be readable
                await self._set_aside(table, piece)
            else:
                self._unreadable.setdefault(table, set()).add(piece.first)
        bare = [piece.first for piece in lost if not piece.names]
        self.notes += [Note("unreadable", str(_block(table, a, b + 1))) for a, b in _zones(bare)]

    def _gap(self, table: Table, first: int, end: int) -> list[_Piece]:
        """A gap's registers one by one, those of other scan classes' points in one piece."""
        points = [p for p in self.profile.points if self.profile.table_of(p) == table and p.address is not None]
        inside = _by_address([p for p in points if first <= (p.address or 0) < end])
        taken = {address for piece in inside for address in range(piece.first, piece.end)}
        free = [_Piece(address, address + 1) for address in range(first, end) if address not in taken]
        return sorted(free + inside, key=lambda piece: piece.first)


def _by_address(points: Sequence[Point]) -> list[_Piece]:
    ordered = sorted(points, key=lambda p: p.address or 0)
    pieces = []
    for address, group in groupby(ordered, key=lambda p: p.address or 0):
        here = list(group)
        pieces.append(_Piece(address, address + here[0].words, tuple(p.name for p in here)))
    return pieces


def _block(table: Table, first: int, end: int) -> Block:
    return Block(table, first, end - first)


def _zones(addresses: Sequence[int] | set[int]) -> list[Zone]:
    """[first, last] of addresses that follow each other."""
    zones: list[Zone] = []
    for address in sorted(addresses):
        if zones and zones[-1][1] == address - 1:
            zones[-1] = zones[-1][0], address
        else:
            zones.append((address, address))
    return zones
