"""Simulated time, shared with the other processes of a run through a small file."""

import contextlib
import json
import time
from pathlib import Path

NS = 1_000_000_000
_REREAD_NS = 20_000_000  # while the clock stands still, its file is read this often


class ClockError(ValueError):
    """The clock file is not usable. Says which file, what is in it, what it should hold."""


class SimClock:
    """`now_ns` advances `speed` times as fast as CLOCK_MONOTONIC, from `epoch_ns` on.

    CLOCK_MONOTONIC is one for all processes of a machine, so a process that restarts continues in the same
    simulated time. Before somebody starts the clock (`origin_monotonic_ns`), time stands at the epoch.
    """

    def __init__(self, epoch_ns: int, speed: float, origin_ns: int | None, file: Path | None = None) -> None:
        self.epoch_ns = epoch_ns
        self.speed = speed
        self._origin_ns = origin_ns
        self._file = file
        self._read_ns = time.monotonic_ns()

    @classmethod
    def started(cls, epoch_ns: int, speed: float) -> "SimClock":
        """A clock of our own that runs from now on."""
        return cls(epoch_ns, speed, time.monotonic_ns())

    @classmethod
    def from_file(cls, file: Path) -> "SimClock":
        """Raises: ClockError."""
        return cls(*_read(file), file)

    def now_ns(self) -> int:
        """Simulated UTC. [ns since 1970]"""
        now_ns = time.monotonic_ns()
        if self._origin_ns is None:
            if self._file is None or now_ns - self._read_ns < _REREAD_NS:
                return self.epoch_ns
            self._read_ns = now_ns
            with contextlib.suppress(ClockError):  # being written just now; it was whole at the start
                self.epoch_ns, self.speed, self._origin_ns = _read(self._file)
            if self._origin_ns is None:
                return self.epoch_ns
        return self.epoch_ns + int((now_ns - self._origin_ns) * self.speed)

    def elapsed_ns(self) -> int:
        """Simulated time since the epoch, which is a plant's time 0. [ns]"""
        return self.now_ns() - self.epoch_ns

    def real_s(self, simulated_s: float) -> float:
        """How long a simulated duration takes on the wall. [s]"""
        return simulated_s / self.speed


def _read(file: Path) -> tuple[int, float, int | None]:
    shape = '{"epoch_ns": int, "speed": number above 0, "origin_monotonic_ns": int or null}'
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text)
        origin = data["origin_monotonic_ns"]
        found = int(data["epoch_ns"]), float(data["speed"]), None if origin is None else int(origin)
    except OSError as error:
        raise ClockError(f"{file}: cannot be read: {error.strerror}; write {shape} there") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClockError(f"{file}: {text[:80]!r} is not {shape}") from error
    if not found[1] > 0.0:
        raise ClockError(f"{file}: speed = {found[1]}; give a number above 0, 1 is real time")
    return found
