"""Modbus over TCP sockets, with its own header or with RTU frames: servers that own every byte they send.

pymodbus has a server too. It is not used here because the driver stands on pymodbus, and a framing mistake
on both sides would cancel out; because of two requests that arrive in one segment it answers one; and
because faults have to be made below the level of a well-formed answer. See README.md for the figures.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from firmware_sim.delivery import Delivery
from firmware_sim.modbus_rtu import GAP_S, RtuReceiver, pack_rtu
from firmware_sim.modbus_unit import NO_SUCH_UNIT, ModbusUnit, refusal
from firmware_sim.wire_faults import Request, WireFaults

__all__ = ["ModbusServer", "ModbusUnit", "RtuOverTcpServer"]
_HEADER = struct.Struct(">HHHB")  # transaction, protocol (0), bytes that follow, unit
_LONGEST = 254  # unit and PDU, Modbus over TCP 1.0b


def pack_tcp(request: Request, pdu: bytes) -> bytes:
    """The frame of an answer in Modbus TCP."""
    return _HEADER.pack(request.transaction, 0, len(pdu) + 1, request.unit) + pdu


class ModbusServer:
    """Listens on one port for one or more units. Answers requests in order, pipelined ones too.

    Args:
        faults: By unit; a fault of one unit leaves the others alone, one of the connection hits them all.
    """

    def __init__(self, units: Mapping[int, ModbusUnit], faults: Mapping[int, WireFaults] | None = None) -> None:
        self.units = dict(units)
        self.faults = dict(faults or {})
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)

    async def start(self, host: str, port: int) -> int:
        """Listen; 0 picks a free port. Returns: the port. Raises: OSError if it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host, port)
        self._address = (host, int(self._server.sockets[0].getsockname()[1]))
        return self._address[1]

    async def stop(self) -> None:
        """Stop listening and drop the connections, as a PLC does that loses its supply."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.end("close")

    async def apply(self) -> None:
        """Refuse connections, or listen again, as the board says now."""
        refuse = any(f.board.get(f.device, "refuse-connections") for f in self.faults.values())
        if refuse and self._server is not None:
            await self.stop()
        elif not refuse and self._server is None:
            await self.start(*self._address)

    def respond(self, frame: bytes) -> bytes:
        """The frame that answers a whole request frame, without faults."""
        transaction, _, _, unit_id = _HEADER.unpack_from(frame)
        unit = self.units.get(unit_id)
        pdu = frame[_HEADER.size :]
        response = refusal(pdu[0], NO_SUCH_UNIT) if unit is None else unit.answer(pdu)
        return _HEADER.pack(transaction, 0, len(response) + 1, unit_id) + response

    def _connection(self) -> "_Connection":
        return _TcpConnection(self)


class RtuOverTcpServer(ModbusServer):
    """RTU frames on a TCP port, as a serial device server passes them on: an absent unit is silence."""

    def _connection(self) -> "_Connection":
        return _RtuConnection(self)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._delivery: Delivery | None = None  # made for the first fault

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._delivery is not None:
            self._delivery.cancel()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def end(self, how: str) -> None:
        """End the connection: "close" sends what is under way, "reset" sends a TCP reset."""
        if self._transport is None:
            return None
        if how == "close":
            return self._transport.close()
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None:  # without lingering, closing a socket is a reset
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        return None

    def delivery(self) -> Delivery:
        if self._delivery is None:
            self._delivery = Delivery(self.write, self.end)
        return self._delivery


class _TcpConnection(_Connection):
    def __init__(self, server: ModbusServer) -> None:
        super().__init__(server)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            transaction, protocol, length, unit_id = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _LONGEST:
                self.end("reset")  # the stream cannot be brought back into step
                return
            end = 6 + length
            if len(self._buffer) < end:
                return
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            faults = self._server.faults.get(unit_id)
            if faults is None or (faults.none and self._delivery is None):
                self.write(self._server.respond(frame))
            else:
                request = Request(unit_id, frame[_HEADER.size :], transaction)
                self.delivery().play(faults.play(request, self._server.units[unit_id].answer, pack_tcp))


class _RtuConnection(_Connection):
    def __init__(self, server: ModbusServer) -> None:
        super().__init__(server)
        self._receiver = RtuReceiver(self._take, GAP_S)

    def data_received(self, data: bytes) -> None:
        self._receiver.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._receiver.cancel()

    def _take(self, request: Request) -> None:
        unit, faults = self._server.units.get(request.unit), self._server.faults.get(request.unit)
        if unit is None:
            return
        if faults is None or (faults.none and self._delivery is None):
            self.write(pack_rtu(request, unit.answer(request.pdu)))
        else:
            self.delivery().play(faults.play(request, unit.answer, pack_rtu))
