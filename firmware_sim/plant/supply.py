"""One delivery point: towers that share its limit, the ships at them and at sea, and the balance of it all.

The kernel steps everything by whole seconds. Rows are one-dimensional, as in `pack.py`.

`pack.py` and `tower.py` are compiled into it, but numba's cache asks only whether this file has changed. So
count this up with each change of theirs: revision 2.
"""

from collections.abc import Sequence
from math import inf

import numpy as np
from numba import njit
from numpy.typing import NDArray

from firmware_sim.plant import pack as pk
from firmware_sim.plant import tower as tw
from firmware_sim.plant.pack import charge_ceiling, pack_current, pack_step, ship_load
from firmware_sim.plant.tower import account, before_converter, tower_step, wanted

Floats = NDArray[np.float64]

# Delivery point: parameters, then state.
LIMIT_W, MAIN_RATED_W, MAIN_IDLE, MAIN_LOAD, AUXILIARY_W, POINT_PARAMS = range(6)
POINT_W, POINT_J, MAIN_J, AUXILIARY_J, LIMIT_NOW_W, GRID_ON, POINT_STATE = range(7)
# Timetable, a row per call: berth, ship, arrival, departure. Events, a row each; berth -1 is every berth.
E_START, E_END, E_KIND, E_BERTH, E_VALUE = range(5)
EV_ESTOP, EV_FAULT, EV_PAUSE, EV_OUTAGE, EV_LIMIT, EV_WELD = range(6)
# Trace, a row per second: the point first, then a block per berth.
TR_POINT_W, TR_POINT_J, TR_FIRST = range(3)
# The shore PLC's copy of what the ship's BMS says, a row per berth: it stays as it was when the plug goes out.
(
    K_SHIP, K_SECOND, K_SOC, K_CURRENT_A, K_VOLTAGE_V, K_TEMP, K_CELL_MIN_V, K_CELL_MAX_V, K_CHARGE_W,
    K_DISCHARGE_W,
    K_CONTACTOR, K_ALARM, COPY,
) = range(13)  # fmt: skip
TR_STATE, TR_PLUG_W, TR_GRID_W, TR_SOC, TR_GRID_J, TR_BREAKER, TR_LOOP, TR_BERTH = range(8)
_WATCH_W = 0.002  # of the limit, kept free: packs gain voltage within a step


