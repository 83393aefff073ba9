"""Find the devices on named hosts and serial lines: gently, one connection at a time, and only to read.

Whoever is there is found with one request for one register; only what answers is looked at more closely, with at
most LOOK_REQUESTS more, for its name plate and the shipped profiles.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from drivers.address import ModbusAddress, Parity, Transport, bracketed
from drivers.bus import Bus
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus import ABSENT, FUNCTIONS
from drivers.modbus_pdu import read_pdu
from drivers.probe import UNITS, Asker, name_plate, speaks_opcua
from drivers.probe_match import Match, matches
from drivers.profile import load_profile, shipped_profiles

Kind = Literal["unit", "opcua", "open", "closed", "master", "agent"]
PAUSE_S, SERIAL_PAUSE_S = 0.05, 0.05  # between two requests, and between two connections to one host
LOOK_REQUESTS = 60
OPCUA_PORT = 4840
BAUDS = (19_200, 9_600, 38_400, 115_200, 57_600)
PARITIES: tuple[Parity, ...] = ("E", "N", "O")
LINE_UNITS = tuple(range(1, 11))
KNOCK = read_pdu(FUNCTIONS["holding"], 0, 1)
Tell = Callable[[str], None]  # what is being done, in few words and without a sentence: a progress line


@dataclass
class WayIn:
    """What of an OPC UA server's offer counts for the site file."""

    policy: str
    mode: str
    users: tuple[str, ...]
    fingerprint: str
    subject: str
    valid_until: str


@dataclass
class Sighting:
    """What was seen at one TCP port, unit or line.

    Attributes:
        where: Host and port, or line, as a person gave it.
        kind: `unit` answers Modbus; `opcua`; `open`: a port on which nobody speaks either, or a line on which
            nobody answers; `closed`: no connection; `master`: a line left alone, since another master talks on it;
            `agent`: left to the agent that polls it.
        address: Of a unit.
        like: Units that answered just alike: one device that does not look at the number.
        matches: Shipped profiles that were tried, the best first.
        ways_in: Of an OPC UA server, as it offers them; `choose` is the position of the one to take.
        fits: OPC UA profiles, with how many of their nodes are good.
        why: What was wrong with what is closed, or left alone.
    """

    where: str
    kind: Kind
    address: ModbusAddress | None = None
    like: list[int] = field(default_factory=list)
    plate: list[str] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    url: str = ""
    ways_in: list[WayIn] = field(default_factory=list)
    choose: int = -1
    fits: dict[str, tuple[int, int]] = field(default_factory=dict)
    why: str = ""
    requests: int = 0


# --- TCP ---


async def look_at_port(
    host: str, port: int, units: Sequence[int] | None, timeout_s: float, tell: Tell, look: bool = True
) -> list[Sighting]:
    """Who is on a TCP port: Modbus TCP units, or RTU over TCP, or an OPC UA server.

    Args:
        units: All of these are asked; None: the usual ones, up to the first that answers.
        look: Whether to look closer at what answers.
    """
    where = f"{bracketed(host)}:{port}"
    tell(where)
    bus = Bus(ModbusAddress(host, port))
    try:
        await bus.attach(timeout_s)
    except DeviceUnreachable as error:
        return [Sighting(where, "closed", why=_reason(error, bus))]
    bus.detach()
    await asyncio.sleep(PAUSE_S)
    if port == OPCUA_PORT and await speaks_opcua(host, port, timeout_s):
        return [await look_at_opcua(host, port, timeout_s, look)]
    wanted = list(UNITS if units is None else units)
    rounds: list[tuple[Transport, list[int]]] = [
        ("tcp", wanted[:1]), ("rtu-over-tcp", wanted[:1]), ("tcp", wanted[1:]), ("rtu-over-tcp", wanted[1:]),
    ]  # fmt: skip
    for n, (transport, some) in enumerate(rounds):
        address = ModbusAddress(host, port, transport=transport)
        rest = wanted[1:] if n < 2 else []
        found = await _look_on(address, some, rest, units is None, timeout_s, tell, where, look)
        if found:
            return found
    if port != OPCUA_PORT and await speaks_opcua(host, port, timeout_s):
        return [await look_at_opcua(host, port, timeout_s, look)]
    return [Sighting(where, "open", why=", ".join(map(str, wanted)))]


async def _look_on(
    address: ModbusAddress, units: Sequence[int], more: Sequence[int], first_only: bool, timeout_s: float,
    tell: Tell, where: str, look: bool,
) -> list[Sighting]:  # fmt: skip
    """Units that answer in one kind of frames; `more` are asked once one of `units` has answered."""
    bus = Bus(replace(address, unit_id=1))
    try:
        await bus.attach(timeout_s)
    except DeviceUnreachable:  # it has answered a moment ago: it may take a while to let go
        return []
    try:
        heard = await _ask_units(bus, address, units, first_only, timeout_s, tell, where)
        if heard and not first_only:
            heard |= await _ask_units(bus, address, more, first_only, timeout_s, tell, where)
        return await _seen(bus, address, heard, timeout_s, where, look)
    finally:
        bus.detach()


