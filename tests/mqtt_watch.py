"""Who listens to a broker, for tests of what others say there."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from edge.mqtt import Access, Connection

DEADLINE_S = 40.0


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 - plain objects, changed by callbacks
            await asyncio.sleep(0.02)


class Watcher:
    """A client that keeps what it hears."""

    def __init__(self, port: int, filters: list[str]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._filters = filters
        self.connection = Connection(
            Access((("127.0.0.1", port),), reconnect_s=1.0), f"watcher-{random.random()}", self._subscribe,
            lambda topic, payload: self.heard.append((topic, payload)),
        )  # fmt: skip

    def _subscribe(self) -> None:
        self.connection.subscribe(self._filters)

    def last(self, topic: str) -> bytes | None:
        return next((payload for name, payload in reversed(self.heard) if name == topic), None)


@asynccontextmanager
async def watching(port: int, *filters: str) -> AsyncIterator[Watcher]:
    watcher = Watcher(port, list(filters))
    watcher.connection.start()
    try:
        await until(lambda: watcher.connection.subscribed)
        yield watcher
    finally:
        await watcher.connection.stop()
