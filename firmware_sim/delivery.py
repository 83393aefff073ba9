"""Sends what a play says, at its times, on a connection or a line."""

import asyncio
from collections.abc import Callable

from firmware_sim.wire_faults import Play

_APART_S = 1e-6  # timers of the same instant fire in any order


class Delivery:
    """One direction of one connection. Frames stay whole: none cuts into one that is still being sent slowly.

    Args:
        write: Sends bytes now.
        end: Ends the connection, as "close" or "reset"; a line has nothing to end.
    """

    def __init__(self, write: Callable[[bytes], None], end: Callable[[str], None]) -> None:
        self._write = write
        self._end = end
        self._free_s = 0.0  # loop time at which the last slow byte is sent
        self._held = b""
        self._timers: set[asyncio.TimerHandle] = set()

    def play(self, play: Play) -> None:
        loop = asyncio.get_running_loop()
        earlier, self._held = self._held, play.data if play.held else b""
        if earlier:
            self._at(loop.time(), earlier)
        if play.held:
            return
        start_s = loop.time() + play.delay_s
        if play.pause_s > 0.0:
            start_s = max(start_s, self._free_s)
            for i in range(len(play.data)):
                self._at(start_s + i * play.pause_s, play.data[i : i + 1])
            start_s += len(play.data) * play.pause_s
            self._free_s = start_s
        elif play.data:
            start_s = self._at(start_s, play.data)
        if play.end:
            self._later(start_s, lambda: self._end(play.end))

    def cancel(self) -> None:
        """Forget what has not been sent."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _at(self, when_s: float, data: bytes) -> float:
        """Send at that loop time, or once the line is free. Returns: when that is."""
        if when_s <= self._free_s and len(data) > 1:
            when_s = self._free_s
            self._free_s += _APART_S
        self._later(when_s, lambda: self._write(data))
        return when_s

    def _later(self, when_s: float, act: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if when_s <= loop.time() and not self._timers:
            return act()

        def fire() -> None:
            self._timers.discard(timer)
            act()

        timer = loop.call_at(when_s, fire)
        self._timers.add(timer)
        return None
