"""A TCP proxy whose network can be cut, slow, or dead without a word."""

import asyncio
import contextlib
from dataclasses import dataclass


@dataclass(eq=False)
class Line:
    """A connection through the proxy: the client's end and the server's."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    dead: bool = False  # half-open: nothing passes any more, and nobody is told

    def close(self) -> None:
        for end in (self.client, self.server):
            if end is not None:
                end.close()


class TcpProxy:
    """Passes bytes between its own port and `target`.

    Attributes:
        refuse: New connections are ended at once.
        dead: New connections hear nothing.
        delay_s: Each piece of data takes so much longer.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.refuse = self.dead = False
        self.delay_s = 0.0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End every connection, both ends hear of it."""
        for line in self._lines:
            line.close()

    def freeze(self) -> None:
        """What is connected now stays so and hears nothing for ever, as after a NAT has forgotten it."""
        for line in self._lines:
            line.dead = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = Line(writer, dead=self.dead)
        self._lines.add(line)
        try:
            if not self.refuse:
                await self._connected(line, reader)
        except (ConnectionError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._lines.discard(line)
            self._tasks.discard(task)
            line.close()

    async def _connected(self, line: Line, reader: asyncio.StreamReader) -> None:
        upstream, line.server = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [
            asyncio.create_task(self._pass(line, reader, line.server, up=True)),
            asyncio.create_task(self._pass(line, upstream, line.client, up=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, line: Line, source: asyncio.StreamReader, sink: asyncio.StreamWriter, up: bool) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await self._read(source):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if not line.dead:
                    await self._forward(data, sink, up)

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        return await source.read(65_536)

    async def _forward(self, data: bytes, sink: asyncio.StreamWriter, up: bool) -> None:
        sink.write(data)
        await sink.drain()
