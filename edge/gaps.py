"""Times in which a device was not asked, and what it has kept of them, fetched bit by bit."""

import logging
import time
from collections.abc import Callable

from drivers.devices import Link
from drivers.row import Row

log = logging.getLogger(__name__)
MOST_GAPS = 32  # of one device; the oldest is given up first
BETWEEN_PAGES_S = 10.0  # live scans wait while a page comes, some seconds at most


class Gaps:
    """The gaps of one device, newest last. A gap is forgotten when the device has nothing more to tell of it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._gaps: list[tuple[int, int]] = []  # first instant, and the one before which all is known [ns, UTC]
        self._next_s = 0.0

    def add(self, from_ns: int, to_ns: int) -> None:
        self._gaps.append((from_ns, to_ns))
        self._next_s = 0.0
        if len(self._gaps) > MOST_GAPS:
            first_ns, last_ns = self._gaps.pop(0)
            log.warning("device=%s event=gap_given_up from_ns=%d to_ns=%d", self._device, first_ns, last_ns)

    def shift(self, by_ns: int) -> None:
        """All that was added so far was wrong by this much. [ns]"""
        self._gaps = [(from_ns + by_ns, to_ns + by_ns) for from_ns, to_ns in self._gaps]

    async def fill(self, link: Link, take: Callable[[Row], None]) -> None:
        """Take the next page of rows, the newest first, if there is a gap and its time has come.

        A gap outlives a link: what it did not come to, the next one goes on with. Raises: DeviceUnreachable.
        """
        history = getattr(link, "history", None)
        if not self._gaps or history is None or not getattr(link, "history_due", True):
            return
        if time.monotonic() < self._next_s:
            return
        from_ns, to_ns = self._gaps[-1]
        rows = await history(from_ns, to_ns)
        self._next_s = time.monotonic() + BETWEEN_PAGES_S
        if rows:
            self._gaps[-1] = from_ns, rows[0].t_ns
        else:
            self._gaps.pop()
        for row in rows:
            take(row)
