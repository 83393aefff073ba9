"""Look at a Modbus device that is not known yet: gently, and only to read.

Every request goes through one `Asker`: one at a time, a pause before each, and no more than a given number.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

from drivers.address import ModbusAddress, Transport, bracketed
from drivers.bus import Bus
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus import ABSENT, FUNCTIONS
from drivers.modbus_pdu import read_pdu
from drivers.profile import Table
from drivers.readonly import ENCAPSULATED, READ_IDENTIFICATION

Ask = Callable[[bytes], Awaitable[bytes]]  # request PDU -> the PDU that answers it; raises DriverError
PAUSE_S = 0.02
MOST_REQUESTS = 120
MOST_REGISTERS, MOST_BITS = 100, 800  # of a request; some devices take fewer than the standard's 125 and 2000
MOST_SILENT = 2  # requests in a row that are not answered, then the rest is not asked for
SPLIT = ("exception_2", "exception_3")  # refusals that half the request may not meet
UNITS = (1, 255, 0, 2, 3, 10, 100, 247)  # where devices are found that are not on the unit given


class Enough(DriverError):
    """As many requests have been sent as may be."""


class Asker:
    """Sends requests one after the other, with a pause before each, up to a number of them."""

    def __init__(self, ask: Ask, most: int = MOST_REQUESTS, pause_s: float = PAUSE_S) -> None:
        self._ask, self._pause_s = ask, pause_s
        self.most = most
        self.requests = 0

    async def __call__(self, pdu: bytes) -> bytes:
        """The answer's PDU. Raises: Enough, and what a bus raises."""
        if self.requests >= self.most:
            raise Enough(f"{self.most} requests have been sent; that is enough for one look")
        self.requests += 1
        await asyncio.sleep(self._pause_s)
        return await self._ask(pdu)

    async def read(self, table: Table, address: int, count: int) -> bytes:
        """Registers or bits, as they came."""
        return (await self(read_pdu(FUNCTIONS[table], address, count)))[2:]


@dataclass
class Span:
    """What was read of a range.

    Attributes:
        words: Address -> register, or bit.
        missing: Address -> why there is none: the driver's name of the fault, or `not_asked`.
    """

    table: Table
    first: int
    count: int
    words: dict[int, int] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)

    def runs(self) -> Iterator[tuple[int, int]]:
        """First address and length of what can be read, in requests that the device takes."""
        most = MOST_BITS if self.table in ("coil", "discrete") else MOST_REGISTERS
        start = None
        for address in range(self.first, self.first + self.count + 1):
            if address in self.words and start is None:
                start = address
            if start is not None and (address not in self.words or address - start == most):
                yield start, address - start
                start = address if address in self.words else None

    def gaps(self) -> Iterator[tuple[int, int, str]]:
        """First and last address of what cannot be read, and why."""
        start = None
        for address in range(self.first, self.first + self.count + 1):
            why = self.missing.get(address)
            if start is not None and why != self.missing[start]:
                yield start, address - 1, self.missing[start]
                start = None
            if start is None and why is not None:
                start = address


async def read_span(asker: Asker, table: Table, first: int, count: int) -> Span:
    """Read a range; what is refused is halved, the longest pieces first, down to pairs.

    A pair is parted only where it touches something readable: a hole of 100 registers costs 100 requests, not 200.
    Raises: DeviceUnreachable, if the first request is not answered.
    """
    span = Span(table, first, count)
    most = MOST_BITS if table in ("coil", "discrete") else MOST_REGISTERS
    todo = deque((at, min(most, first + count - at)) for at in range(first, first + count, most))
    answered, silent = False, 0
    while todo:
        at, n = todo.popleft()
        try:
            _keep(span, at, n, await asker.read(table, at, n))
            answered, silent = True, 0
        except DeviceRefused as error:
            answered, silent = True, 0
            touches = at - 1 in span.words or at + n in span.words
            if error.fault in SPLIT and (n > 2 or (n == 2 and touches)):
                half = n // 2 + n // 2 % 2 if n > 2 else 1  # even: some devices refuse half a float
                todo += [(at, half), (at + half, n - half)]
            else:
                _miss(span, at, n, error.fault)
        except ReadingRejected as error:
            answered = True
            _miss(span, at, n, error.fault)
        except DeviceUnreachable as error:
            silent += 1
            if not answered:
                raise
            _miss(span, at, n, error.fault or "no_answer")
        except Enough:
            _miss(span, at, n, "not_asked")
        if silent >= MOST_SILENT:
            while todo:
                _miss(span, *todo.popleft(), "not_asked")
    return span


async def read_again(asker: Asker, span: Span) -> Span:
    """The same range once more, without what could not be read. Raises: as `read_span`, for any request."""
    again = Span(span.table, span.first, span.count, missing=dict(span.missing))
    for at, n in span.runs():
        _keep(again, at, n, await asker.read(span.table, at, n))
    return again


