"""Whether every loop of the agent still comes round.

A loop says before each rest how long that will be. What came of its work, be it a silent PLC, a full disk or a
broker that is away, does not matter: it tried, and rests. Only who comes back late hangs.
"""

import asyncio
import math
import time
from collections.abc import Callable

WORK_S = 300.0  # between two rests; far more than a scan with all its time-outs, or a commit on a worn-out card
Rest = Callable[[float], None]


def nobody_asks(rest_s: float) -> None:
    """For loops that run without an agent."""


class Rounds:
    """Loops by the names of their tasks."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._work_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}
        self._excused_until_s = -math.inf

    def expect(self, loop: str, work_s: float = WORK_S) -> None:
        """From now on this loop is to come round; `work_s` is the longest that it may work between two rests."""
        self._work_s[loop] = work_s
        self._due_s[loop] = self._now_s() + work_s

    def forget(self, loop: str) -> None:
        self._work_s.pop(loop, None)
        self._due_s.pop(loop, None)

    def rest(self, rest_s: float) -> None:
        """The task that calls has come round, and will be back at work after `rest_s`."""
        task = asyncio.current_task()
        if task is not None and (work_s := self._work_s.get(task.get_name())) is not None:
            self._due_s[task.get_name()] = self._now_s() + rest_s + work_s

    def excuse(self, for_s: float) -> None:
        """For so long from now nobody is late: all may have to wait for a file that is being mended."""
        self._excused_until_s = self._now_s() + for_s

    def late(self) -> list[str]:
        """Loops that should have been back."""
        now_s = self._now_s()
        if now_s < self._excused_until_s:
            return []
        return sorted(loop for loop, due_s in self._due_s.items() if due_s < now_s)