@njit(cache=True, nogil=True)
def run(
    point: Floats, hub: Floats, towers: Sequence[Floats], berths: Sequence[Floats], packs: Sequence[Floats],
    curves: Sequence[Floats], areas: Sequence[Floats], ships: Sequence[Floats], calls: Sequence[Sequence[Floats]],
    trips: Sequence[Sequence[Floats]], events: Sequence[Floats], flags: Floats, room: Floats, start: int,
    steps: int,
    copies: Sequence[Floats], trace: Sequence[Floats],
) -> None:  # fmt: skip
    """Step from second `start` by `steps` seconds; a row of `trace` is the state after its second.

    Args:
        calls: Per berth its calls in order of time: ship, arrival, departure. [s]
        trips: Per ship its absences in order: left, back. [s]
        flags: A number per event kind and berth, filled here: whether it is on. float64[6 * berths]
        room: Two numbers per berth for the sharing. float64[2 * berths]
    """
    n_berths, n_ships = len(berths), len(ships)
    for step in range(steps):
        second = float(start + step)
        _events(point, hub, events, flags, n_berths, second)
        dead = hub[GRID_ON] == 0.0
        # 1. Who is where; the towers' states.
        for n in range(n_ships):
            ships[n][pk.AT_BERTH] = -1.0
        for n in range(n_berths):
            t, b = towers[n], berths[n]
            mine = calls[n]
            at = int(b[tw.CALL])
            if at < 0:
                at = 0
            while at < len(mine) and mine[at][2] <= second and (int(b[tw.STATE]) in (tw.IDLE, tw.COMPLETED)):
                at += 1
            b[tw.CALL] = at
            arrive, depart, ship = inf, inf, -1
            if at < len(mine):
                arrive, depart, ship = mine[at][1], mine[at][2], int(mine[at][0])
            berthed = arrive <= second < depart
            b[tw.SHIP] = ship if berthed else -1.0
            b[tw.SUPPLIED] = 0.0 if dead else 1.0
            soc, ready, full = 1.0, False, False
            if berthed:
                s, p = ships[ship], packs[ship]
                s[pk.AT_BERTH] = n
                soc, ready = s[pk.SOC], s[pk.CONTACTOR] > 0.0
                full = 0.0 < s[pk.CURRENT_A] < 0.05 * p[pk.Q_AS] / 3600.0 * p[pk.PARALLEL]
            weld = flags[6 * n + EV_WELD] > 0.0
            tower_step(
                t, b, second, arrive, depart, soc, ready, full, flags[6 * n + EV_ESTOP] > 0.0,
                flags[6 * n + EV_FAULT] > 0.0, flags[6 * n + EV_PAUSE] > 0.0, dead, weld,
            )  # fmt: skip
        # 2. What each may take.
        _share(point, hub, towers, berths, flags, room)
        # 3. Ships: what is charged, what is used.
        grid_w = 0.0
        for n in range(n_ships):
            s = ships[n]
            at = int(s[pk.AT_BERTH])
            if at < 0:
                left, back = _trip(s, trips[n], second)
                _alone(packs[n], curves[n], areas[n], s, second, left, back)
            elif berths[at][tw.BREAKER] == 0.0 or berths[at][tw.COMMAND_W] == 0.0:
                _alone(packs[n], curves[n], areas[n], s, second, inf, inf)
        for n in range(n_berths):
            t, b = towers[n], berths[n]
            ship = int(b[tw.SHIP])
            if ship >= 0 and b[tw.BREAKER] > 0.0 and b[tw.COMMAND_W] > 0.0:
                _charge(t, b, packs[ship], curves[ship], areas[ship], ships[ship])
            else:
                account(t, b, 0.0, 0.0, 0.0, ships[ship][pk.VOLTAGE_V] if ship >= 0 else 1.0, 1.0)
            grid_w += b[tw.GRID_W]
            if b[tw.MATED] > 0.0 and ship >= 0:
                _copy(copies[n], ships[ship], ship, second + 1.0)
        # 4. The delivery point.
        load = grid_w / point[MAIN_RATED_W]
        main_w = hub[GRID_ON] * point[MAIN_RATED_W] * (point[MAIN_IDLE] + point[MAIN_LOAD] * load * load)
        auxiliary_w = hub[GRID_ON] * point[AUXILIARY_W]
        hub[POINT_W] = grid_w + main_w + auxiliary_w
        hub[POINT_J] += hub[POINT_W]
        hub[MAIN_J] += main_w
        hub[AUXILIARY_J] += auxiliary_w
        row = trace[step]
        row[TR_POINT_W], row[TR_POINT_J] = hub[POINT_W], hub[POINT_J]
        for n in range(n_berths):
            b, k = berths[n], TR_FIRST + n * TR_BERTH
            row[k + TR_STATE], row[k + TR_PLUG_W], row[k + TR_GRID_W] = b[tw.STATE], b[tw.PLUG_W], b[tw.GRID_W]
            row[k + TR_SOC] = ships[int(b[tw.SHIP])][pk.SOC] if b[tw.SHIP] >= 0.0 else np.nan
            row[k + TR_GRID_J] = b[tw.GRID_J]
            row[k + TR_BREAKER], row[k + TR_LOOP] = b[tw.BREAKER], b[tw.LOOP]


@njit(cache=True, nogil=True)
def _copy(c: Floats, s: Floats, ship: int, second: float) -> None:
    c[K_SHIP], c[K_SECOND], c[K_SOC], c[K_CURRENT_A] = ship, second, s[pk.SOC_BMS], s[pk.CURRENT_A]
    c[K_VOLTAGE_V], c[K_TEMP] = s[pk.VOLTAGE_V], s[pk.TEMP]
    c[K_CELL_MIN_V], c[K_CELL_MAX_V] = s[pk.CELL_MIN_V], s[pk.CELL_MAX_V]
    c[K_CHARGE_W], c[K_DISCHARGE_W] = s[pk.CHARGE_W], s[pk.DISCHARGE_W]
    c[K_CONTACTOR], c[K_ALARM] = s[pk.CONTACTOR], s[pk.ALARM]


