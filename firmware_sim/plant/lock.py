"""A lock with one chamber: its hydraulics, its drives, and the PLC program that takes boats through.

The plant steps at a fixed tick, as its PLC does, so what it does is independent of when it is asked. The
water is exact at any tick: with sluices that open linearly, the root of the head falls by the opening's
integral, which is known in closed form.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from math import sqrt

from firmware_sim.encode import Value
from firmware_sim.plant.noise import uniform, wobble

NS = 1_000_000_000
GRAVITY = 9.81
UP, DOWN = "up", "down"
OTHER = {UP: DOWN, DOWN: UP}
RED, RED_GREEN, GREEN = 0, 1, 2
EQUAL_M = 0.005  # the PLC takes levels as equal below this
MOST_HEAD_M = 0.05  # the interlock keeps a gate closed above this


class Phase(IntEnum):
    IDLE = 0
    ENTRY = 1
    CLOSING = 2
    LEVELLING = 3
    SHUTTING = 4
    OPENING = 5
    EXIT = 6


@dataclass(frozen=True)
class LockSize:
    """Dimensions and times. The defaults are a large-gauge lock of 144.60 x 12 m with a fall of 4.90 m.

    Levels in metres above the datum; `sluice_m2` is the opening of one head's sluices together, and
    `discharge` their coefficient, usually 0.6 to 0.9.
    """

    length_m: float = 144.60
    width_m: float = 12.0
    upstream_m: float = 21.60
    downstream_m: float = 16.70
    sluice_m2: float = 5.0
    discharge: float = 0.7
    gate_drive_s: float = 65.0
    sluice_open_s: float = 120.0
    sluice_close_s: float = 40.0
    first_vessel_s: float = 90.0
    noise_m: float = 0.004
    empty_share: float = 0.15  # lockages without a boat
    cycle_total: int = 10_482
    energy_wh: int = 55_310_420

    @property
    def area_m2(self) -> float:
        return self.length_m * self.width_m


class Drive:
    """A gate or a set of sluices: 0 closed, 1 open, and the time that the way takes."""

    def __init__(self, open_s: float, close_s: float, position: float = 0.0) -> None:
        self.position = self.target = position
        self._open_s = open_s
        self._close_s = close_s

    def travel(self, step_s: float) -> float:
        """Move for `step_s`. Returns: integral of the position over the step. [s]"""
        before, rate = self.position, 1.0 / (self._open_s if self.target > self.position else self._close_s)
        way = self.target - before
        if abs(way) <= rate * step_s:
            self.position = self.target
            moving_s = abs(way) / rate
            return 0.5 * (before + self.target) * moving_s + self.target * (step_s - moving_s)
        self.position += rate * step_s if way > 0 else -rate * step_s
        return 0.5 * (before + self.position) * step_s

    @property
    def moving(self) -> bool:
        return self.position != self.target

    @property
    def closed(self) -> bool:
        return self.position == 0.0 and not self.moving

    @property
    def state(self) -> int:
        """0 closed, 1 opening, 2 open, 3 closing, 4 stopped on the way."""
        if self.moving:
            return 1 if self.target > self.position else 3
        return {0.0: 0, 1.0: 2}.get(self.position, 4)


@dataclass
class Lockage:
    """One passage. Times in seconds from the start; `phases` is the start of each."""

    direction: str  # up or down: which way the boat goes
    vessel: bool
    start_s: float
    end_s: float | None = None
    volume_m3: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


class Lock:
    """The lock. `advance` it to a time, then read it; it does not go back.

    It starts at the upper level with the upstream gate open, waiting for a boat that goes down.
    """

    def __init__(self, size: LockSize, seed: int, tick_ns: int = NS // 4) -> None:
        self.size = size
        self.level_m = size.upstream_m
        self.gates = {
            UP: Drive(size.gate_drive_s, size.gate_drive_s, 1.0),
            DOWN: Drive(size.gate_drive_s, size.gate_drive_s),
        }
        self.sluices = {side: Drive(size.sluice_open_s, size.sluice_close_s) for side in (UP, DOWN)}
        self.reach_m = {UP: size.upstream_m, DOWN: size.downstream_m}
        self.phase = Phase.IDLE
        self.side = UP  # the head at which the chamber lies, or which it is brought to
        self.vessel_present = False
        self.lockages: list[Lockage] = []
        self.drawn_m3 = 0.0  # from the upper reach
        self.released_m3 = 0.0  # to the lower reach
        self._seed = seed
        self._tick_ns = tick_ns
        self._ticks = 0
        self._since_s = 0.0
        self._energy_ws = 0.0
        self._wait_s = size.first_vessel_s
        # Root of the head per second of full opening, from c w sqrt(2 g h) dt = -A dh.
        self._fall_per_s = size.discharge * size.sluice_m2 * sqrt(2.0 * GRAVITY) / (2.0 * size.area_m2)

    @property
    def completed(self) -> int:
        return sum(lockage.end_s is not None for lockage in self.lockages)

    def head_m(self, side: str) -> float:
        """Difference of level across a head, never negative here. [m]"""
        return abs(self.reach_m[side] - self.level_m)

    def advance(self, t_ns: int) -> None:
        """Step up to the last tick at or before `t_ns`."""
        step_s = self._tick_ns / NS
        for _ in range(t_ns // self._tick_ns - self._ticks):
            self._ticks += 1
            self._move(step_s)
            self._program(self._ticks * step_s)

    def _move(self, step_s: float) -> None:
        """Physics: drives, water, energy."""
        power_w = 900.0 + 1400.0 * self.vessel_present  # cabinets; lights and screens while a boat is in
        for side in (UP, DOWN):
            gate, sluice = self.gates[side], self.sluices[side]
            power_w += 11_000.0 * gate.moving + 5_500.0 * sluice.moving
            gate.travel(step_s)
            if sluice.position > 0.0 or sluice.moving:
                self._level(side, sluice.travel(step_s))
        self._energy_ws += power_w * step_s

    def _level(self, side: str, opening_s: float) -> None:
        """Let water through the sluices of one head. `opening_s` is the integral of their opening."""
        root = max(0.0, sqrt(self.head_m(side)) - self._fall_per_s * opening_s)
        if side == UP:
            level_m = self.reach_m[UP] - root**2
            self.drawn_m3 += self.size.area_m2 * (level_m - self.level_m)
        else:
            level_m = self.reach_m[DOWN] + root**2
            self.released_m3 += self.size.area_m2 * (self.level_m - level_m)
        self.level_m = level_m

    def _program(self, now_s: float) -> None:
        """The PLC's sequence: one step of it per tick, each left by its own condition."""
        in_phase_s, side = now_s - self._since_s, self.side
        if self.phase == Phase.IDLE:
            if in_phase_s >= self._wait_s:
                n = len(self.lockages)
                vessel = uniform(self._seed, 20, n) >= self.size.empty_share
                self.lockages.append(Lockage(OTHER[side], vessel, now_s))
                self._wait_s = 150.0 + 150.0 * uniform(self._seed, 21, n) if vessel else 10.0
                self._enter(Phase.ENTRY, now_s)
        elif self.phase == Phase.ENTRY:
            self.vessel_present = self.lockages[-1].vessel and in_phase_s >= 0.4 * self._wait_s
            if in_phase_s >= self._wait_s:
                self.gates[side].target = 0.0
                self._enter(Phase.CLOSING, now_s)
        elif self.phase == Phase.CLOSING:
            if self.gates[side].closed:
                self.side = OTHER[side]
                self.sluices[self.side].target = 1.0
                self._enter(Phase.LEVELLING, now_s)
        elif self.phase == Phase.LEVELLING:
            if self.head_m(side) < EQUAL_M and not self.sluices[side].moving:
                self.sluices[side].target = 0.0
                self._enter(Phase.SHUTTING, now_s)
        elif self.phase == Phase.SHUTTING:
            if self.sluices[side].closed and self.head_m(side) < MOST_HEAD_M:
                self.gates[side].target = 1.0
                self._enter(Phase.OPENING, now_s)
        elif self.phase == Phase.OPENING:
            if not self.gates[side].moving:
                lockage = self.lockages[-1]
                lockage.volume_m3 = self.size.area_m2 * (self.reach_m[UP] - self.reach_m[DOWN])
                draw = uniform(self._seed, 22, len(self.lockages))
                self._wait_s = 120.0 + 120.0 * draw if lockage.vessel else 10.0
                self._enter(Phase.EXIT, now_s)
        elif in_phase_s >= self._wait_s:
            self.lockages[-1].end_s = now_s
            self._wait_s = 240.0 + 360.0 * uniform(self._seed, 23, len(self.lockages))
            self._enter(Phase.IDLE, now_s)
        else:
            self.vessel_present = self.lockages[-1].vessel and in_phase_s < 0.7 * self._wait_s

    def _enter(self, phase: Phase, now_s: float) -> None:
        self.phase, self._since_s = phase, now_s
        if phase != Phase.IDLE:
            self.lockages[-1].phases[phase.name.lower()] = now_s

    def values(self, t_ns: int) -> dict[str, Value]:
        """Everything the PLC shows, `t_ns` after the start."""
        self.advance(t_ns)
        second, in_phase_s = t_ns // NS, t_ns / NS - self._since_s
        expected = self.phase == Phase.IDLE and in_phase_s > self._wait_s - 45.0
        entry = GREEN if self.phase == Phase.ENTRY else RED_GREEN if expected else RED
        leaving = {Phase.EXIT: GREEN, Phase.OPENING: RED_GREEN}.get(self.phase, RED)
        boat = bool(self.lockages) and self.lockages[-1].vessel
        values: dict[str, Value] = {
            "heartbeat": second % 2**16,
            "mode": 1,
            "level_upstream_m": self._sensed_m(self.reach_m[UP], 0, second),
            "level_downstream_m": self._sensed_m(self.reach_m[DOWN], 1, second),
            "level_chamber_m": self._sensed_m(self.level_m, 2, second),
            "estop": 0,
            "vessel_present": self.vessel_present,
            "takeover_request": 0,
            "centre_link": 1,
            "mains": 1,
            "ups": 0,
            "interlock_word": self._interlocks(),
            "alarm_word": 0,
            "centre_heartbeat": (second + 7) % 2**16,
            "pump_power_w": 0,
            "energy_total_wh": self.size.energy_wh + int(self._energy_ws // 3600.0),
            "cycle_total": self.size.cycle_total + self.completed,
        }
        for side in (UP, DOWN):
            here = side == self.side
            values[f"gate_{side}_state"] = self.gates[side].state
            values[f"gate_{side}_position"] = self.gates[side].position
            values[f"sluice_{side}_state"] = self.sluices[side].state
            values[f"sluice_{side}_position"] = self.sluices[side].position
            values[f"light_{side}_in"] = entry if here and (boat or expected) else RED
            values[f"light_{side}_out"] = leaving if here and boat else RED
        return values

    def _sensed_m(self, level_m: float, channel: int, second: int) -> float:
        return level_m + self.size.noise_m * wobble(self._seed, channel, second)

    def _interlocks(self) -> int:
        """Bits: 0 upstream gate not closed, 1 downstream, 2 levels differ upstream, 3 downstream."""
        bits = (
            not self.gates[UP].closed,
            not self.gates[DOWN].closed,
            self.head_m(UP) > MOST_HEAD_M,
            self.head_m(DOWN) > MOST_HEAD_M,
        )
        return sum(bit << i for i, bit in enumerate(bits))
