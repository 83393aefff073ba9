"""A Modbus PLC that answers right, or whatever bytes a test asks for; and a wire that can be cut or read."""

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True)
class Ask:
    """A request as it came."""

    transaction: int
    unit: int
    function: int
    address: int
    count: int


Answer = bytes | float | None | tuple["Answer", ...]


@dataclass
class ScriptedPlc:
    """A Modbus TCP server whose register n holds `registers[n]`, or 0x4000 + n.

    `script` holds what to do with the next requests instead of answering them: a function from the request
    to bytes that are sent, to None which hangs up, to a float which is a pause in seconds, or to a tuple of
    these. `received` holds every request as bytes.
    """

    registers: dict[int, int] = field(default_factory=dict)
    script: deque[Callable[[Ask], Answer]] = field(default_factory=deque)
    received: list[bytes] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def words(self, ask: Ask) -> list[int]:
        return [self.registers.get(a, 0x4000 + a) for a in range(ask.address, ask.address + ask.count)]

    def answer(self, ask: Ask, **changed: Any) -> bytes:
        """The right answer, or one with `words`, `transaction`, `unit`, `function` or `length` changed."""
        if ask.function in (1, 2):
            bits = [w & 1 for w in self.words(ask)]
            data = bytes(sum(b << i for i, b in enumerate(bits[n : n + 8])) for n in range(0, len(bits), 8))
        else:
            data = b"".join(struct.pack(">H", word) for word in changed.get("words", self.words(ask)))
        function, length = changed.get("function", ask.function), changed.get("length", len(data))
        return self.frame(ask, bytes([function, length]) + data, **changed)

    def refusal(self, ask: Ask, code: int) -> bytes:
        return self.frame(ask, bytes([ask.function | 0x80, code]))

    def frame(self, ask: Ask, pdu: bytes, **changed: Any) -> bytes:
        transaction, unit = changed.get("transaction", ask.transaction), changed.get("unit", ask.unit)
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                header = await reader.readexactly(7)
                transaction, _, length, unit = struct.unpack(">HHHB", header)
                pdu = await reader.readexactly(length - 1)
                self.received.append(header + pdu)
                ask = Ask(transaction, unit, *struct.unpack(">BHH", pdu[:5]))
                act = self.script.popleft() if self.script else self.answer
                await self._act(writer, act(ask))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _act(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        for part in answer if isinstance(answer, tuple) else (answer,):
            if part is None:
                raise ConnectionError
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)


@pytest.fixture
async def plc() -> AsyncIterator[ScriptedPlc]:
    plc = ScriptedPlc()
    server = await asyncio.start_server(plc.serve, "127.0.0.1", 0)
    plc.port = server.sockets[0].getsockname()[1]
    yield plc
    server.close()


@dataclass
class Wire:
    """A TCP relay between a client and the server at `to_port`, to listen to, to stop and to cut."""

    to_port: int
    port: int = 0
    sent: bytearray = field(default_factory=bytearray)  # by the client
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        self._writers += [writer, far_writer]
        await asyncio.gather(
            self._relay(reader, far_writer, self.sent), self._relay(far_reader, writer, bytearray())
        )

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
        try:
            while data := await reader.read(65_536):
                await self.flows.wait()
                heard += data
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@pytest.fixture
async def wire_to() -> AsyncIterator[Callable[[int], Any]]:
    servers = []

    async def connect(to_port: int) -> Wire:
        wire = Wire(to_port)
        wire.flows.set()
        server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
        servers.append((server, wire))
        wire.port = server.sockets[0].getsockname()[1]
        return wire

    yield connect
    for server, wire in servers:
        server.close()
        wire.flows.set()
        wire.cut()
