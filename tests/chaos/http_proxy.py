"""The proxy before InfluxDB: it can be slow, answer in its place, or lose the answer to a write that was done."""

import asyncio
import re
from urllib.parse import urlsplit

from chaos.tcp_proxy import TcpProxy

BODIES = {
    400: b'{"code":"invalid","message":"unable to parse: the proxy does not like it"}',
    401: b'{"code":"unauthorized","message":"unauthorized access"}',
    404: b'{"code":"not found","message":"bucket not found"}',
    422: b'{"code":"unprocessable entity","message":"failure writing points to database"}',
    429: b'{"code":"too many requests","message":"exceeded limit"}',
    500: b'{"code":"internal error","message":"engine: write /var/lib/influxdb2: no space left on device"}',
    503: b'{"code":"unavailable","message":"service unavailable"}',
}


class HttpProxy(TcpProxy):
    """Requests are taken whole, and passed on or answered; answers are passed on as they come.

    Attributes:
        answer: A status that each request gets instead of the database's own; 0: ask the database.
        lose_answers: The database does what it is asked, and nobody hears of it.
    """

    def __init__(self, url: str) -> None:
        super().__init__(urlsplit(url).port or 0)
        self.answer = 0
        self.lose_answers = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        """A request with its body; of an answer, whatever comes."""
        piece = await source.read(65_536)
        if not re.match(rb"(GET|POST|PUT|DELETE|PATCH) ", piece):
            return piece
        while b"\r\n\r\n" not in piece:
            piece += await source.readuntil(b"\n")
        head, _, body = piece.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.IGNORECASE)
        missing = int(length[1]) - len(body) if length else 0
        return piece + (await source.readexactly(missing) if missing > 0 else b"")

    async def _forward(self, data: bytes, sink: asyncio.StreamWriter, up: bool) -> None:
        if up and self.answer:
            client = next(line.client for line in self._lines if line.server is sink)
            body = BODIES[self.answer]
            head = f"HTTP/1.1 {self.answer} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            await super()._forward(head.encode() + b"\r\n\r\n" + body, client, up)
        elif not up and self.lose_answers:
            raise ConnectionResetError("the answer is lost")
        else:
            await super()._forward(data, sink, up)