async def _ask_units(
    bus: Bus, address: ModbusAddress, units: Sequence[int], first_only: bool, timeout_s: float, tell: Tell,
    where: str,
) -> dict[int, bytes]:  # fmt: skip
    """What each unit that is there answers to one request. Raises: DeviceUnreachable, for another master."""
    heard: dict[int, bytes] = {}
    for unit in units:
        tell(f"{where} {address.transport} {unit}")
        await asyncio.sleep(SERIAL_PAUSE_S if address.is_serial else PAUSE_S)
        try:
            heard[unit] = await bus.ask(unit, KNOCK, timeout_s)
        except (DeviceRefused, ReadingRejected) as error:
            if error.fault not in ABSENT:  # a gateway's word about a unit that is not there
                heard[unit] = error.fault.encode()
        except DeviceUnreachable:
            if bus.faults["second_master"]:
                raise
        if heard and first_only:
            break
    return heard


async def _seen(
    bus: Bus, address: ModbusAddress, heard: dict[int, bytes], timeout_s: float, where: str, look: bool
) -> list[Sighting]:
    """A sighting for each unit; one for all where they cannot be told apart."""
    alike = not address.is_serial and len(heard) > 2 and len(set(heard.values())) == 1
    found = []
    for unit in list(heard)[:1] if alike else heard:
        seen = Sighting(where, "unit", replace(address, unit_id=unit), like=list(heard) if alike else [])
        if look:
            await _identify(bus, seen, unit, timeout_s)
        found.append(seen)
    return found


async def _identify(bus: Bus, seen: Sighting, unit: int, timeout_s: float) -> None:
    """Name plate and profiles, as far as a few more requests go."""

    async def ask(pdu: bytes) -> bytes:
        return await bus.ask(unit, pdu, timeout_s)

    asker = Asker(ask, LOOK_REQUESTS, SERIAL_PAUSE_S if bus.address.is_serial else PAUSE_S)
    seen.plate = await name_plate(asker)
    with contextlib.suppress(DeviceUnreachable):  # it has answered once: that is told in any case
        seen.matches = await matches(asker, None, seen.plate)
    seen.requests = asker.requests


# --- serial lines ---


async def look_at_line(
    serial: str, bauds: Sequence[int], parities: Sequence[Parity], units: Sequence[int], listen_s: float,
    timeout_s: float, tell: Tell, look: bool = True,
) -> list[Sighting]:  # fmt: skip
    """Who is on a serial line, at which rate and parity; it is listened to before the first request.

    The first rate and parity at which somebody answers is the line's. Where another master talks nothing is sent.
    """
    listened, trouble = False, ""
    for baud in bauds:
        for parity in parities:
            address = ModbusAddress(
                transport="rtu", serial=serial, baud=baud, parity=parity, stop_bits=2 if parity == "N" else 1,
                listen_s=0.0 if listened else listen_s,
            )  # fmt: skip
            where = f"{serial} {baud} {parity}"
            tell(where if listened else f"{where} · {listen_s:g} s")
            bus = Bus(address)
            try:
                await bus.attach(timeout_s)
            except DeviceUnreachable as error:
                if bus.faults["second_master"]:
                    return [Sighting(serial, "master", why=_reason(error, bus))]
                trouble = _reason(error, bus)  # a port that cannot have this parity may have the next
                continue
            listened = True
            try:
                heard = await _ask_units(bus, address, units, False, timeout_s, tell, where)
                if heard:
                    there = replace(address, listen_s=ModbusAddress().listen_s)
                    return await _seen(bus, there, heard, timeout_s, serial, look)
            except DeviceUnreachable as error:
                return [Sighting(serial, "master", why=_reason(error, bus))]
            finally:
                bus.detach()
    if not listened:
        return [Sighting(serial, "closed", why=trouble)]
    return [Sighting(serial, "open", why=", ".join(map(str, units)))]


def _reason(error: DriverError, bus: Bus) -> str:
    return str(error).removeprefix(f"{bus.address.bus_endpoint}: ")


# --- OPC UA ---


async def look_at_opcua(host: str, port: int, timeout_s: float, look: bool = True) -> Sighting:
    """What security a server offers, which of it to choose, and which profile's nodes it has."""
    from drivers.opcua_security import best_of, endpoints

    url = f"opc.tcp://{bracketed(host)}:{port}"
    seen = Sighting(f"{bracketed(host)}:{port}", "opcua", url=url)
    try:
        offered = await endpoints(url, max(4.0, timeout_s))
    except DriverError as error:
        seen.why = str(error)
        return seen
    seen.ways_in = [
        WayIn(e.policy, e.mode, e.users, e.fingerprint, e.subject, e.valid_until) for e in offered
    ]  # fmt: skip
    best = best_of(offered)
    seen.choose = offered.index(best) if best is not None else -1
    if look and any(e.policy == "None" and "Anonymous" in e.users for e in offered):
        with contextlib.suppress(DriverError):  # what it offers is told in any case
            seen.fits = await _fitting_nodes(url, max(4.0, timeout_s))
    return seen


async def _fitting_nodes(url: str, timeout_s: float) -> dict[str, tuple[int, int]]:
    """OPC UA profile -> how many of its nodes are good, and how many it has; one read for each profile."""
    from asyncua import ua

    from drivers.opcua_session import Limits, Session
    from drivers.opcua_settings import OpcUaSettings

    found = {}
    async with Session(url, timeout_s, OpcUaSettings(), Limits(), {}) as session:
        for name in shipped_profiles():
            profile = load_profile(name)
            if profile.protocol != "opcua":
                continue
            nodes = [ua.NodeId.from_string(point.node or "") for point in profile.points]
            values = await session.read(nodes)
            good = sum(v.StatusCode is None or v.StatusCode.is_good() for v in values)
            if good:
                found[name] = good, len(nodes)
    return found
