"""Time as the gateway uses it: UTC that never steps back, durations from the monotonic clock.

Two clocks with one face. `WallClock` is the machine's. `SimulatedClock` shares an epoch and a speed with the
simulator through a small JSON file, so that a day of ferries passes in minutes; deadlines of sockets stay real.
"""

import asyncio
import contextlib
import ctypes
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

TIME_ERROR = 5  # adjtimex(2): the kernel does not hold its clock for synchronised
STEP_NS = 1_000_000_000  # a larger jump of the wall clock is an event, not a correction
LASTS_NS = 600 * 1_000_000_000  # a step of the wall clock that stands so long is no mistake
SHORTER = 8  # an outage may seem by an eighth shorter: meters are allowed 1.2 times their power (dsp.counter)
SLEW = 0.0005  # small corrections are worked off at 500 ppm, as the kernel does (adjtime)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One instant on every clock, kept on disk: from it a start knows how long nobody was there. [ns]

    `wall_ns`: what the machine's clock said; None where no time server saw to it. `steady_ns`: what it would have
    said without its steps of the last minutes, which may have been wrong.
    """

    boot: str
    mono_ns: int
    utc_ns: int
    wall_ns: int | None = None
    steady_ns: int | None = None

    @property
    def offset_ns(self) -> int:
        """Our time minus the monotonic clock."""
        return self.utc_ns - self.mono_ns

    @property
    def lead_ns(self) -> int:
        """Our time minus the wall clock, where that is worth anything."""
        return 0 if self.wall_ns is None else self.utc_ns - self.wall_ns

    def fits(self, other: "Anchor") -> bool:
        """Whether no clock has stepped between the two."""
        same = self.boot == other.boot and (self.wall_ns is None) == (other.wall_ns is None)
        steps_ns = (self.offset_ns - other.offset_ns, self.lead_ns - other.lead_ns)
        return same and max(map(abs, steps_ns)) <= STEP_NS


class Clock(Protocol):
    """`known`: UTC is known since this boot. Before, time is the monotonic clock's plus some constant."""

    speed: float
    known: bool

    def now_ns(self) -> int: ...
    def mono_ns(self) -> int: ...
    def boot_id(self) -> str: ...
    def trusted(self) -> bool: ...
    def wait(self) -> None: ...
    def settle(self) -> None: ...
    def take_step_s(self) -> float: ...
    def anchor(self) -> Anchor: ...
    def go_on(self, anchor: Anchor | None, t_ns: int) -> None: ...
    async def sleep_until(self, t_ns: int) -> None: ...


