"""Lockages: a vessel, or nobody, passes from one reach to the other. From gates, levels and presence."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
UNKNOWN = -1

PHASES = ("idle_up", "idle_down", "entry", "closing", "levelling", "opening", "exit", "unknown")
IDLE_UP, IDLE_DOWN, ENTRY, CLOSING, LEVELLING, OPENING, EXIT, NOT_KNOWN = range(8)
UP, DOWN = 1, -1  # heads; also the direction of a lockage

GATE_CLOSED, GATE_OPENING, GATE_OPEN, GATE_CLOSING, GATE_STOPPED = range(5)
AT_LEVEL_M = 0.10  # mitre gates open under less than this, and sensors are good to a few centimetres
MOVED_M = 0.20  # a smaller change of the chamber's level is no lockage
BLIND_NS = 60 * NS_PER_S  # a longer silence hides when things happened
REST_NS = 300 * NS_PER_S  # closed and still at its level for longer: the lock rests
SHUT = 0.01  # a sluice open by less leaks, it does not fill
FRESH_NS = 10 * NS_PER_S  # levels further apart than this are not weighed against each other
TOLD_LEVEL, TOLD_SLUICE, TOLD_VESSEL, TOLD_GATE = 1, 2, 4, 8  # bits of state["told"]: what the lock has shown
GONE_NS = 10 * NS_PER_S  # a presence sensor must be quiet this long before the vessel has left

OUT = np.dtype(
    [
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("direction", "i8"),
        ("vessel_seen", "i8"),
        ("entry_s", "f8"),
        ("closing_s", "f8"),
        ("levelling_s", "f8"),
        ("opening_s", "f8"),
        ("exit_s", "f8"),
        ("volume_m3", "f8"),
        ("head_m", "f8"),
        ("complete", "i8"),
    ]
)

STATE = np.dtype(
    [
        ("phase", "i8"),
        ("t_ns", "i8"),
        ("head", "i8"),  # where the chamber was last accessible: UP, DOWN, 0 unknown
        ("was_open", "i8"),  # that gate has been open since; else the chamber rests closed at its level
        ("to_head", "i8"),  # the gate that opens now
        ("gate_up", "i8"),
        ("gate_down", "i8"),
        ("vessel", "i8"),
        ("vessel_ns", "i8"),  # when one was last said to be there
        ("vessel_seen", "i8"),  # during this lockage
        ("blind", "i8"),  # rows were missing during it
        ("entry_ns", "i8"),  # when each phase of it began
        ("closing_ns", "i8"),
        ("levelling_ns", "i8"),
        ("opening_ns", "i8"),
        ("exit_ns", "i8"),
        ("first_level_m", "f8"),
        ("last_level_m", "f8"),
        ("head_m", "f8"),
        ("recent_m", "f8", 3),  # the chamber's last levels: one spike among them does no harm
        ("recent_ns", "i8"),
        ("told", "i8"),
    ]
)


def init() -> NDArray[Any]:
    """State of a lock of which nothing is known."""
    state = np.zeros(1, STATE)
    for name in ("t_ns", "gate_up", "gate_down", "vessel", "vessel_ns"):
        state[name] = UNKNOWN
    state["phase"] = NOT_KNOWN
    state["recent_m"] = math.nan
    _clear(state[0])
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    t_ns: int,
    gate_up_state: float,
    gate_down_state: float,
    sluice_up_position: float,
    sluice_down_position: float,
    level_up_m: float,
    level_chamber_m: float,
    level_down_m: float,
    vessel_present: float,
    chamber_area_m2: float,
    out: NDArray[Any],
) -> int:
    """Take one row of a lock; say when a lockage is over. `state["phase"]` indexes `PHASES`.

    A lockage begins with the vessel's entry, or without one when the gate starts to close. It is over when the
    vessel has left through the other gate, or without one when that gate is open. A gate that closes and opens
    again on the same head is no lockage. NaN is unknown: a gate keeps its last state. Which kinds of signals
    have been seen at all is in `state["told"]`; without levels there is no volume, without sluices a resting
    chamber is told by its level alone, without presence entry and exit are unknown. A lock without end switches
    is fed from its gates' positions (`dsp.lock_hydraulics.gate_state`).

    Args:
        state: From `init`. STATE[1]
        t_ns: Time of the row; one that does not go forward is ignored. [ns, UTC]
        gate_up_state, gate_down_state: 0 closed, 1 opening, 2 open, 3 closing, 4 stopped.
        sluice_up_position, sluice_down_position: 0 closed .. 1 open; tells a resting chamber from a levelling one.
        level_up_m, level_chamber_m, level_down_m: Above one datum. [m]
        vessel_present: 1 if a vessel is in the chamber.
        chamber_area_m2: Plan area; with the levels gives the volume. [m2]
        out: out[0] receives the lockage: durations and volume NaN where unknown, `vessel_seen` -1 where no
            sensor told, `complete` 1 when every phase was seen without a silence of over `BLIND_NS`. OUT[k]

    Returns: 1 when a lockage ended with this row, else 0.
    Source: six steps of a lockage, as in the project's domain notes, section D.4.
    """
    s = state[0]
    if t_ns <= s.t_ns:
        return 0
    if s.t_ns >= 0 and t_ns - s.t_ns > BLIND_NS:
        s.blind = 1
    if math.isfinite(gate_up_state):
        s.gate_up = int(gate_up_state)
    if math.isfinite(gate_down_state):
        s.gate_down = int(gate_down_state)
    if math.isfinite(vessel_present):
        s.vessel = 1 if vessel_present >= 0.5 else 0
    if s.vessel == 1:
        s.vessel_ns = t_ns
    _note(s, sluice_up_position, sluice_down_position, level_chamber_m, vessel_present)
    level_chamber_m = _median(s, t_ns, level_chamber_m)
    done: int = 0
    if s.gate_up >= 0 and s.gate_down >= 0:
        sluices_shut = not (sluice_up_position > SHUT or sluice_down_position > SHUT)
        for _ in range(len(PHASES)):  # after a silence one row may show several phases gone by
            before = s.phase
            if s.phase == NOT_KNOWN:
                _orient(s, t_ns, level_up_m, level_chamber_m, level_down_m, sluices_shut)
            elif s.phase == IDLE_UP or s.phase == IDLE_DOWN or s.phase == ENTRY:
                _wait_at_head(s, t_ns, level_chamber_m, sluices_shut)
            elif s.phase == CLOSING:
                _close(s, t_ns, level_chamber_m, abs(level_up_m - level_down_m))
            elif s.phase == LEVELLING:
                _level(s, t_ns, level_chamber_m, sluices_shut)
            elif s.phase == OPENING:
                done |= _open(s, t_ns, chamber_area_m2, out)
            elif s.phase == EXIT:
                done |= _leave(s, t_ns, chamber_area_m2, out)
            if s.phase == before:
                break
    s.t_ns = t_ns
    return done


@njit(cache=True, nogil=True)
def run(
    state: NDArray[Any],
    t_ns: NDArray[np.int64],
    gates: NDArray[np.float64],
    sluices: NDArray[np.float64],
    levels: NDArray[np.float64],
    vessel_present: NDArray[np.float64],
    chamber_area_m2: float,
    phases: NDArray[np.int8],
    out: NDArray[Any],
) -> int:
    """`step` over a whole recording; up to `len(out)` lockages are written, the rest only counted.

    Args: as for `step`, one row a scan: gates and sluices float64[n, 2] (up, down), levels float64[n, 3]
        (upstream, chamber, downstream); phases int8[n] receives the phase after each row.

    Returns: lockages in all.
    """
    n: int = 0
    one = out[:1].copy()
    for i in range(t_ns.shape[0]):
        if step(
            state, t_ns[i], gates[i, 0], gates[i, 1], sluices[i, 0], sluices[i, 1], levels[i, 0], levels[i, 1],
            levels[i, 2], vessel_present[i], chamber_area_m2, one,
        ):  # fmt: skip
            if n < out.shape[0]:
                out[n] = one[0]
            n += 1
        phases[i] = state[0].phase
    return n


@njit(cache=True, nogil=True)
def _gate(s: Any, head: int) -> int:
    return int(s.gate_up if head == UP else s.gate_down)


@njit(cache=True, nogil=True)
def _note(s: Any, sluice_up: float, sluice_down: float, level_m: float, vessel: float) -> None:
    """Remember which kinds of signals this lock has."""
    if math.isfinite(level_m):
        s.told |= TOLD_LEVEL
    if math.isfinite(sluice_up) and math.isfinite(sluice_down):
        s.told |= TOLD_SLUICE
    if math.isfinite(vessel):
        s.told |= TOLD_VESSEL
    if s.gate_up >= 0 and s.gate_down >= 0:
        s.told |= TOLD_GATE


@njit(cache=True, nogil=True)
def _median(s: Any, t_ns: int, level_m: float) -> float:
    """Median of the last three levels, where rows come close together."""
    if not math.isfinite(level_m):
        return math.nan
    a, b = s.recent_m[1], s.recent_m[2]
    if not math.isfinite(a) or t_ns - s.recent_ns > FRESH_NS:
        a = b = level_m
    s.recent_m[0], s.recent_m[1], s.recent_m[2] = a, b, level_m
    s.recent_ns = t_ns
    return float(max(min(a, b), min(max(a, b), level_m)))


@njit(cache=True, nogil=True)
def _clear(s: Any) -> None:
    """Forget the lockage that was."""
    s.entry_ns = s.closing_ns = s.levelling_ns = s.opening_ns = s.exit_ns = UNKNOWN
    s.vessel_seen = UNKNOWN
    s.blind = 0
    s.first_level_m = s.last_level_m = s.head_m = math.nan


@njit(cache=True, nogil=True)
def _rest(s: Any, head: int, was_open: int) -> None:
    """The chamber is accessible from, or at the level of, this head."""
    _clear(s)
    s.head = head
    s.was_open = was_open
    s.phase = IDLE_UP if head == UP else IDLE_DOWN


@njit(cache=True, nogil=True)
def _orient(s: Any, t_ns: int, up_m: float, chamber_m: float, down_m: float, sluices_shut: bool) -> None:
    """Find out where the lock stands when nothing is known yet."""
    up_shut, down_shut = s.gate_up == GATE_CLOSED, s.gate_down == GATE_CLOSED
    if up_shut != down_shut:
        _rest(s, DOWN if up_shut else UP, 0)
        s.was_open = 1 if _gate(s, s.head) != GATE_OPENING else 0
    elif up_shut:
        if sluices_shut and abs(chamber_m - up_m) <= AT_LEVEL_M:
            _rest(s, UP, 0)
        elif sluices_shut and abs(chamber_m - down_m) <= AT_LEVEL_M:
            _rest(s, DOWN, 0)
        else:  # in the middle of one: it will come out as incomplete
            _clear(s)
            s.head, s.phase, s.blind = 0, LEVELLING, 1
            s.levelling_ns, s.first_level_m = t_ns, chamber_m
            s.head_m = abs(up_m - down_m)


@njit(cache=True, nogil=True)
def _wait_at_head(s: Any, t_ns: int, chamber_m: float, sluices_shut: bool) -> None:
    gate = _gate(s, s.head)
    if gate == GATE_CLOSED and _gate(s, -s.head) != GATE_CLOSED:  # all of it went by unseen
        s.blind = 1
        s.last_level_m = chamber_m
        s.to_head, s.phase, s.opening_ns = -s.head, OPENING, t_ns
    elif gate == GATE_OPEN:
        s.was_open, s.first_level_m = 1, chamber_m
        if s.phase != ENTRY:
            s.blind = 0
            if s.vessel == 1:
                s.phase, s.entry_ns = ENTRY, t_ns
        elif s.vessel != 1 and t_ns - s.vessel_ns >= GONE_NS:
            _rest(s, s.head, 1)  # it turned back
    elif s.was_open != 0:
        s.phase, s.closing_ns = CLOSING, t_ns
    elif gate == GATE_CLOSED and not (sluices_shut and abs(chamber_m - s.first_level_m) < MOVED_M):
        if math.isnan(s.first_level_m) and sluices_shut:
            s.first_level_m = chamber_m
        else:  # the water leaves a chamber that had rested closed
            s.phase, s.levelling_ns = LEVELLING, t_ns


@njit(cache=True, nogil=True)
def _close(s: Any, t_ns: int, chamber_m: float, head_m: float) -> None:
    gate = _gate(s, s.head)
    if gate == GATE_OPEN:
        s.closing_ns = UNKNOWN
        s.phase = ENTRY if s.entry_ns >= 0 else (IDLE_UP if s.head == UP else IDLE_DOWN)
    elif gate == GATE_CLOSED:
        s.phase, s.levelling_ns = LEVELLING, t_ns
        s.head_m = head_m
        if math.isnan(s.first_level_m):  # else it is that of the open gate: this row's may have moved
            s.first_level_m = chamber_m
        _look(s)


@njit(cache=True, nogil=True)
def _level(s: Any, t_ns: int, chamber_m: float, sluices_shut: bool) -> None:
    _look(s)
    moved = abs(chamber_m - s.first_level_m) >= MOVED_M
    if math.isfinite(chamber_m):
        s.last_level_m = chamber_m
    for head in (UP, DOWN):
        if _gate(s, head) != GATE_CLOSED:
            if head == s.head and not moved:
                _rest(s, head, 0)
            else:
                s.to_head, s.phase, s.opening_ns = head, OPENING, t_ns
            return
    if sluices_shut and not moved and s.vessel != 1 and t_ns - s.levelling_ns > REST_NS and s.head != 0:
        _rest(s, s.head, 0)  # closed for the night


@njit(cache=True, nogil=True)
def _open(s: Any, t_ns: int, area_m2: float, out: NDArray[Any]) -> int:
    _look(s)
    done: int = 0
    gate = _gate(s, s.to_head)
    if gate == GATE_CLOSED:
        s.phase, s.opening_ns = LEVELLING, UNKNOWN
        if s.levelling_ns < 0:
            s.levelling_ns = t_ns
    elif gate == GATE_OPEN:
        s.exit_ns = t_ns
        if s.vessel == 1:
            s.phase = EXIT
        else:
            done = _finish(s, t_ns, area_m2, out)
    return done


@njit(cache=True, nogil=True)
def _leave(s: Any, t_ns: int, area_m2: float, out: NDArray[Any]) -> int:
    done: int = 0
    if s.vessel != 1 and t_ns - s.vessel_ns >= GONE_NS:
        done = _finish(s, s.vessel_ns, area_m2, out)
    elif _gate(s, s.to_head) != GATE_OPEN:
        done = _finish(s, t_ns, area_m2, out)
    return done


@njit(cache=True, nogil=True)
def _look(s: Any) -> None:
    s.vessel_seen = max(s.vessel_seen, s.vessel)


@njit(cache=True, nogil=True)
def _finish(s: Any, end_ns: int, area_m2: float, out: NDArray[Any]) -> int:
    """Write the lockage, unless the chamber came back to where it was."""
    _look(s)
    rise_m = s.last_level_m - s.first_level_m
    direction = 0
    if s.head != 0:
        direction = s.to_head if s.to_head != s.head else 0
    elif abs(rise_m) >= MOVED_M:
        direction = UP if rise_m > 0.0 else DOWN
    if direction != 0:
        o = out[0]
        o.direction = direction
        o.vessel_seen = s.vessel_seen
        o.end_ns = end_ns
        o.start_ns = end_ns
        for start_ns in (s.opening_ns, s.levelling_ns, s.closing_ns, s.entry_ns):
            if start_ns >= 0:
                o.start_ns = start_ns
        o.entry_s = _seconds(s.entry_ns, s.closing_ns)
        o.closing_s = _seconds(s.closing_ns, s.levelling_ns)
        o.levelling_s = _seconds(s.levelling_ns, s.opening_ns)
        o.opening_s = _seconds(s.opening_ns, s.exit_ns)
        o.exit_s = _seconds(s.exit_ns, end_ns) if s.vessel_seen == 1 else math.nan
        o.volume_m3 = area_m2 * abs(rise_m)
        o.head_m = s.head_m
        o.complete = 1 if s.blind == 0 and s.head != 0 else 0
    _rest(s, s.to_head, 1)
    return 1 if direction != 0 else 0


@njit(cache=True, nogil=True)
def _seconds(from_ns: int, to_ns: int) -> float:
    return (to_ns - from_ns) / NS_PER_S if from_ns >= 0 and to_ns >= 0 else math.nan