def _keep(span: Span, first: int, count: int, data: bytes) -> None:
    for i in range(count):
        bit = span.table in ("coil", "discrete")
        word = data[i // 8] >> i % 8 & 1 if bit else int.from_bytes(data[2 * i : 2 * i + 2], "big")
        span.words[first + i] = word


def _miss(span: Span, first: int, count: int, why: str) -> None:
    span.missing |= dict.fromkeys(range(first, first + count), why)


async def name_plate(asker: Asker) -> list[str]:
    """Vendor, product code and revision, as far as the device tells; nothing where it does not.

    Source: MODBUS Application Protocol 1.1b3, section 6.21.
    """
    shown: dict[int, str] = {}
    first = 0
    for _ in range(4):
        try:
            pdu = await asker(bytes((ENCAPSULATED, READ_IDENTIFICATION, 1, first)))
        except DriverError:  # most devices have none
            break
        at = 7
        for _ in range(pdu[6] if len(pdu) > 6 else 0):
            if at >= len(pdu):
                break
            number, length = pdu[at], pdu[at + 1] if at + 1 < len(pdu) else 0
            shown[number] = pdu[at + 2 : at + 2 + length].decode("latin-1").strip("\0 ")
            at += 2 + length
        if len(pdu) < 7 or pdu[4] != 0xFF or pdu[5] <= first:
            break
        first = pdu[5]
    return [text for _, text in sorted(shown.items()) if text]


@dataclass(frozen=True)
class Hint:
    """One thing that would explain what was seen: `key` names the sentence, `values` go into it."""

    key: str
    values: dict[str, object] = field(default_factory=dict)


def answers(error: DriverError | None) -> bool:
    """Whether somebody is there: an answer, a refusal of its own, or nonsense."""
    return error is None or (isinstance(error, DeviceRefused | ReadingRejected) and error.fault not in ABSENT)


async def diagnose(
    address: ModbusAddress, pdu: bytes, timeout_s: float
) -> tuple[ModbusAddress | None, list[Hint]]:
    """Nobody answers at an address, though the port is open: with other frames, or on another unit?

    At most three connections, one after the other, and one request for each unit tried. If nobody answers any of
    it, one greeting of OPC UA.

    Returns: where somebody answers, and what to tell.
    """
    other = {"tcp": "rtu-over-tcp", "rtu-over-tcp": "tcp"}.get(address.transport)
    if other is not None:
        there = replace(address, transport=other)  # type: ignore[arg-type]
        if await _who_answers(there, pdu, timeout_s, [address.unit_id]):
            return there, [Hint(f"is_{other.replace('-', '_')}", {"url": there.endpoint})]
    units = [unit for unit in UNITS if unit != address.unit_id and not (address.is_serial and unit in (0, 255))]
    if found := await _who_answers(address, pdu, timeout_s, units):
        there = replace(address, unit_id=found[0])
        values = {"unit": address.unit_id, "found": ", ".join(map(str, found)), "url": there.endpoint}
        return there, [Hint("other_unit", values)]
    if not address.is_serial and await speaks_opcua(address.host, address.tcp_port, timeout_s):
        return None, [Hint("is_opcua", {"url": f"opc.tcp://{bracketed(address.host)}:{address.tcp_port}"})]
    nobody = "nobody_serial" if address.is_serial else "nobody"
    return None, [Hint(nobody, {"units": ", ".join(map(str, [address.unit_id, *units]))})]


async def speaks_opcua(host: str, port: int, timeout_s: float) -> bool:
    """Whether a server answers OPC UA's greeting, with which nothing is opened yet.

    Source: OPC 10000-6, section 7.1.2: Hello, answered by Acknowledge or Error.
    """
    url = f"opc.tcp://{bracketed(host)}:{port}".encode()
    body = struct.pack("<5I", 0, 65_536, 65_536, 0, 0) + struct.pack("<I", len(url)) + url
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"HELF" + struct.pack("<I", 8 + len(body)) + body)
                return await reader.readexactly(4) in (b"ACKF", b"ERRF")
            finally:
                writer.close()
    except (OSError, EOFError, ValueError):
        return False


async def speaks_modbus(host: str, port: int, timeout_s: float) -> ModbusAddress | None:
    """Where unit 1 answers over Modbus TCP or RTU over TCP, if it does."""
    transports: tuple[Transport, ...] = ("tcp", "rtu-over-tcp")
    for transport in transports:
        address = ModbusAddress(host, port, transport=transport)
        if await _who_answers(address, read_pdu(FUNCTIONS["holding"], 0, 1), timeout_s, [1]):
            return address
    return None


async def _who_answers(address: ModbusAddress, pdu: bytes, timeout_s: float, units: list[int]) -> list[int]:
    bus, found = Bus(replace(address, listen_s=0.0)), []
    try:
        await bus.attach(timeout_s)
    except DeviceUnreachable:
        return []
    try:
        for unit in units:
            await asyncio.sleep(PAUSE_S)
            error: DriverError | None = None
            try:
                await bus.ask(unit, pdu, timeout_s)
            except DriverError as seen:
                error = seen
            if answers(error):
                found.append(unit)
    finally:
        bus.detach()
    return found