class WallClock:
    """UTC anchored to the monotonic clock. A jump of the wall clock is followed forward, never back.

    After a jump back time goes on at the monotonic rate, slowed by 500 ppm until the wall clock has caught up;
    until then it is not trusted. Between `wait` and `settle` nothing is followed: what the wall clock says then is
    worth nothing, and rows keep their distance from the monotonic clock.
    """

    speed = 1.0

    def __init__(self) -> None:
        self._mono_ns = self.mono_ns()
        self._utc_ns = self._wall_ns(self._mono_ns)
        self._step_s = 0.0
        self._ahead = False  # of the wall clock, by more than a second
        self._steady_ns: int | None = None  # wall minus monotonic clock, without steps of the last minutes
        self._stepped: tuple[int, int] | None = None  # what it is since a step, and since when
        self.known = True

    def now_ns(self) -> int:
        mono_ns = self.mono_ns()
        elapsed_ns = mono_ns - self._mono_ns
        utc_ns = self._utc_ns + elapsed_ns
        if not self.known:
            return utc_ns
        error_ns = self._wall_ns(mono_ns) - utc_ns
        ahead = error_ns < -STEP_NS
        if error_ns > STEP_NS or (ahead and not self._ahead):  # told once
            self._step_s += error_ns / 1e9
        self._ahead = ahead
        if error_ns > STEP_NS:
            utc_ns += error_ns
        else:
            most_ns = int(elapsed_ns * SLEW)
            utc_ns += max(-most_ns, min(most_ns, error_ns))
        self._mono_ns, self._utc_ns = mono_ns, utc_ns
        return utc_ns

    def mono_ns(self) -> int:
        return time.monotonic_ns()

    def _wall_ns(self, mono_ns: int) -> int:
        """What the machine's clock says now, at this instant of the monotonic clock."""
        return time.time_ns()

    def _synchronised(self) -> bool:
        """Whether the kernel holds its clock for synchronised: a time daemon sees to it."""
        return 0 <= _kernel_clock_state() < TIME_ERROR

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def wait(self) -> None:
        """From here on time is the monotonic clock's, until `settle`."""
        self.known = False

    def settle(self) -> None:
        """The wall clock is right now: follow it. That time moves in this instant is no step."""
        self._mono_ns, self.known = self.mono_ns(), True
        self._utc_ns = self._wall_ns(self._mono_ns)

    def anchor(self) -> Anchor:
        """This instant; to be asked for every few seconds, so that steps of the wall clock are seen."""
        utc_ns, mono_ns = self.now_ns(), self._mono_ns
        if not self._synchronised():
            return Anchor(self.boot_id(), mono_ns, utc_ns)
        wall_ns = self._wall_ns(mono_ns)
        steady_ns = mono_ns + self._steady(mono_ns, wall_ns - mono_ns)
        return Anchor(self.boot_id(), mono_ns, utc_ns, wall_ns, steady_ns)

    def _steady(self, mono_ns: int, offset_ns: int) -> int:
        """Wall minus monotonic clock as it was before a step, until the step has lasted. [ns]"""
        if self._steady_ns is None or abs(offset_ns - self._steady_ns) <= STEP_NS:
            self._steady_ns, self._stepped = offset_ns, None
        elif self._stepped is None or abs(offset_ns - self._stepped[0]) > STEP_NS:
            self._stepped = offset_ns, mono_ns
        elif mono_ns - self._stepped[1] > LASTS_NS:
            self._steady_ns, self._stepped = offset_ns, None
        return self._steady_ns

    def go_on(self, anchor: Anchor | None, t_ns: int) -> None:
        """Go on as if nobody had been away since that instant, and not before `t_ns`, which rows already have.

        A clock that was set wrong and right again is behind ours: going on from the last row would make an outage
        take no time. [ns, UTC]
        """
        if anchor is not None and anchor.boot == self.boot_id() and anchor.steady_ns is not None:
            self._steady_ns = anchor.steady_ns - anchor.mono_ns
        self.not_before(max(t_ns, self._since(anchor) if anchor is not None else 0))

    def _since(self, anchor: Anchor) -> int:
        """What our time would be now if it had gone on; 0 if the wall clock is right about it. [ns, UTC]

        In the same boot the monotonic clock tells how much time has gone by, else the wall clock, if a time server
        saw to it at both ends: where it had stepped at the first one, in the way that makes the outage shorter.
        Only a long outage may seem a little shorter than that, to be done with a clock that is ahead.
        """
        mono_ns = self.mono_ns()
        wall_ns = self._wall_ns(mono_ns)
        passed_ns = 0
        if anchor.boot == self.boot_id():
            passed_ns = mono_ns - anchor.mono_ns
        elif self._synchronised():
            walls = [wall for wall in (anchor.wall_ns, anchor.steady_ns) if wall is not None]
            passed_ns = min((wall_ns - wall for wall in walls if wall < wall_ns), default=0)
        utc_ns = anchor.utc_ns + passed_ns
        return utc_ns if utc_ns - wall_ns > max(STEP_NS, passed_ns // SHORTER) else 0

    def not_before(self, t_ns: int) -> None:
        """Go on from this instant if the clock is behind it: rows on disk already have that time. [ns, UTC]"""
        self._utc_ns = max(self.now_ns(), t_ns)

    def trusted(self) -> bool:
        """Whether the machine's clock is synchronised, and we follow it."""
        return self._synchronised() and not self._ahead

    def take_step_s(self) -> float:
        """Seconds by which the wall clock has stepped since the last call; 0 if it has not. [s]"""
        step_s, self._step_s = self._step_s, 0.0
        return step_s

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.sleep(max(0.0, (t_ns - self.now_ns()) / 1e9))


class Timex(ctypes.Structure):
    """The beginning of struct timex; adjtimex(2). Zeros ask and change nothing."""

    _fields_ = [
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_char * 512),
    ]  # fmt: skip


def adjtimex() -> tuple[int, Timex]:
    """What the kernel says of its own clock: its state, and all else."""
    timex = Timex()
    return ctypes.CDLL(None).adjtimex(ctypes.byref(timex)), timex


def _kernel_clock_state() -> int:
    return adjtimex()[0]


class SimulatedClock(WallClock):
    """The simulator's time: epoch + speed * (monotonic now - origin); stands still until an origin is set.

    Its file may also say `"trusted": false`, that no time server has been heard, `"error_s"`, by how much the wall
    clock is wrong until then, `"step_s"`, by how much it has been set wrong while it is trusted, and `"boot"`, a
    name for what is a boot of the simulated machine. It may be replaced at any time.

    Raises: ValueError if the file is no such clock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._state()
        self._read()
        super().__init__()

    def _read(self) -> None:
        try:
            data = json.loads(self._path.read_text())
            self._epoch_ns, self.speed = int(data["epoch_ns"]), float(data["speed"])
            origin = data["origin_monotonic_ns"]
            self._origin_ns = None if origin is None else int(origin)
            self._trusted, self._boot = bool(data.get("trusted", True)), str(data.get("boot", "simulated"))
            self._error_ns = int(float(data.get("step_s" if self._trusted else "error_s", 0.0)) * 1e9)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self._path}: not a simulated clock: {error}; it holds epoch_ns, speed, origin_monotonic_ns"
            ) from error

    def _state(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _look(self) -> None:
        """Read the file again if it has changed; half a file is left for the next look."""
        if (state := self._state()) != self._seen:
            with contextlib.suppress(ValueError):
                self._read()
                self._seen = state

    def mono_ns(self) -> int:
        if self._origin_ns is None:
            return self._epoch_ns
        real_ns = time.monotonic_ns() - self._origin_ns
        return self._epoch_ns + max(0, int(real_ns * self.speed))

    def _wall_ns(self, mono_ns: int) -> int:
        self._look()
        return mono_ns + self._error_ns

    def _synchronised(self) -> bool:
        self._look()
        return self._trusted

    def boot_id(self) -> str:
        return self._boot

    async def sleep_until(self, t_ns: int) -> None:
        while self._origin_ns is None:
            await asyncio.sleep(0.02)
            self._look()
        lead_ns = max(0, self._origin_ns - time.monotonic_ns())  # nothing happens before time runs
        await asyncio.sleep(lead_ns / 1e9 + max(0.0, (t_ns - self.now_ns()) / 1e9 / self.speed))
