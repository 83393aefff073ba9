"""The charging tower: it goes through the states of a call around the charges found in a recording.

The current is the recording's. What the tower adds is everything around it: when it docks and mates, what
its converter loses, what its counters show.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from math import exp

import numpy as np
from numpy.typing import NDArray

from firmware_sim.encode import Value
from firmware_sim.plant.meter import PowerIntegral
from firmware_sim.plant.replay import Charge, Floats

NS = 1_000_000_000


class State(IntEnum):
    """Codes of the canonical state machine of an automatic charging tower."""

    IDLE = 0
    APPROACH = 1
    DOCKED = 2
    CONNECTING = 3
    HANDSHAKE = 4
    PRECHARGE = 5
    RAMP_UP = 6
    CC = 7
    CV = 8
    RAMP_DOWN = 9
    DISCONNECTING = 10
    COMPLETED = 11
    PAUSED = 90
    ESTOP = 98
    FAULT = 99


# Typical times of the steps before power flows and after it stopped. [s]
BEFORE = {
    State.APPROACH: 180, State.DOCKED: 25, State.CONNECTING: 38, State.HANDSHAKE: 14, State.PRECHARGE: 8,
}  # fmt: skip
AFTER = {State.RAMP_DOWN: 3, State.DISCONNECTING: 40, State.COMPLETED: 90}
MATED = frozenset(range(State.HANDSHAKE, State.DISCONNECTING)) | {State.PAUSED}
_DOCK_TO_POWER_S = sum(BEFORE.values()) - BEFORE[State.APPROACH]
_TURNAROUND_S = AFTER[State.RAMP_DOWN] + AFTER[State.DISCONNECTING] + _DOCK_TO_POWER_S + 4
_FLOWS, _REST_S = 0.002, 10  # of the largest current; a shorter rest is not worth a change of state
MOVING = (State.CONNECTING, State.DISCONNECTING)


@dataclass(frozen=True)
class ChargerSize:
    """Ratings of the tower. Losses are a fraction of the rating, of the power, and of its square."""

    limit_w: float = 7_500_000.0
    standby_w: float = 3_500.0  # heating, lighting, control
    moving_w: float = 18_000.0  # hydraulics of the arm
    no_load: float = 0.0016
    linear_loss: float = 0.021
    square_loss: float = 0.009
    cable_drop_v: float = 6.0  # at the largest current of the recording
    ambient_c: float = 12.0
    power_factor_tan: float = 0.16  # reactive per active power, converter included


@dataclass(frozen=True)
class Call:
    """When a call begins and ends, in seconds from the start of the replay.

    Attributes:
        approach_s: The tower leaves IDLE.
        mated_s, unmated_s: Plug in, plug out.
        power_s, stop_s: First second and last second with current.
        idle_s: The tower is back in IDLE.
    """

    approach_s: int
    mated_s: int
    power_s: int
    stop_s: int
    unmated_s: int
    idle_s: int


class Charger:
    """The tower beside one pack.

    Args:
        voltage_v, current_a: Of the pack at each whole second, positive when charging. float64[n]
        charges: When it is charged from shore; the rest is the ship's own business.
        vessel: The text that the ship's transponder gives.
    """

    def __init__(
        self, size: ChargerSize, voltage_v: Floats, current_a: Floats, charges: Sequence[Charge], vessel: str
    ) -> None:
        self._vessel = vessel
        n = len(current_a)
        ashore = np.zeros(n, dtype=bool)
        for charge in charges:
            ashore[charge.first_s : charge.last_s + 1] = True
        # The recording may end while charging; then the breaker opens within a second.
        self.battery_a = np.append(np.where(ashore, np.maximum(current_a, 0.0), 0.0), 0.0)
        self.voltage_v = np.append(voltage_v, voltage_v[-1])
        self.cable_ohm = size.cable_drop_v / max(1.0, float(self.battery_a.max()))
        plug_w = self.battery_a * self.voltage_v + self.cable_ohm * self.battery_a**2
        # A recording of a faster charge gets a larger tower, not one that breaks its own limit.
        need_w = float(plug_w.max()) * (1.0 + size.no_load + size.linear_loss + size.square_loss)
        size = replace(size, limit_w=max(size.limit_w, -(-need_w // 500_000) * 500_000))
        self._size = size
        self._plug = PowerIntegral(_whole(plug_w))
        self.calls, self._changes = _timeline(_runs(charges, self.battery_a), plug_w, self.battery_a)
        self._change_s = [second for second, _ in self._changes]
        state = np.zeros(n + 1, dtype=np.int64)
        for second, code in self._changes:
            state[second:] = code
        self.loss_w = np.where(
            (state >= State.PRECHARGE) & (state <= State.RAMP_DOWN),
            size.no_load * size.limit_w + size.linear_loss * plug_w + size.square_loss * plug_w**2 / size.limit_w,
            0.0,
        )
        self.own_w = size.standby_w + np.where(np.isin(state, MOVING), size.moving_w, 0.0)
        self.plug_w = plug_w
        self._plug_temp_c = _warmed(plug_w / size.limit_w, size.ambient_c)
        self._setpoints_w = [self._setpoint_w(call) for call in self.calls]
        self._call_starts = [call.mated_s for call in self.calls]

    @property
    def grid_w(self) -> NDArray[np.int64]:
        """What the tower draws from the grid at each whole second. [W]"""
        return _whole(self.plug_w + self.loss_w + self.own_w)

    @property
    def reactive_var(self) -> NDArray[np.int64]:
        return _whole(self._size.power_factor_tan * (self.plug_w + self.loss_w) + 1200.0)

    def state(self, t_ns: int) -> State:
        """Of the tower, `t_ns` after the start."""
        i = bisect_right(self._change_s, t_ns / NS) - 1
        return self._changes[i][1] if i >= 0 else State.IDLE

    def mated(self, t_ns: int) -> bool:
        return self.state(t_ns) in MATED

    def power_w(self, t_ns: int) -> float:
        """At the plug, toward the ship. [W]"""
        return self._plug.power_w(t_ns)

    def values(self, t_ns: int) -> dict[str, Value]:
        """Everything the tower shows, `t_ns` after the start."""
        second, state = t_ns // NS, self.state(t_ns)
        k = min(max(second, 0), len(self.voltage_v) - 1)
        power_w, mated = self.power_w(t_ns), state in MATED
        voltage_v = float(self.voltage_v[k] + self.cable_ohm * self.battery_a[k]) if mated else 0.0
        return {
            "state": int(state),
            "heartbeat": second % 2**16,
            "mated": mated,
            "alarm_word": 0,
            "power_w": power_w,
            "voltage_v": voltage_v,
            "current_a": power_w / voltage_v if voltage_v > 0.0 else 0.0,
            "setpoint_w": self._setpoints_w[self._call_at(t_ns)] if State.RAMP_UP <= state <= State.CV else 0,
            "limit_w": self._size.limit_w,
            "plug_temp_c": float(self._plug_temp_c[k]),
            "insulation_ohm": 1_800_000.0 if mated else None,
            "session_energy_wh": self._session_wh(t_ns),
            "energy_total_wh": 912_440_118 + self._plug.energy_wh(t_ns),
            "vessel": "" if state == State.IDLE else self._vessel,
        }

    def _call_at(self, t_ns: int) -> int:
        """Number of the call whose plug went in last; -1 before the first."""
        return bisect_right(self._call_starts, t_ns / NS) - 1

    def _setpoint_w(self, call: Call) -> float:
        """The largest power of the call, to the next 50 kW."""
        peak_w = float(self.plug_w[call.power_s : call.stop_s + 1].max())
        return min(self._size.limit_w, -(-peak_w // 50_000) * 50_000)

    def _session_wh(self, t_ns: int) -> int:
        """Since the plug went in last; it stays until the next call."""
        i = self._call_at(t_ns)
        if i < 0:
            return 0
        return self._plug.energy_wh(t_ns) - self._plug.energy_wh(self.calls[i].mated_s * NS)


def _whole(power_w: Floats) -> NDArray[np.int64]:
    rounded: NDArray[np.int64] = np.rint(power_w).astype(np.int64)
    return rounded


def _runs(charges: Sequence[Charge], current_a: Floats) -> list[list[Charge]]:
    """Per call, the stretches in which current flows; between them the tower pauses with the plug in.

    A rest parts stretches. Two charges that are too close for a ship to leave and come back are one call.
    """
    least_a = _FLOWS * float(current_a.max(initial=0.0))
    calls: list[list[Charge]] = []
    for charge in charges:
        flowing = np.flatnonzero(current_a[charge.first_s : charge.last_s + 1] > least_a) + charge.first_s
        if not flowing.size:
            continue
        parts = np.split(flowing, np.flatnonzero(np.diff(flowing) > _REST_S) + 1)
        runs = [Charge(int(part[0]), int(part[-1])) for part in parts]
        if calls and runs[0].first_s - calls[-1][-1].last_s < _TURNAROUND_S:
            calls[-1] += runs
        else:
            calls.append(runs)
    return calls


def _timeline(
    runs: Sequence[Sequence[Charge]], plug_w: Floats, current_a: Floats
) -> tuple[list[Call], list[tuple[int, State]]]:
    """Calls, and the seconds at which the state changes, ascending. Where time is short, steps shrink."""
    calls: list[Call] = []
    steps: list[tuple[int, State]] = []
    free_s = 0  # before this the tower still serves the last ship
    for i, parts in enumerate(runs):
        first = len(steps)
        begin_s = max(0, parts[0].first_s - 1) - sum(BEFORE.values())
        for state, length_s in BEFORE.items():
            if begin_s + length_s > free_s:
                steps.append((max(begin_s, free_s), state))
            begin_s += length_s
        for part in parts:
            held_s, falling_s = _constant_current_ends(part, current_a)
            steps += [
                (max(0, part.first_s - 1), State.RAMP_UP),  # where the straight line to its current starts
                (_ramp_ends(part, plug_w), State.CC),
                (held_s, State.CV),
                (falling_s, State.RAMP_DOWN),
                (part.last_s + 1 + AFTER[State.RAMP_DOWN], State.PAUSED),
            ]
        unmated_s, _ = steps.pop()  # nothing follows the last pause
        parked_s = unmated_s + AFTER[State.DISCONNECTING]
        free_s = parked_s + AFTER[State.COMPLETED]
        if i + 1 < len(runs):  # a ship that stays and charges again: the next call needs its time
            free_s = max(parked_s + 1, min(free_s, runs[i + 1][0].first_s - _DOCK_TO_POWER_S - 1))
        steps += [
            (unmated_s, State.DISCONNECTING),
            (parked_s, State.COMPLETED),
            (free_s, State.IDLE),
        ]
        mated_s = next(second for second, state in steps[first:] if state in MATED)
        calls.append(Call(steps[first][0], mated_s, parts[0].first_s, parts[-1].last_s, unmated_s, free_s))
    changes: list[tuple[int, State]] = []
    for second, state in steps:
        if changes and changes[-1][0] >= second:
            changes[-1] = (changes[-1][0], state)  # a step without length is not entered
        else:
            changes.append((second, state))
    return calls, changes


def _ramp_ends(charge: Charge, plug_w: Floats) -> int:
    """When 95 % of the power of the first ten minutes is reached; 5 s after the start at the earliest."""
    early = plug_w[charge.first_s : min(charge.last_s, charge.first_s + 600) + 1]
    reached = int(np.argmax(early >= 0.95 * np.percentile(early, 75)))
    return min(charge.first_s + max(5, reached), charge.last_s)


def _constant_current_ends(charge: Charge, current_a: Floats) -> tuple[int, int]:
    """When the current leaves its plateau for good, and when it is taken down at the end."""
    part = current_a[charge.first_s : charge.last_s + 1]
    tail = part[-90:-30] if len(part) > 180 else part
    steady = np.flatnonzero(part >= 0.95 * float(np.median(tail)))
    falling_s = charge.first_s + int(steady[-1]) + 1
    plateau = np.flatnonzero(part >= 0.97 * float(np.percentile(part, 75)))
    held_s = charge.first_s + int(plateau[-1]) + 1
    return min(held_s, falling_s), falling_s


def _warmed(load: Floats, ambient_c: float) -> Floats:
    """Temperature of the plug: 38 K above ambient at its rating, with a time constant of 8 minutes. [°C]"""
    keep = exp(-1.0 / 480.0)
    temp_c = np.empty(len(load))
    warm_k = 0.0
    for i, target_k in enumerate((38.0 * load**2).tolist()):
        warm_k = target_k + (warm_k - target_k) * keep
        temp_c[i] = ambient_c + warm_k
    return temp_c
