"""A Modbus TCP server that owns every byte it sends.

pymodbus has a server too. It is not used here because the driver stands on pymodbus, and a framing mistake
on both sides would cancel out; because of two requests that arrive in one segment it answers one; and
because faults have to be made below the level of a well-formed answer. See README.md for the figures.
"""

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Mapping

from drivers.profile import Profile
from firmware_sim.encode import RegisterImage, Values

TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_SUCH_UNIT = 1, 2, 3, 11
_HEADER = struct.Struct(">HHHB")  # transaction, protocol (0), bytes that follow, unit
_LONGEST = 254  # unit and PDU, Modbus over TCP 1.0b


class ModbusUnit:
    """One device behind a unit id: its profile and where its values come from.

    `source` is asked once per request, so all registers of one answer belong to one instant.
    """

    def __init__(self, profile: Profile, source: Callable[[], Values]) -> None:
        self._image = RegisterImage(profile)
        self._source = source
        self._max_registers = profile.max_registers
        self.requests: Counter[int] = Counter()  # by function code

    def answer(self, pdu: bytes) -> bytes:
        """The response PDU to a request PDU, or an exception reply.

        Source: MODBUS Application Protocol 1.1b3, sections 6.1-6.4 and 7.
        """
        function = pdu[0]
        self.requests[function] += 1
        table = TABLES.get(function)
        if table is None:  # a write too: this is a revenue meter, not a blackboard
            return _refuse(function, ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return _refuse(function, ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= (self._max_registers if function > 2 else 2000):
            return _refuse(function, ILLEGAL_VALUE)
        if not self._image.covers(table, address, count):
            return _refuse(function, ILLEGAL_ADDRESS)
        words = self._image.read(table, address, count, self._source())
        if function > 2:
            return struct.pack(f">BB{count}H", function, 2 * count, *words)
        size = (count + 7) // 8
        bits = sum(bit << i for i, bit in enumerate(words))
        return bytes((function, size)) + bits.to_bytes(size, "little")


def _refuse(function: int, code: int) -> bytes:
    return bytes((function & 0x7F | 0x80, code))


class ModbusServer:
    """Listens on one port for one or more units. Answers requests in order, pipelined ones too."""

    def __init__(self, units: Mapping[int, ModbusUnit]) -> None:
        self.units = dict(units)
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; 0 picks a free port. Returns: the port. Raises: OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop the connections, as a PLC does that loses its supply."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()

    def respond(self, frame: bytes) -> bytes:
        """The frame that answers a whole request frame. All bytes sent come from here."""
        transaction, _, _, unit_id = _HEADER.unpack_from(frame)
        unit = self.units.get(unit_id)
        pdu = frame[_HEADER.size :]
        response = _refuse(pdu[0], NO_SUCH_UNIT) if unit is None else unit.answer(pdu)
        return _HEADER.pack(transaction, 0, len(response) + 1, unit_id) + response


class _Connection(asyncio.Protocol):
    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            _, protocol, length, _ = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _LONGEST:
                return self.drop()  # the stream cannot be brought back into step
            end = 6 + length
            if len(self._buffer) < end:
                return None
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            if self._transport is not None:
                self._transport.write(self._server.respond(frame))
        return None
