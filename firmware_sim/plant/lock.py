"""A lock: its dimensions, its presets, and the PLC that takes boats through. The ticks are in `lock_kernel.py`.

The plant steps at a fixed tick, as its PLC does, so what it does is independent of when it is asked. The
water is exact at any tick: with sluices that open linearly, the root of the head falls by the opening's
integral, which is known in closed form.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

import numpy as np

from firmware_sim.encode import Value
from firmware_sim.faults import NO_FAULTS, FaultBoard, FaultView
from firmware_sim.plant import lock_kernel as lk
from firmware_sim.plant.lock_kernel import EQUAL_M, GRAVITY, MOST_HEAD_M
from firmware_sim.plant.noise import uniform, wobble
from firmware_sim.plant.pack import Floats

__all__ = ["DOWN", "EQUAL_M", "MID", "MOST_HEAD_M", "PRESETS", "UP", "Lock", "LockSize", "Lockage", "Phase"]

NS = 1_000_000_000
DAY_S = 86_400
UP, DOWN, MID = "up", "down", "mid"
HEADS = (UP, DOWN, MID)
OTHER = {UP: DOWN, DOWN: UP}
RED, RED_GREEN, GREEN = 0, 1, 2
LOCAL, REMOTE, MAINTENANCE = 0, 1, 2
TRACE = 9  # columns: level, phase, then gate and sluice of each head, and whether the short part is in use
_MOMENTS = {"estop": lk.X_ESTOP, "outage": lk.X_OUTAGE, "mode": lk.X_MODE, "gate-stuck": lk.X_STUCK}
_TICKS_AT_ONCE = 4 * 3600 * 24


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

    Attributes:
        gates: "mitre" or "lift"; a lift gate takes longer and a larger drive.
        sluices: "culvert" or "gate": where the water goes through.
        gate_m2: What a fully open gate lets through, when it opens against a head.
        leak_up_m2, leak_down_m2: What never closes.
        short_m: Length up to an intermediate gate; None if there is none.
        pump_w, pump_m3_s: Pumps that bring back what was released, once it is `pump_on_m3`.
        boats: Of a day: second of the day, direction, length. Empty: boats come by chance.
        open_from_s, open_to_s: Opening hours, in seconds of the day (UTC).
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
    gates: str = "mitre"
    sluices: str = "culvert"
    gate_m2: float = 40.0
    gate_w: float = 11_000.0
    sluice_w: float = 5_500.0
    leak_up_m2: float = 0.0
    leak_down_m2: float = 0.0
    short_m: float | None = None
    pump_w: float = 0.0
    pump_m3_s: float = 0.0
    pump_on_m3: float = 5_000.0
    boats: tuple[tuple[int, str, float], ...] = ()
    open_from_s: float = 0.0
    open_to_s: float = float(DAY_S)

    @property
    def area_m2(self) -> float:
        return self.length_m * self.width_m

    def parameters(self, tick_s: float, midnight_s: int) -> Floats:
        p = np.zeros(lk.LOCK_PARAMS)
        p[lk.TICK_S], p[lk.AREA] = tick_s, self.area_m2
        p[lk.SHORT_AREA] = (self.short_m or self.length_m) * self.width_m
        p[lk.REACH_UP], p[lk.REACH_DOWN] = self.upstream_m, self.downstream_m
        p[lk.SLUICE_M2], p[lk.DISCHARGE] = self.sluice_m2, self.discharge
        p[lk.GATE_S], p[lk.OPEN_S], p[lk.CLOSE_S] = self.gate_drive_s, self.sluice_open_s, self.sluice_close_s
        p[lk.GATE_M2], p[lk.LEAK_UP], p[lk.LEAK_DOWN] = self.gate_m2, self.leak_up_m2, self.leak_down_m2
        p[lk.EMPTY_SHARE], p[lk.HAS_MID], p[lk.LISTED] = (
            self.empty_share,
            self.short_m is not None,
            bool(self.boats),
        )
        p[lk.PUMP_W], p[lk.PUMP_M3_S], p[lk.PUMP_ON_M3] = self.pump_w, self.pump_m3_s, self.pump_on_m3
        p[lk.STEADY_W], p[lk.BOAT_W], p[lk.GATE_W], p[lk.SLUICE_W] = 900.0, 1400.0, self.gate_w, self.sluice_w
        p[lk.OPEN_FROM_S], p[lk.OPEN_TO_S], p[lk.MIDNIGHT_S] = self.open_from_s, self.open_to_s, midnight_s
        return p


def pump_power_w(m3_s: float, head_m: float, efficiency: float = 0.7) -> float:
    """Power that lifts a flow of water. [W]"""
    return lk.WATER * GRAVITY * m3_s * head_m / efficiency


# By fall, with dimensions as published for locks of that kind (domain D.2); sluices sized for the usual times.
PRESETS: Mapping[str, LockSize] = {
    "fall-4.0": LockSize(  # mitre gates, three sluices in each leaf
        upstream_m=8.40, downstream_m=4.40, sluice_m2=4.2, sluices="gate", gate_drive_s=75.0, leak_down_m2=0.002
    ),
    "fall-4.9": LockSize(leak_up_m2=0.002, leak_down_m2=0.003),  # culverts, lifting valves
    "fall-13.13": LockSize(  # under-floor culverts, lift gate below
        upstream_m=31.43, downstream_m=18.30, sluice_m2=8.5, sluice_open_s=240.0, gates="lift", gate_drive_s=110.0,
        gate_w=45_000.0, leak_up_m2=0.003, leak_down_m2=0.005,
        pump_w=pump_power_w(8.0, 13.13), pump_m3_s=8.0, pump_on_m3=20_000.0,
    ),
}  # fmt: skip


@dataclass
class Lockage:
    """One passage. Times in seconds from the start; `phases` is the start of each."""

    direction: str  # up or down: which way the boat goes
    vessel: bool
    start_s: float
    end_s: float | None = None
    volume_m3: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LockMoment:
    """Something done from outside: kind is "estop", "outage", "mode" (value: the mode) or "gate-stuck"."""

    kind: str
    start_s: float
    end_s: float = inf
    value: float = 0.0


class DriveView:
    """A gate or a set of sluices as its end switches show it: 0 closed, 1 open."""

    def __init__(self, state: Floats, at: int) -> None:
        self._state, self._at = state, at

    @property
    def position(self) -> float:
        return float(self._state[self._at])

    @property
    def moving(self) -> bool:
        return self.position != float(self._state[self._at + 1]) and self._state[lk.HALTED] == 0.0

    @property
    def closed(self) -> bool:
        return self.position == 0.0 and not self.moving

    @property
    def state(self) -> int:
        """0 closed, 1 opening, 2 open, 3 closing, 4 stopped on the way."""
        if self.moving:
            return 1 if self._state[self._at + 1] > self.position else 3
        return {0.0: 0, 1.0: 2}.get(self.position, 4)


class Lock:
    """The lock. `advance` it to a time, then read it; it does not go back.

    It starts at the upper level with the upstream gate open, waiting for a boat that goes down. Faults on its
    device (`board`) act from the tick at which they begin to the one at which they end.
    """

    def __init__(
        self,
        size: LockSize,
        seed: int,
        tick_ns: int = NS // 4,
        midnight_s: int = 0,
        moments: Sequence[LockMoment] = (),
    ) -> None:
        self.size = size
        self.moments = list(moments)
        self.board, self.device = FaultBoard(), ""
        self._seed, self._tick_ns, self._midnight_s = seed, tick_ns, midnight_s
        self._parameters = size.parameters(tick_ns / NS, midnight_s)
        s = self._state = np.zeros(lk.LOCK_STATE)
        s[lk.LEVEL], s[lk.WAIT_S] = size.upstream_m, size.first_vessel_s
        s[lk.GATE] = s[lk.GATE_TO] = 1.0
        if size.short_m is not None:  # in the middle of the chamber it stands open
            s[2 * lk.PER_HEAD + lk.GATE] = s[2 * lk.PER_HEAD + lk.GATE_TO] = 1.0
        self._orders = np.zeros(lk.X_ORDERS)
        self._draws = np.zeros((0, 4))
        self._log = np.zeros((0, lk.D_LOG))
        self._boats = np.full((1, 3), inf)
        self._days = 0
        self.heads = HEADS if size.short_m is not None else HEADS[:2]
        self.gates = {name: DriveView(s, lk.PER_HEAD * i + lk.GATE) for i, name in enumerate(self.heads)}
        self.sluices = {name: DriveView(s, lk.PER_HEAD * i + lk.SLUICE) for i, name in enumerate(self.heads)}
        self.reach_m = {UP: size.upstream_m, DOWN: size.downstream_m, MID: size.downstream_m}
        self._provide(0)
        lk.run(self._parameters, s, self._orders, self._draws, self._boats, self._log, 0, np.zeros((1, TRACE)), 0)

    # What it is now.

    @property
    def level_m(self) -> float:
        """Of the chamber."""
        return float(self._state[lk.LEVEL])

    @property
    def drawn_m3(self) -> float:
        """From the upper reach."""
        return float(self._state[lk.DRAWN])

    @property
    def released_m3(self) -> float:
        """To the lower reach."""
        return float(self._state[lk.RELEASED])

    @property
    def pumped_m3(self) -> float:
        """Back to the upper reach."""
        return float(self._state[lk.PUMPED])

    @property
    def completed(self) -> int:
        """Lockages that are over."""
        return int(self._state[lk.DONE])

    @property
    def vessel_present(self) -> bool:
        return bool(self._state[lk.PRESENT])

    @property
    def phase(self) -> Phase:
        return Phase(int(self._state[lk.PHASE]))

    @property
    def side(self) -> str:
        """The head at which the chamber lies, or which it is brought to."""
        return UP if self._state[lk.SIDE] == lk.UP else self.low

    @property
    def low(self) -> str:
        """The lower head in use."""
        return MID if self._state[lk.SHORT] > 0.0 else DOWN

    @property
    def area_m2(self) -> float:
        """Of the part of the chamber that is in use."""
        return float(self._parameters[lk.SHORT_AREA if self.low == MID else lk.AREA])

    @property
    def lockages(self) -> list[Lockage]:
        names = [phase.name.lower() for phase in Phase][1:]
        found = []
        for row in self._log[: int(self._state[lk.COUNT])].tolist():
            phases = row[lk.D_ENTRY : lk.D_ENTRY + 6]
            found.append(
                Lockage(
                    UP if row[lk.D_UP] > 0.0 else DOWN, row[lk.D_VESSEL] > 0.0, row[lk.D_START],
                    row[lk.D_END] or None, row[lk.D_VOLUME],
                    {name: start for name, start in zip(names, phases, strict=True) if start > 0.0},
                )
            )  # fmt: skip
        return found

    def head_m(self, side: str) -> float:
        """Difference of level across a head, never negative here. [m]"""
        return abs(self.reach_m[side] - self.level_m)

    # Time.

    def advance(self, t_ns: int, trace: Floats | None = None, every_s: int = 0) -> None:
        """Step up to the last tick at or before `t_ns`.

        Args:
            trace: Filled with a row every `every_s` seconds, from the present on. float64[n, 9]
        """
        end = t_ns // self._tick_ns
        every = every_s * NS // self._tick_ns
        rows = 0
        nothing = np.zeros((1, TRACE))
        while (now := int(self._state[lk.TICKS])) < end:
            stop = min(end, self._change_after(now), now + _TICKS_AT_ONCE)
            if every and stop < end:
                stop = max(now + every, stop // every * every)  # a fault then acts from a whole row on
                stop = min(stop, end)
            self._orders_at(now)
            self._provide(stop)
            part = nothing if trace is None else trace[rows:]
            lk.run(
                self._parameters, self._state, self._orders, self._draws, self._boats, self._log,
                stop - now, part, every,
            )  # fmt: skip
            rows += (stop - now) // every if every else 0

    def _change_after(self, tick: int) -> int:
        """The next tick at which something begins or ends."""
        edges: list[float] = []
        for fault in self.board.all(self.device):
            edges += [fault.since_ns, inf if fault.until_ns is None else fault.until_ns]
        for moment in self.moments:
            edges += [moment.start_s * NS, moment.end_s * NS]
        ticks = sorted(-(-int(edge) // self._tick_ns) for edge in edges if edge < inf)
        at = bisect_right(ticks, tick)
        return ticks[at] if at < len(ticks) else 2**62

    def _orders_at(self, tick: int) -> None:
        """What acts on the ticks that follow."""
        x, t_ns = self._orders, tick * self._tick_ns
        x[:] = 0.0
        x[lk.X_MODE] = REMOTE
        for moment in self.moments:
            if moment.start_s * NS <= t_ns < moment.end_s * NS:
                x[_MOMENTS[moment.kind]] = moment.value if moment.kind == "mode" else 1.0
        faults = self.board.at(self.device, t_ns)
        for name, at, head in (
            ("lock-opposite-sluice-open", lk.X_OPPOSITE, lk.X_OPPOSITE_HEAD),
            ("lock-sluice-open-while-gate-closes", lk.X_CLOSES, lk.X_CLOSES_HEAD),
            ("lock-gate-opens-under-head", lk.X_UNDER, lk.X_UNDER_HEAD),
        ):
            if (fault := faults.get(name)) is not None:
                x[at], x[head] = 1.0, {"up": 0.0, "down": 1.0}.get(fault.text("head"), -1.0)
        if faults.get("lock-opposite-gates-open") is not None:
            x[lk.X_BOTH] = 1.0
        if faults.get("lock-opposite-sluices-open") is not None:
            x[lk.X_SLUICES] = 1.0
        if (fault := faults.get("lock-level-moves-all-closed")) is not None:
            x[lk.X_MOVES] = fault.number("rate_m_per_s")
        if faults.get("lock-level-still-sluice-open") is not None:
            x[lk.X_STILL] = 1.0

    def _provide(self, tick: int) -> None:
        """Draws, log rows and boats enough to get to a tick; a lockage takes two minutes at the least."""
        need = int(self._state[lk.COUNT]) + int((tick - self._state[lk.TICKS]) * self._tick_ns / NS / 120) + 8
        have = len(self._draws)
        if need > have:
            more = [[uniform(self._seed, 20 + c, n) for c in range(4)] for n in range(have, 2 * need)]
            self._draws = np.concatenate([self._draws, np.array(more)])
            self._log = np.concatenate([self._log, np.zeros((2 * need - have, lk.D_LOG))])
        days = int((tick * self._tick_ns / NS + self._midnight_s) // DAY_S) + 2
        if self.size.boats and days > self._days:
            rows = [
                (day * DAY_S - self._midnight_s + second, float(way == UP), float(_fits(self.size, length_m)))
                for day in range(days)
                for second, way, length_m in self.size.boats
            ]
            ahead = sorted(row for row in rows if row[0] >= 0.0)
            self._boats = np.array([*ahead, (inf, 0.0, 0.0)])
            self._days = days

    # What its PLC shows.

    def mode(self, t_ns: int, faults: FaultView = NO_FAULTS) -> int:
        shown = int(self._orders[lk.X_MODE]) if self._state[lk.TICKS] > 0 else REMOTE
        fault = faults.get("lock-mode-change-in-cycle")
        return int(fault.number("mode")) if fault is not None and self.phase != Phase.IDLE else shown

    def values(self, t_ns: int) -> dict[str, Value]:
        """Everything the PLC shows, `t_ns` after the start."""
        self.advance(t_ns)
        faults = self.board.at(self.device, t_ns)
        s, side = self._state, self.side
        second = t_ns // NS
        expected = self.phase == Phase.IDLE and s[lk.EXPECTED] > 0.0
        entry = GREEN if self.phase == Phase.ENTRY else RED_GREEN if expected else RED
        leaving = {Phase.EXIT: GREEN, Phase.OPENING: RED_GREEN}.get(self.phase, RED)
        count = int(s[lk.COUNT])
        boat = count > 0 and self._log[count - 1, lk.D_VESSEL] > 0.0
        estop, outage = self._orders[lk.X_ESTOP] > 0.0, self._orders[lk.X_OUTAGE] > 0.0
        mode = self.mode(t_ns, faults)
        values: dict[str, Value] = {
            "heartbeat": second % 2**16,
            "mode": mode,
            "level_upstream_m": self._sensed_m(self.reach_m[UP], 0, second),
            "level_downstream_m": self._sensed_m(self.reach_m[DOWN], 1, second),
            "level_chamber_m": self._sensed_m(self.level_m, 2, second),
            "estop": int(estop),
            "vessel_present": self.vessel_present,
            "takeover_request": int(s[lk.ALARM] != 0.0),
            "centre_link": 1,
            "mains": int(not outage),
            "ups": int(outage),
            "interlock_word": self._interlocks(),
            "alarm_word": int(s[lk.ALARM]),
            "centre_heartbeat": (second + 7) % 2**16,
            "pump_power_w": float(s[lk.PUMPING] * self._parameters[lk.PUMP_W]),
            "energy_total_wh": self.size.energy_wh + int(s[lk.ENERGY_WS] // 3600.0),
            "cycle_total": self.size.cycle_total + self.completed,
        }
        for name in self.heads:
            here = name == side and not estop
            values[f"gate_{name}_state"] = self.gates[name].state
            values[f"gate_{name}_position"] = self.gates[name].position
            values[f"sluice_{name}_state"] = self.sluices[name].state
            values[f"sluice_{name}_position"] = self.sluices[name].position
            values[f"light_{name}_in"] = entry if here and (boat or expected) else RED
            values[f"light_{name}_out"] = leaving if here and boat else RED
        if (fault := faults.get("lock-green-light-gate-closed")) is not None:
            for name in (UP, self.low):
                wanted = fault.text("head") in ("", UP if name == UP else DOWN)
                if wanted and self.gates[name].closed:
                    values[f"light_{name}_in"] = GREEN
        return values

    def _sensed_m(self, level_m: float, channel: int, second: int) -> float:
        return level_m + self.size.noise_m * wobble(self._seed, channel, second)

    def _interlocks(self) -> int:
        """Bits: 0 upstream gate not closed, 1 lower, 2 levels differ upstream, 3 at the lower head."""
        bits = (
            not self.gates[UP].closed,
            not self.gates[self.low].closed,
            self.head_m(UP) > MOST_HEAD_M,
            self.head_m(self.low) > MOST_HEAD_M,
        )
        return sum(bit << i for i, bit in enumerate(bits))


def _fits(size: LockSize, length_m: float) -> bool:
    """Whether a boat fits above the intermediate gate, with 2 m to spare."""
    return size.short_m is not None and length_m <= size.short_m - 2.0
