"""A lock, tick by tick: drives, water, and the sequence of its PLC. Compiled; see `lock.py` for what it is.

Rows are one-dimensional and indexed with the constants below, and `math` is all that is called, so that the
same text runs as plain Python on lists.
"""

from collections.abc import Sequence
from math import exp, sqrt

from numba import njit

from firmware_sim.plant.pack import Floats

UP, DOWN, MID = 0, 1, 2  # heads; MID is an intermediate gate, a second lower head for short boats
GRAVITY, WATER = 9.81, 1000.0
EQUAL_M, MOST_HEAD_M = 0.005, 0.05
IDLE, ENTRY, CLOSING, LEVELLING, SHUTTING, OPENING, EXIT = range(7)
# Parameters.
(
    TICK_S, AREA, SHORT_AREA, REACH_UP, REACH_DOWN, SLUICE_M2, DISCHARGE, GATE_S, OPEN_S, CLOSE_S, GATE_M2,
    LEAK_UP,
    LEAK_DOWN, EMPTY_SHARE, PUMP_W, PUMP_M3_S, PUMP_ON_M3, HAS_MID, LISTED, STEADY_W, BOAT_W, GATE_W, SLUICE_W,
    OPEN_FROM_S, OPEN_TO_S, MIDNIGHT_S, LOCK_PARAMS,
) = range(27)  # fmt: skip
# State. Four numbers a head: gate position and target, sluice position and target.
GATE, GATE_TO, SLUICE, SLUICE_TO, PER_HEAD = range(5)
(
    LEVEL, PHASE, SIDE, SINCE_S, WAIT_S, PRESENT, TICKS, ENERGY_WS, DRAWN, RELEASED, PUMPED, PUMPING, SHORT, COUNT,
    DONE, NEXT, ALARM, HALTED, EXPECTED, LEVEL_FLOW, LOCK_TAIL,
) = range(3 * PER_HEAD, 3 * PER_HEAD + 21)  # fmt: skip
LOCK_STATE = LOCK_TAIL
# A lockage, a row each. Times in s.
D_UP, D_VESSEL, D_START, D_END, D_VOLUME, D_ENTRY, D_SHORT, D_LOG = (
    0,
    1,
    2,
    3,
    4,
    5,
    12,
    13,
)  # six phases from ENTRY
# What is done to it from outside, one row for a stretch of ticks; a head of -1 is either.
(
    X_ESTOP, X_OUTAGE, X_MODE, X_STUCK, X_OPPOSITE, X_OPPOSITE_HEAD, X_CLOSES, X_CLOSES_HEAD, X_BOTH, X_UNDER,
    X_UNDER_HEAD, X_MOVES, X_STILL, X_SLUICES, X_ORDERS,
) = range(15)  # fmt: skip
TRACE_LEVEL, TRACE_PHASE, TRACE_SHORT = 0, 1, 8  # columns of the trace; from 2 on gate and sluice of each head
A_ESTOP, A_DRIVE, A_MAINS = 1, 2, 4  # bits of ALARM
MAINTENANCE = 2


@njit(cache=True, nogil=True)
def travel(s: Floats, at: int, open_s: float, close_s: float, step_s: float) -> float:
    """Move the drive at `at` (position, then target). Returns: integral of its position over the step. [s]"""
    before, target = s[at], s[at + 1]
    rate = 1.0 / (open_s if target > before else close_s)
    way = target - before
    if abs(way) <= rate * step_s:
        s[at] = target
        moving_s = abs(way) / rate
        return 0.5 * (before + target) * moving_s + target * (step_s - moving_s)
    s[at] += rate * step_s if way > 0 else -rate * step_s
    return 0.5 * (before + s[at]) * step_s


@njit(cache=True, nogil=True)
def closed(s: Floats, at: int) -> bool:
    return s[at] == 0.0 and s[at + 1] == 0.0


@njit(cache=True, nogil=True)
def lower_head(s: Floats) -> int:
    """The lower head in use."""
    return MID if s[SHORT] > 0.0 else DOWN


@njit(cache=True, nogil=True)
def reach(p: Floats, head: int) -> float:
    return p[REACH_UP] if head == UP else p[REACH_DOWN]


