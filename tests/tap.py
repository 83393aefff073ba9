"""Proxies that write down what a client sends, over TCP or on a serial line: what they hear was on the wire."""

import asyncio
import contextlib
import os
import pty
import select
import threading
import tty
from typing import Self

from firmware_sim.modbus_rtu import crc16


class Tap:
    """Passes everything between its own port and `target`; `streams` has the client's bytes per connection."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0
        self.streams: list[bytearray] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0.05))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.streams.append(heard)
        try:
            upstream, sink = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(_pass(upstream, writer, None)),
            asyncio.create_task(_pass(reader, sink, heard)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # who hangs up hangs up on the other
        for way in ways:
            way.cancel()
        sink.close()
        writer.close()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter, heard: bytearray | None) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while data := await source.read(65_536):
            if heard is not None:
                heard += data
            sink.write(data)
            await sink.drain()


class LineTap:
    """A pty of its own before that of a serial line, `target`; `streams` has one stream, the client's bytes."""

    def __init__(self, target: str) -> None:
        self._far = os.open(target, os.O_RDWR | os.O_NOCTTY)  # set as the simulator has set it
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self.streams = [bytearray()]
        self._end, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop, b"x")
        self._thread.join(10)
        for each in (self._far, self._ours, self._theirs, self._end, self._stop):
            os.close(each)

    def _run(self) -> None:
        while True:
            ready = select.select([self._ours, self._far, self._end], [], [])[0]
            if self._end in ready:
                return
            if self._ours in ready:
                data = os.read(self._ours, 4096)
                self.streams[0] += data
                os.write(self._far, data)
            if self._far in ready:
                os.write(self._ours, os.read(self._far, 4096))


def rtu_functions(stream: bytes) -> list[int]:
    """Function code of each RTU request in a client's stream: 8 bytes, or 7 for a name plate, checksum right."""
    codes, at = [], 0
    while at < len(stream):
        size = next((n for n in (8, 7) if crc16(stream[at : at + n - 2]) == stream[at + n - 2 : at + n]), 0)
        assert size, f"byte {at} begins no request that reads: {stream[at : at + 8].hex(' ')}"
        codes.append(stream[at + 1])
        at += size
    return codes


def modbus_functions(stream: bytes) -> list[int]:
    """Function code of each Modbus TCP request in a client's stream (MBAP header: Modbus TCP guide 4.1)."""
    codes, at = [], 0
    while at + 8 <= len(stream):
        length = int.from_bytes(stream[at + 4 : at + 6], "big")
        codes.append(stream[at + 7])
        at += 6 + length
    return codes


def opcua_services(stream: bytes) -> list[str]:
    """Name of each message and service in a client's stream, security None (OPC UA part 6, 6.7.2 and 5.2.2.9)."""
    from asyncua.ua import ObjectIds

    names = {value: name for name, value in vars(ObjectIds).items() if name.endswith("_Encoding_DefaultBinary")}
    found, at = [], 0
    while at + 8 <= len(stream):
        kind, size = stream[at : at + 3].decode(), int.from_bytes(stream[at + 4 : at + 8], "little")
        message = stream[at : at + size]
        if kind == "MSG":  # channel, token, sequence, request: 4 bytes each; then the type's node id
            assert message[24] == 0x01, "a request's type is a four-byte node id"
            number = int.from_bytes(message[26:28], "little")
            found.append(names[number].removesuffix("_Encoding_DefaultBinary"))
        else:
            found.append(kind)
        at += size
    return found
