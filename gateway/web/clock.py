"""The instant that counts for pages: the machine's, or the one that a simulation shares through a small file."""

import json
import time
from pathlib import Path

from gateway.errors import ConfigError


class WebClock:
    """UTC in nanoseconds and its speed against real time. Without a file it is the machine's clock.

    Args:
        simulated: A file of `epoch_ns`, `speed` and `origin_monotonic_ns`, as simulator and agent share it.

    Raises: ConfigError if the file is no such clock.
    """

    def __init__(self, simulated: Path | None = None) -> None:
        self.speed = 1.0
        self._epoch_ns: int | None = None
        self._origin_ns = 0
        if simulated is None:
            return
        try:
            told = json.loads(simulated.read_text(encoding="utf-8"))
            self._epoch_ns, self.speed = int(told["epoch_ns"]), float(told["speed"])
            self._origin_ns = int(told["origin_monotonic_ns"] or time.monotonic_ns())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{simulated}: not a simulated clock: {error}; it holds epoch_ns, speed, origin_monotonic_ns"
            ) from error

    def now_ns(self) -> int:
        if self._epoch_ns is None:
            return time.time_ns()
        return self._epoch_ns + max(0, int((time.monotonic_ns() - self._origin_ns) * self.speed))
