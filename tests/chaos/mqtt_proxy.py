"""The proxy between MQTT clients and their broker: it knows packets, so it can double and reorder messages."""

import asyncio
from random import Random

from chaos.tcp_proxy import TcpProxy

PUBLISH = 3


class MqttProxy(TcpProxy):
    """A network that may deliver a message twice, or after the next one.

    Attributes:
        doubling, swapping: Shares of the messages, 0..1.
        chance: Decides which.

    Args:
        readable: False for TLS, whose packets nobody can see.
    """

    def __init__(self, target: int, readable: bool = True) -> None:
        super().__init__(target)
        self._readable = readable
        self.doubling = self.swapping = 0.0
        self.chance = Random(0)
        self.doubled = self.swapped = 0
        self._held: dict[asyncio.StreamWriter, bytes] = {}  # a message that lets the next one pass first

    async def _read(self, source: asyncio.StreamReader) -> bytes:
        """One packet, whole. MQTT 3.1.1, section 2.2: a byte, then the length in one to four."""
        if not self._readable:
            return await super()._read(source)
        head = await source.readexactly(1)
        length = shift = 0
        while True:
            head += await source.readexactly(1)
            length |= (head[-1] & 0x7F) << shift
            shift += 7
            if not head[-1] & 0x80:
                return head + await source.readexactly(length)

    async def _forward(self, data: bytes, sink: asyncio.StreamWriter, up: bool) -> None:
        held = self._held.pop(sink, None)
        if self._readable and data[0] >> 4 == PUBLISH:
            if held is None and self.chance.random() < self.swapping:
                self.swapped += 1
                self._held[sink] = data
                return
            if self.chance.random() < self.doubling:
                self.doubled += 1
                data += data
        await super()._forward(data + (held or b""), sink, up)
