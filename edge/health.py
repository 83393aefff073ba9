"""The gateway about itself: memory, processor, disk, spool. Read from /proc, no library."""

import os
import shutil
import time
from pathlib import Path

from edge.spool import Tally


class Health:
    """Fields of a `gateway` row; processor share is that since the last call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started_s = self._last_s = time.monotonic()
        self._cpu_s = time.process_time()

    def disk_free_bytes(self) -> int:
        """Where the spool is."""
        return shutil.disk_usage(self._folder).free

    def report(
        self, tally: Tally, spool_bytes: int, batches: int, oldest_s: float, trusted: bool
    ) -> dict[str, int | float]:
        now_s, cpu_s = time.monotonic(), time.process_time()
        share = (cpu_s - self._cpu_s) / max(1e-3, now_s - self._last_s)
        self._last_s, self._cpu_s = now_s, cpu_s
        return {
            "rss_bytes": rss_bytes(), "cpu_percent": 100.0 * share,
            "disk_free_bytes": self.disk_free_bytes(), "spool_bytes": spool_bytes,
            "waiting_rows": tally.waiting, "waiting_batches": batches, "oldest_s": oldest_s,
            "dropped_rows": tally.dropped, "clock_trusted": int(trusted), "uptime_s": now_s - self._started_s,
        }  # fmt: skip


def rss_bytes() -> int:
    """Resident memory of this process. [bytes]"""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
