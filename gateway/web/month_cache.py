"""Figures of the running month, reckoned once and kept for a while: they read millions of rows."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

KEPT_S = 900.0


class MonthCache:
    """One reckoning at a time, in a thread; who asks meanwhile for the same waits for its answer."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._turn: asyncio.Lock | None = None  # made in the loop that uses it

    async def get(self, key: tuple[str, ...], reckon: Callable[[], Any]) -> Any:
        """What `reckon` gives for a key. Raises what it raises, and keeps nothing of it."""
        held = self._fresh(key)
        if held is None:
            self._turn = self._turn or asyncio.Lock()
            async with self._turn:
                held = self._fresh(key)  # somebody may have reckoned it meanwhile
                if held is None:
                    found = await asyncio.to_thread(reckon)
                    held = self._held[key] = (time.monotonic(), found)
        return held[1]

    def _fresh(self, key: tuple[str, ...]) -> tuple[float, Any] | None:
        held = self._held.get(key)
        return held if held is not None and time.monotonic() - held[0] <= KEPT_S else None