@njit(cache=True, nogil=True)
def _events(
    point: Floats, hub: Floats, events: Sequence[Floats], flags: Floats, n_berths: int, second: float
) -> None:
    hub[LIMIT_NOW_W], hub[GRID_ON] = point[LIMIT_W], 1.0
    for k in range(6 * n_berths):
        flags[k] = 0.0
    for i in range(len(events)):
        e = events[i]
        if not e[E_START] <= second < e[E_END]:
            continue
        kind = int(e[E_KIND])
        if kind == EV_LIMIT:
            hub[LIMIT_NOW_W] = min(hub[LIMIT_NOW_W], e[E_VALUE])
        elif kind == EV_OUTAGE:
            hub[GRID_ON] = 0.0
        for n in range(n_berths):
            if e[E_BERTH] < 0.0 or e[E_BERTH] == n:
                flags[6 * n + kind] = 1.0


@njit(cache=True, nogil=True)
def _share(
    point: Floats, hub: Floats, towers: Sequence[Floats], berths: Sequence[Floats], flags: Floats, room: Floats
) -> None:
    """Part the limit so that the smallest wishes are met first (max-min fair), then ramp toward it.

    All in watts at the plug: the losses up to the delivery point are taken off with their worst share. A
    tower may only rise into what the others have already let go, so a ramp never adds up to too much.
    """
    count = len(berths)
    idle_w = point[AUXILIARY_W] + point[MAIN_RATED_W] * point[MAIN_IDLE]
    worst = 0.0
    for n in range(count):
        t = towers[n]
        idle_w += t[tw.OWN_W] + t[tw.MOVING_W] + t[tw.RATED_W] * t[tw.IDLE_LOSS] + 1500.0
        most = t[tw.LINEAR_LOSS] + t[tw.SQUARE_LOSS] + 1.1 * t[tw.LOAD_LOSS]
        cable = 3.0 if t[tw.AC_V] > 0.0 else 1.0
        most += cable * t[tw.CABLE_OHM] * t[tw.MOST_A] * t[tw.MOST_A] / t[tw.RATED_W]
        worst = max(worst, most)
    worst += point[MAIN_LOAD] * 1.2
    budget = max(0.0, ((1.0 - _WATCH_W) * hub[LIMIT_NOW_W] - idle_w) / (1.0 + worst)) * hub[GRID_ON]
    left, waiting = budget, 0
    for n in range(count):
        b = berths[n]
        wish = wanted(towers[n], b, flags[6 * n + EV_WELD] > 0.0)
        room[2 * n], room[2 * n + 1] = wish, 0.0
        if wish > 0.0:
            waiting += 1
    while waiting > 0:
        even, met = left / waiting, 0
        for n in range(count):
            if room[2 * n] > 0.0 and room[2 * n] <= even:
                room[2 * n + 1] = room[2 * n]
                left -= room[2 * n]
                room[2 * n] = 0.0
                met += 1
        waiting -= met
        if met == 0:
            for n in range(count):
                if room[2 * n] > 0.0:
                    room[2 * n + 1] = even
            waiting = 0
    newcomers = 1
    for n in range(count):
        if int(berths[n][tw.STATE]) == tw.PAUSED and flags[6 * n + EV_PAUSE] == 0.0:
            newcomers += 1
    taken = 0.0
    for n in range(count):
        t, b = towers[n], berths[n]
        target = room[2 * n + 1]
        if b[tw.COMMAND_W] > target:
            b[tw.COMMAND_W] = max(target, b[tw.COMMAND_W] - t[tw.DOWN_W_S])
        taken += max(b[tw.COMMAND_W], b[tw.PLUG_W] if b[tw.BREAKER] > 0.0 else 0.0)
    for n in range(count):
        t, b = towers[n], berths[n]
        target = room[2 * n + 1]
        if b[tw.BREAKER] > 0.0 and b[tw.COMMAND_W] < target:
            rise = min(t[tw.UP_W_S], target - b[tw.COMMAND_W])
            held = max(b[tw.COMMAND_W], b[tw.PLUG_W])
            above = max(0.0, b[tw.COMMAND_W] + rise - held)
            if above > budget - taken:
                rise -= above - max(0.0, budget - taken)
                above = max(0.0, budget - taken)
            b[tw.COMMAND_W] += max(0.0, rise)
            taken += above
        # A tower that waits is told what it would get if it came back.
        asleep = int(b[tw.STATE]) == tw.PAUSED
        b[tw.SHARE_W] = target
        if asleep:
            b[tw.SHARE_W] = min(t[tw.SETPOINT_W], budget / (newcomers + _active(berths)))
        cause = tw.C_NONE
        if asleep:
            cause = tw.C_PAUSE if flags[6 * n + EV_PAUSE] > 0.0 else tw.C_GRID
        elif target > 0.0 and target < 0.999 * t[tw.SETPOINT_W] and int(b[tw.STATE]) != tw.CV:
            cause = tw.C_GRID
        elif int(b[tw.STATE]) == tw.CV:
            cause = tw.C_SHIP
        elif target > 0.0:
            cause = tw.C_SETPOINT
        b[tw.CAUSE] = cause