@njit(cache=True, nogil=True)
def run(
    p: Floats, s: Floats, orders: Floats, draws: Sequence[Floats], boats: Sequence[Floats], log: Sequence[Floats],
    ticks: int, trace: Sequence[Floats], every: int,
) -> None:  # fmt: skip
    """Step by `ticks`, with the same orders throughout.

    Args:
        draws: Per lockage four numbers in 0..1: boat or not, time of entry, of exit, of waiting.
        boats: For a timetable (LISTED): time, direction (1 up), short (1), in order; ends with an inf.
        log: A row per lockage, written.
        trace: Every `every` ticks a row: level, phase, position of gate and sluice of each head, length in use.
    """
    step_s = p[TICK_S]
    for tick in range(ticks):
        s[TICKS] += 1.0
        _move(p, s, orders, step_s)
        _program(p, s, orders, draws, boats, log, s[TICKS] * step_s)
        if every > 0 and (tick + 1) % every == 0:
            row = trace[(tick + 1) // every - 1]
            row[TRACE_LEVEL], row[TRACE_PHASE], row[TRACE_SHORT] = s[LEVEL], s[PHASE], s[SHORT]
            for head in range(3):
                row[2 + 2 * head] = s[PER_HEAD * head + GATE]
                row[3 + 2 * head] = s[PER_HEAD * head + SLUICE]


@njit(cache=True, nogil=True)
def _move(p: Floats, s: Floats, x: Floats, step_s: float) -> None:
    """Physics: drives, water, pumps, energy."""
    power_w = p[STEADY_W] + p[BOAT_W] * s[PRESENT]
    _command(s)
    _override(s, x)
    halted = x[X_ESTOP] > 0.0 or x[X_OUTAGE] > 0.0
    s[HALTED] = 1.0 if halted else 0.0
    up_s = down_s = mid_s = 0.0
    for head in range(3 if p[HAS_MID] > 0.0 else 2):
        at = PER_HEAD * head
        gate_moves = s[at + GATE] != s[at + GATE_TO] and not halted and x[X_STUCK] == 0.0
        sluice_moves = s[at + SLUICE] != s[at + SLUICE_TO] and not halted
        if gate_moves:
            power_w += p[GATE_W]
            travel(s, at + GATE, p[GATE_S], p[GATE_S], step_s)
        opening_s = s[at + SLUICE] * step_s
        if sluice_moves:
            power_w += p[SLUICE_W]
            opening_s = travel(s, at + SLUICE, p[OPEN_S], p[CLOSE_S], step_s)
        # An open gate is a large orifice: one area with the sluices, in seconds of full sluice opening.
        if s[at + GATE] > 0.0:
            opening_s += s[at + GATE] * p[GATE_M2] / p[SLUICE_M2] * step_s
        if head == UP:
            up_s = opening_s
        elif head == DOWN:
            down_s = opening_s
        else:
            mid_s = opening_s
    low_s = mid_s if s[SHORT] > 0.0 else down_s
    _water(p, s, x, up_s, low_s, step_s)
    if p[PUMP_W] > 0.0:
        owed = s[RELEASED] - s[PUMPED]
        if s[PUMPING] == 0.0 and owed >= p[PUMP_ON_M3] and x[X_OUTAGE] == 0.0:
            s[PUMPING] = 1.0
        if s[PUMPING] > 0.0 and (owed <= 0.0 or x[X_OUTAGE] > 0.0):
            s[PUMPING] = 0.0
        if s[PUMPING] > 0.0:
            power_w += p[PUMP_W]
            s[PUMPED] += p[PUMP_M3_S] * step_s
    if x[X_OUTAGE] == 0.0:
        s[ENERGY_WS] += power_w * step_s


@njit(cache=True, nogil=True)
def _command(s: Floats) -> None:
    """What the PLC tells its drives, by the phase it is in: outputs are written in every cycle."""
    phase, low = int(s[PHASE]), lower_head(s)
    here = UP if int(s[SIDE]) == UP else low
    for head in range(3):
        at = PER_HEAD * head
        if head != UP and head != low:  # the lower head that is not in use stands open
            s[at + GATE_TO], s[at + SLUICE_TO] = 1.0, 0.0
            continue
        lies = head == here and phase != CLOSING and phase != LEVELLING and phase != SHUTTING
        s[at + GATE_TO] = 1.0 if lies else 0.0
        s[at + SLUICE_TO] = 1.0 if head == here and phase == LEVELLING else 0.0


@njit(cache=True, nogil=True)
def _override(s: Floats, x: Floats) -> None:
    """Drives that do, on purpose, what the PLC would never let them do."""
    phase, low = int(s[PHASE]), lower_head(s)
    for head in (UP, low):
        other = low if head == UP else UP
        at, across = PER_HEAD * head, PER_HEAD * other
        side = 0.0 if head == UP else 1.0  # as the options name it
        crosswise = x[X_OPPOSITE] > 0.0 and (x[X_OPPOSITE_HEAD] < 0.0 or x[X_OPPOSITE_HEAD] == 1.0 - side)
        if crosswise and not closed(s, at + GATE) and closed(s, across + GATE):
            s[across + SLUICE_TO] = 1.0
        closing = phase == CLOSING and s[at + GATE] > 0.0 and s[at + GATE_TO] == 0.0
        if closing and x[X_CLOSES] > 0.0 and (x[X_CLOSES_HEAD] < 0.0 or x[X_CLOSES_HEAD] == side):
            s[at + SLUICE_TO] = 1.0
        levelling = phase == LEVELLING and (int(s[SIDE]) == UP) == (head == UP)
        if levelling and x[X_UNDER] > 0.0 and (x[X_UNDER_HEAD] < 0.0 or x[X_UNDER_HEAD] == side):
            s[at + GATE_TO] = 1.0
        if phase == LEVELLING and x[X_SLUICES] > 0.0:
            s[at + SLUICE_TO] = 1.0
    if x[X_BOTH] > 0.0:
        s[PER_HEAD * UP + GATE_TO] = s[PER_HEAD * low + GATE_TO] = 1.0


@njit(cache=True, nogil=True)
def _water(p: Floats, s: Floats, x: Floats, up_s: float, low_s: float, step_s: float) -> None:
    """Levels and volumes over a step; `up_s`, `low_s`: openings of both heads, integrated. [s of full opening]"""
    area = p[SHORT_AREA] if s[SHORT] > 0.0 else p[AREA]
    before = s[LEVEL]
    if x[X_MOVES] != 0.0 and up_s == 0.0 and low_s == 0.0:
        level = min(p[REACH_UP], max(p[REACH_DOWN], before + x[X_MOVES] * step_s))
        if level > before:
            s[DRAWN] += area * (level - before)
        else:
            s[RELEASED] += area * (before - level)
        s[LEVEL] = level
        s[LEVEL_FLOW] = (level - before) / step_s
        return
    if x[X_STILL] > 0.0:
        s[LEVEL_FLOW] = 0.0
        return
    up_s += p[LEAK_UP] / p[SLUICE_M2] * step_s
    low_s += p[LEAK_DOWN] / p[SLUICE_M2] * step_s
    fall = p[DISCHARGE] * p[SLUICE_M2] * sqrt(2.0 * GRAVITY) / (2.0 * area)  # of the root of the head, per s
    if up_s > 0.0 and low_s > 0.0 and fall * min(up_s, low_s) > 1e-4:
        # Water runs through: the level goes to where both flows are equal.
        head = p[REACH_UP] - p[REACH_DOWN]
        balance = p[REACH_DOWN] + head * up_s * up_s / (up_s * up_s + low_s * low_s)
        net = (
            2.0
            * fall
            * (up_s * sqrt(max(0.0, p[REACH_UP] - before)) - low_s * sqrt(max(0.0, before - p[REACH_DOWN])))
        )  # level per step, if nothing changed
        apart = balance - before
        level = before
        if abs(apart) > 1e-12:
            level = before + apart * (1.0 - exp(-max(0.0, net / apart)))
        through = 2.0 * fall * area * low_s * sqrt(max(0.0, 0.5 * (before + level) - p[REACH_DOWN]))
        s[RELEASED] += through
        s[DRAWN] += through + area * (level - before)
        s[LEVEL] = level
    else:
        # c w sqrt(2 g h) dt = -A dh, exactly: the root of the head falls by the integral of the opening.
        if up_s > 0.0:
            root = max(0.0, sqrt(abs(p[REACH_UP] - s[LEVEL])) - fall * up_s)
            level = p[REACH_UP] - root * root
            s[DRAWN] += area * (level - s[LEVEL])
            s[LEVEL] = level
        if low_s > 0.0:
            root = max(0.0, sqrt(abs(p[REACH_DOWN] - s[LEVEL])) - fall * low_s)
            level = p[REACH_DOWN] + root * root
            s[RELEASED] += area * (s[LEVEL] - level)
            s[LEVEL] = level
    s[LEVEL_FLOW] = (s[LEVEL] - before) / step_s


@njit(cache=True, nogil=True)
def _program(
    p: Floats,
    s: Floats,
    x: Floats,
    draws: Sequence[Floats],
    boats: Sequence[Floats],
    log: Sequence[Floats],
    now: float,
) -> None:
    """The PLC's sequence: one step of it per tick, each left by its own condition."""
    word = 0
    if x[X_ESTOP] > 0.0:
        word |= A_ESTOP
    if x[X_OUTAGE] > 0.0:
        word |= A_MAINS
    if x[X_ESTOP] > 0.0 or x[X_OUTAGE] > 0.0:
        s[SINCE_S] += p[TICK_S]  # the sequence stands, and so does its time
        s[ALARM] = word
        return
    phase, since = int(s[PHASE]), now - s[SINCE_S]
    side = int(s[SIDE])
    head = UP if side == UP else lower_head(s)
    at = PER_HEAD * head
    if phase in (CLOSING, OPENING) and since > 1.5 * p[GATE_S] + 10.0:
        word |= A_DRIVE
    if phase in (LEVELLING, SHUTTING) and since > 3600.0:
        word |= A_DRIVE
    s[ALARM] = word
    n = int(s[COUNT])
    if phase == IDLE:
        if x[X_MODE] != MAINTENANCE:
            _idle(p, s, draws, boats, log, now, since)
    elif phase == ENTRY:
        boat = log[n - 1][D_VESSEL]
        s[PRESENT] = 1.0 if boat > 0.0 and since >= 0.4 * s[WAIT_S] else 0.0
        if since >= s[WAIT_S]:
            s[at + GATE_TO] = 0.0
            _enter(s, log, CLOSING, now)
    elif phase == CLOSING:
        # A level that moves on purpose needs a time in which all is closed: then the PLC looks for longer.
        if closed(s, at + GATE) and (x[X_MOVES] == 0.0 or since >= p[GATE_S] + 90.0):
            s[SIDE] = DOWN if side == UP else UP
            head = UP if int(s[SIDE]) == UP else lower_head(s)
            s[PER_HEAD * head + SLUICE_TO] = 1.0
            _enter(s, log, LEVELLING, now)
    elif phase == LEVELLING:
        moving = s[at + SLUICE] != s[at + SLUICE_TO]
        if abs(reach(p, head) - s[LEVEL]) < EQUAL_M and not moving:
            s[at + SLUICE_TO] = 0.0
            _enter(s, log, SHUTTING, now)
    elif phase == SHUTTING:
        if closed(s, at + SLUICE) and abs(reach(p, head) - s[LEVEL]) < MOST_HEAD_M:
            s[at + GATE_TO] = 1.0
            _enter(s, log, OPENING, now)
    elif phase == OPENING:
        if s[at + GATE] == s[at + GATE_TO]:
            area = p[SHORT_AREA] if s[SHORT] > 0.0 else p[AREA]
            log[n - 1][D_VOLUME] = area * (p[REACH_UP] - p[REACH_DOWN])
            s[WAIT_S] = 120.0 + 120.0 * draws[n][2] if log[n - 1][D_VESSEL] > 0.0 else 10.0
            _enter(s, log, EXIT, now)
    elif since >= s[WAIT_S]:
        log[n - 1][D_END] = now
        s[DONE] += 1.0
        s[WAIT_S] = 240.0 + 360.0 * draws[n][3]
        _enter(s, log, IDLE, now)
    else:
        s[PRESENT] = 1.0 if log[n - 1][D_VESSEL] > 0.0 and since < 0.7 * s[WAIT_S] else 0.0


@njit(cache=True, nogil=True)
def _idle(
    p: Floats, s: Floats, draws: Sequence[Floats], boats: Sequence[Floats], log: Sequence[Floats], now: float,
    since: float,
) -> None:  # fmt: skip
    """Start a lockage when a boat is there, or bring the chamber to where one waits."""
    n, side = int(s[COUNT]), int(s[SIDE])
    vessel, short = 1.0, s[SHORT]
    if p[LISTED] > 0.0:
        due = boats[int(s[NEXT])]
        s[EXPECTED] = 1.0 if now >= due[0] - 45.0 else 0.0
        if now < due[0]:
            return
        upward = due[1] > 0.0
        if upward == (side == DOWN):
            s[NEXT] += 1.0
            short = due[2]
        else:
            vessel = 0.0
    else:
        s[EXPECTED] = 1.0 if since > s[WAIT_S] - 45.0 else 0.0
        of_day = (p[MIDNIGHT_S] + now) % 86400.0
        if since < s[WAIT_S] or not p[OPEN_FROM_S] <= of_day < p[OPEN_TO_S]:
            return
        vessel = 1.0 if draws[n][0] >= p[EMPTY_SHARE] else 0.0
        short = 1.0 if draws[n][1] < 0.4 else 0.0
    # Only from below may the length in use change: above, what is full stays full.
    if side == DOWN and p[HAS_MID] > 0.0:
        s[SHORT] = short
    row = log[n]
    row[D_UP], row[D_VESSEL], row[D_START], row[D_SHORT] = (1.0 if side == DOWN else 0.0), vessel, now, s[SHORT]
    s[COUNT] += 1.0
    s[EXPECTED] = 0.0
    s[WAIT_S] = 150.0 + 150.0 * draws[n][1] if vessel > 0.0 else 10.0
    _enter(s, log, ENTRY, now)


@njit(cache=True, nogil=True)
def _enter(s: Floats, log: Sequence[Floats], phase: int, now: float) -> None:
    s[PHASE], s[SINCE_S] = phase, now
    if phase != IDLE:
        log[int(s[COUNT]) - 1][D_ENTRY + phase - ENTRY] = now
