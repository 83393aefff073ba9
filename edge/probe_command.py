"""`bollard edge probe modbus://…`: looks at one device, through the agent that polls it if one does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from drivers.address import ModbusAddress
from drivers.bus import Bus
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus import ABSENT, FUNCTIONS
from drivers.modbus_pdu import read_pdu
from drivers.probe import (
    MOST_REQUESTS,
    Ask,
    Asker,
    Enough,
    Hint,
    Span,
    diagnose,
    name_plate,
    read_again,
    read_span,
    speaks_modbus,
)
from drivers.probe_match import Match, Memory, Reading, matches, read_with, remedies
from drivers.profile import Profile, Table
from drivers.row import Quality
from edge.local_client import owner_of

SERIAL_PAUSE_S = 0.05
WORTH_A_LINE, MOST_LINES = 0.1, 5


@dataclass(frozen=True)
class Wanted:
    """What is to be looked at.

    Attributes:
        spool: Of the site file given: only its agent is asked whether the device is its own.
    """

    address: ModbusAddress
    table: Table
    first: int
    count: int
    profile: Profile | None = None
    timeout_s: float = 1.0
    spool: Path | None = None


@dataclass
class Found:
    """What has been seen so far.

    Attributes:
        agent: Socket of the agent through which we look.
        reading: By the profile that was asked for.
        trouble: Why the last look showed nothing new.
        requests: Sent so far.
    """

    endpoint: str
    agent: str = ""
    hints: list[Hint] = field(default_factory=list)
    plate: list[str] = field(default_factory=list)
    span: Span | None = None
    changed: set[int] = field(default_factory=set)
    matches: list[Match] = field(default_factory=list)
    reading: Reading | None = None
    trouble: str = ""
    requests: int = 0


class Probe:
    """A look at one device. `look` once, then `again` as often as somebody watches."""

    def __init__(self, wanted: Wanted, ask: Ask, found: Found) -> None:
        self.found = found
        self._wanted, self._ask = wanted, ask
        self._sent = 0

    async def look(self) -> Found:
        """Everything, once. Raises: DeviceUnreachable, if nobody answers."""
        wanted, found = self._wanted, self.found
        if wanted.profile is None:
            await self._look_around()
        else:
            asker = self._asker()
            memory = Memory(asker)
            try:
                found.reading = await read_with(wanted.profile, memory)
                found.hints += await remedies(found.reading, memory)
                if not found.hints and all_refused(found.reading):
                    found.hints.append(Hint("all_refused", {"asked": found.reading.asked}))
            except Enough as error:
                found.hints.append(Hint("enough", {"why": error}))
            self._count(asker)
            asker = self._asker()
            found.plate = await name_plate(asker)
            self._count(asker)
        return found

    async def _look_around(self) -> None:
        wanted, found = self._wanted, self.found
        asker = self._asker()
        found.span = await read_span(asker, wanted.table, wanted.first, wanted.count)
        self._count(asker)
        asker = self._asker()
        found.plate = await name_plate(asker)
        found.matches = await matches(asker, found.span, found.plate)
        self._count(asker)

    async def again(self) -> Found:
        """Only what can change."""
        wanted, found = self._wanted, self.found
        asker, found.trouble = self._asker(), ""
        try:
            if wanted.profile is not None:
                found.reading = await read_with(wanted.profile, Memory(asker))
            elif found.span is not None:
                before, found.span = found.span.words, await read_again(asker, found.span)
                found.changed = {a for a, word in found.span.words.items() if before.get(a) != word}
        except DriverError as error:  # it may come back
            found.trouble = str(error)
        self._count(asker)
        return found

    def _asker(self) -> Asker:
        pause_s = SERIAL_PAUSE_S if self._wanted.address.is_serial else 0.02
        return Asker(self._ask, MOST_REQUESTS, pause_s)

    def _count(self, asker: Asker) -> None:
        self._sent += asker.requests
        self.found.requests = self._sent


@asynccontextmanager
async def probing(wanted: Wanted) -> AsyncIterator[tuple[Probe | None, Found]]:
    """A probe of the device; None where nobody answers, with hints about what was tried.

    Raises: DeviceUnreachable, where there is no connection at all.
    """
    async with owner_of(wanted.address, wanted.spool) as owner:
        if owner is not None:
            agent, endpoint = owner
            found = Found(endpoint, str(agent.path))

            async def through_agent(pdu: bytes) -> bytes:
                return await agent.ask(endpoint, pdu)

            yield await _first(wanted, through_agent, found), found
            return
    found = Found(wanted.address.endpoint)
    bus = Bus(wanted.address)
    await bus.attach(wanted.timeout_s)
    attached = True
    try:
        probe = await _first(wanted, _asks(bus, wanted), found)
        if probe is None:
            bus.detach()  # a device may grant one connection only
            attached = False
            there, hints = await diagnose(wanted.address, _knock(wanted), wanted.timeout_s)
            found.hints = hints
            if there is not None:
                wanted = replace(wanted, address=replace(there, listen_s=0.0))
                found.endpoint = there.endpoint
                bus = Bus(wanted.address)
                await bus.attach(wanted.timeout_s)
                attached = True
                probe = Probe(wanted, _asks(bus, wanted), found)
        yield probe, found
    finally:
        if attached:
            bus.detach()


def _asks(bus: Bus, wanted: Wanted) -> Ask:
    async def ask(pdu: bytes) -> bytes:
        return await bus.ask(wanted.address.unit_id, pdu, wanted.timeout_s)

    return ask


def _knock(wanted: Wanted) -> bytes:
    """The smallest request."""
    return read_pdu(FUNCTIONS[wanted.table], wanted.first, 1)


async def _first(wanted: Wanted, ask: Ask, found: Found) -> Probe | None:
    """A probe, if anybody answers."""
    try:
        await ask(_knock(wanted))
    except (DeviceRefused, ReadingRejected) as error:
        if error.fault in ABSENT:  # a gateway answers for a unit that does not
            found.hints = [Hint("absent", {"why": error})]
            return None
    except DeviceUnreachable as error:
        found.hints = [Hint("silent", {"why": error})]
        return None
    return Probe(wanted, ask, found)


def all_refused(reading: Reading) -> bool:
    """Whether the device has none of the registers of a profile."""
    scanned = reading.row.quality[reading.row.quality != Quality.NOT_SCANNED]
    return len(scanned) > 0 and bool((scanned == Quality.REFUSED).all())


async def modbus_instead(url: str, spool: Path | None, timeout_s: float) -> str | None:
    """Where somebody answers over Modbus who does not speak OPC UA. What an agent polls is not asked again."""
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        return None
    address = ModbusAddress(parts.hostname, parts.port)
    async with owner_of(address, spool) as owner:
        if owner is not None:
            return owner[1]
    found = await speaks_modbus(parts.hostname, parts.port, timeout_s)
    return found.endpoint if found is not None else None


def shown_matches(found: Sequence[Match]) -> tuple[list[Match], list[Match], list[Match], list[Match]]:
    """Profiles worth a line each; implausible ones; those that are refused; those left for want of requests."""
    read = [match for match in found if match.reading is not None]
    good = [m for m in read if m.reading and (m.reading.score >= WORTH_A_LINE or not m.reading.doubts)]
    poor = [match for match in read if match not in good]
    refused = [match for match in found if match.why == "refused"]
    return good[:MOST_LINES], poor + good[MOST_LINES:], refused, [m for m in found if m.why == "not_asked"]