@njit(cache=True, nogil=True)
def _active(berths: Sequence[Floats]) -> int:
    count = 0
    for n in range(len(berths)):
        if tw.RAMP_UP <= int(berths[n][tw.STATE]) <= tw.CV:
            count += 1
    return count


@njit(cache=True, nogil=True)
def _trip(s: Floats, trips: Sequence[Floats], second: float) -> tuple[float, float]:
    """The absence that the ship is in, or (inf, inf)."""
    at = int(s[pk.FREE_S])
    while at < len(trips) and trips[at][1] <= second:
        at += 1
    s[pk.FREE_S] = at
    if at < len(trips):
        return trips[at][0], trips[at][1]
    return inf, inf


@njit(cache=True, nogil=True)
def _alone(p: Floats, ocv: Floats, area: Floats, s: Floats, second: float, left: float, back: float) -> None:
    """A second without shore power of ours: at sea, across the water, or unplugged at berth."""
    load_w, kind = ship_load(p, s, second, left, back)
    current = 0.0
    if s[pk.CONTACTOR] > 0.0:
        current = pack_current(p, ocv, s, -load_w)
        current = max(current, -p[pk.DISCHARGE_A] * p[pk.PARALLEL])
        current = min(current, charge_ceiling(p, ocv, s), p[pk.CHARGE_A] * p[pk.PARALLEL])
    energy_j = pack_step(p, ocv, area, s, current, 1.0)
    if kind == 0:
        s[pk.SEA_J] -= energy_j
    elif kind == 1:
        s[pk.HOTEL_J] -= energy_j
    else:
        s[pk.FAR_J] += energy_j


@njit(cache=True, nogil=True)
def _charge(t: Floats, b: Floats, p: Floats, ocv: Floats, area: Floats, s: Floats) -> None:
    """A second with the breaker closed: the tower feeds the ship's busbar, pack and hotel load hang on it."""
    dc_w = before_converter(t, b[tw.COMMAND_W]) if t[tw.AC_V] > 0.0 else b[tw.COMMAND_W]
    asked = pack_current(p, ocv, s, dc_w - p[pk.HOTEL_W])
    ceiling = min(charge_ceiling(p, ocv, s), p[pk.CHARGE_A] * p[pk.PARALLEL], s[pk.CHARGE_W] / s[pk.VOLTAGE_V])
    if t[tw.AC_V] == 0.0:  # the plug's own current, which the pack shares with the hotel load
        ceiling = min(ceiling, max(0.0, t[tw.MOST_A] - p[pk.HOTEL_W] / s[pk.VOLTAGE_V]))
    current = min(asked, ceiling) * s[pk.CONTACTOR]
    limited = current < 0.995 * asked
    b[tw.LIMITED_S] = b[tw.LIMITED_S] + 1.0 if limited else max(0.0, b[tw.LIMITED_S] - 1.0)
    pack_j = pack_step(p, ocv, area, s, current, 1.0)
    # What the tower does not yet carry of the hotel load comes from the pack.
    total_w = max(0.0, pack_j + p[pk.HOTEL_W])
    s[pk.HOTEL_J] += total_w - pack_j
    s[pk.IN_J] += total_w
    account(t, b, total_w, pack_j, total_w - pack_j, s[pk.VOLTAGE_V], 1.0)
