"""The automatic charging tower: its state machine, its ramps, its losses, and presets by size.

Kernels index one-dimensional rows, as in `pack.py`. One step is one second.
"""

from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Codes of the canonical state machine (`charger.State`), as plain numbers for the kernel.
IDLE, APPROACH, DOCKED, CONNECTING, HANDSHAKE, PRECHARGE, RAMP_UP, CC, CV, RAMP_DOWN, DISCONNECTING, COMPLETED = (
    range(12)
)
PAUSED, ESTOP, FAULT = 90, 98, 99
# Parameters.
(
    RATED_W, SETPOINT_W, UP_W_S, DOWN_W_S, OWN_W, MOVING_W, IDLE_LOSS, LOAD_LOSS, LINEAR_LOSS, SQUARE_LOSS,
    CABLE_OHM,
    AC_V, PF_TAN, LEAST_SHARE, APPROACH_S, DOCKED_S, CONNECTING_S, HANDSHAKE_S, PRECHARGE_S, DISCONNECTING_S,
    RESET_S, TARGET_SOC, AMBIENT_C, MOST_A, TOWER_PARAMS,
) = range(25)  # fmt: skip
# State. From PLUG_J on: energies since the start.
(
    STATE, IN_STATE_S, BREAKER, LOOP, MATED, SHIP, CALL, COMMAND_W, SHARE_W, PLUG_W, GRID_W, VOLT, AMP, PLUG_TEMP,
    SHOWN_SETPOINT, ALARM, LOW_SHARE_S, LIMITED_S, STARTS, SESSION_FROM_J, SESSION_J, PLUG_J, PACK_J, HOTEL_J,
    TRAFO_J, CONVERTER_J, CABLE_J, OWN_J, GRID_J, VAR_J, CAUSE, SUPPLIED, DONE_CALL, TOWER_STATE,
) = range(34)  # fmt: skip
A_ESTOP, A_FAULT, A_GRID, A_SHIP, A_WELDED = 1, 2, 4, 8, 16  # bits of ALARM
C_NONE, C_SETPOINT, C_SHIP, C_GRID, C_PAUSE = range(5)  # CAUSE: what holds the power down


@dataclass(frozen=True)
class TowerSpec:
    """A tower and its supply.

    Attributes:
        plug: "dc" connects to the pack; "ac" at `ac_v` with the rectifier on board.
        up_s, down_s: From nothing to the rating, and back.
        idle_loss, load_loss: Of the transformer, as shares of the rating.
        linear_loss, square_loss: Of the converter (on board for AC), as a share of the power and of its square.
        cable_loss: At the rating.
    """

    rated_w: float = 10_000_000.0
    plug: str = "ac"
    ac_v: float = 11_000.0
    setpoint_w: float | None = None
    up_s: float = 30.0
    down_s: float = 12.0
    target_soc: float = 0.90
    own_w: float = 6_000.0
    moving_w: float = 25_000.0
    idle_loss: float = 0.0008
    load_loss: float = 0.006
    linear_loss: float = 0.012
    square_loss: float = 0.006
    cable_loss: float = 0.003
    power_factor_tan: float = 0.12
    least_share: float = 0.05
    approach_s: float = 180.0
    docked_s: float = 25.0
    connecting_s: float = 35.0
    handshake_s: float = 12.0
    precharge_s: float = 8.0
    disconnecting_s: float = 35.0
    reset_s: float = 45.0
    ambient_c: float = 14.0
    pack_v: float = 1000.0  # DC only

    def parameters(self) -> Floats:
        t = np.zeros(TOWER_PARAMS)
        most_a = self.rated_w / self.pack_v if self.plug == "dc" else self.rated_w / (sqrt(3.0) * self.ac_v)
        t[RATED_W] = self.rated_w
        t[SETPOINT_W] = min(self.rated_w, self.setpoint_w or self.rated_w)
        t[UP_W_S], t[DOWN_W_S] = self.rated_w / self.up_s, self.rated_w / self.down_s
        t[OWN_W], t[MOVING_W] = self.own_w, self.moving_w
        t[IDLE_LOSS], t[LOAD_LOSS] = self.idle_loss, self.load_loss
        t[LINEAR_LOSS], t[SQUARE_LOSS] = self.linear_loss, self.square_loss
        conductors = 1.0 if self.plug == "dc" else 3.0
        t[CABLE_OHM] = self.cable_loss * self.rated_w / (conductors * most_a * most_a)
        t[AC_V] = 0.0 if self.plug == "dc" else self.ac_v
        t[PF_TAN], t[LEAST_SHARE] = self.power_factor_tan, self.least_share
        t[APPROACH_S], t[DOCKED_S], t[CONNECTING_S] = self.approach_s, self.docked_s, self.connecting_s
        t[HANDSHAKE_S], t[PRECHARGE_S] = self.handshake_s, self.precharge_s
        t[DISCONNECTING_S], t[RESET_S] = self.disconnecting_s, self.reset_s
        t[TARGET_SOC], t[AMBIENT_C] = self.target_soc, self.ambient_c
        t[MOST_A] = 1.05 * most_a
        return t

    def state(self) -> Floats:
        b = np.zeros(TOWER_STATE)
        b[SHIP] = b[CALL] = b[DONE_CALL] = -1.0
        b[PLUG_TEMP] = self.ambient_c
        b[SUPPLIED] = 1.0
        return b


PRESETS = {  # by size; voltage and ramp as at published installations of that size (domain A.2)
    "4mw": TowerSpec(rated_w=4e6, plug="dc", up_s=20.0, pack_v=850.0, own_w=2_500.0, moving_w=12_000.0),
    "7mw": TowerSpec(rated_w=7e6, plug="dc", up_s=25.0, pack_v=1000.0, own_w=3_500.0, moving_w=18_000.0),
    "10mw": TowerSpec(rated_w=10e6, plug="ac", ac_v=10_500.0, up_s=20.0, connecting_s=25.0),
    "30mw": TowerSpec(rated_w=30e6, plug="ac", ac_v=11_000.0, up_s=60.0, own_w=12_000.0, moving_w=40_000.0),
}


@njit(cache=True, nogil=True)
def enter(b: Floats, state: int) -> None:
    b[STATE], b[IN_STATE_S] = state, 0.0
    if state == RAMP_UP:
        b[LIMITED_S] = b[LOW_SHARE_S] = 0.0


@njit(cache=True, nogil=True)
def tower_step(
    t: Floats, b: Floats, second: float, arrive_s: float, depart_s: float, soc: float, ship_ready: bool,
    full: bool, estop: bool, fault: bool, pause: bool, dead: bool, weld: bool,
) -> None:  # fmt: skip
    """One second of the state machine: at most one change of state.

    Args:
        arrive_s, depart_s: Of the present or next call; inf if there is none.
        ship_ready: The ship's BMS permits a charge.
        full: The current has fallen below a twentieth of the pack's capacity at constant voltage.
        dead: The grid is gone; the tower's PLC lives on its own battery.
        weld: The breaker does not open, whatever it is told. Only a fault on purpose.
    """
    b[IN_STATE_S] += 1.0
    state, since = int(b[STATE]), b[IN_STATE_S]
    berthed = arrive_s <= second < depart_s
    stop_s = depart_s - t[DISCONNECTING_S] - t[RATED_W] / t[DOWN_W_S] - 60.0
    if not berthed and b[MATED] > 0.0:
        b[MATED] = 0.0  # the arm gives way: the ship has left
    word = 0
    if estop:
        word |= A_ESTOP
    if fault:
        word |= A_FAULT
    if dead:
        word |= A_GRID
    if b[MATED] > 0.0 and not ship_ready:
        word |= A_SHIP
    # Safety loop: closed only with the plug in and nothing pressed.
    loop = b[MATED] > 0.0 and not estop and not fault and state != ESTOP and state != FAULT
    in_charge = HANDSHAKE <= state <= RAMP_DOWN or state == PAUSED
    if estop:
        if state != ESTOP:
            enter(b, ESTOP)
        b[IN_STATE_S] = 0.0
    elif fault or (in_charge and (dead or not ship_ready or not berthed)):
        if state != ESTOP:
            if state != FAULT:
                enter(b, FAULT)
            b[IN_STATE_S] = 0.0
    elif state in (ESTOP, FAULT):
        if dead:
            b[IN_STATE_S] = 0.0
        elif since >= t[RESET_S]:
            if b[MATED] > 0.0 and second < stop_s and ship_ready:
                enter(b, HANDSHAKE)
            elif b[MATED] > 0.0:
                enter(b, DISCONNECTING)
            elif berthed and second < stop_s - 60.0:
                enter(b, DOCKED)
            else:
                enter(b, COMPLETED)
    elif state == IDLE:
        if second >= arrive_s - t[APPROACH_S] and second < depart_s:
            enter(b, APPROACH)
    elif state == APPROACH:
        if berthed:
            enter(b, DOCKED)
    elif state == DOCKED:
        if not berthed:
            enter(b, COMPLETED)
        elif since >= t[DOCKED_S] and soc < t[TARGET_SOC] - 0.02 and second < stop_s - 120.0 and not dead:
            b[DONE_CALL] = b[CALL]
            enter(b, CONNECTING)
    elif state == CONNECTING:
        if since >= t[CONNECTING_S]:
            b[MATED] = 1.0
            b[SESSION_FROM_J] = b[PLUG_J]
            b[STARTS] += 1.0
            enter(b, HANDSHAKE)
    elif state == HANDSHAKE:
        if second >= stop_s:
            enter(b, DISCONNECTING)
        elif since >= t[HANDSHAKE_S] and loop:
            enter(b, PRECHARGE)
    elif state == PRECHARGE:
        if since >= t[PRECHARGE_S] and loop:
            b[BREAKER] = 1.0
            enter(b, RAMP_UP)
    elif state in (RAMP_UP, CC, CV):
        b[LOW_SHARE_S] = b[LOW_SHARE_S] + 1.0 if b[SHARE_W] < t[LEAST_SHARE] * t[RATED_W] else 0.0
        if second >= stop_s or soc >= t[TARGET_SOC] or (full and state == CV):
            enter(b, RAMP_DOWN)
        elif pause or b[LOW_SHARE_S] > 5.0:
            enter(b, PAUSED)
        elif state == RAMP_UP:
            if b[LIMITED_S] > 3.0:
                enter(b, CV)
            elif b[PLUG_W] >= 0.98 * b[SHARE_W] and since > 4.0:
                enter(b, CC)
        elif state == CC and b[LIMITED_S] > 3.0:
            enter(b, CV)
    elif state == PAUSED:
        if second >= stop_s:
            enter(b, RAMP_DOWN)
        elif not pause and b[SHARE_W] >= 1.5 * t[LEAST_SHARE] * t[RATED_W] and since >= 10.0:
            enter(b, RAMP_UP)
    elif state == RAMP_DOWN:
        if b[PLUG_W] < 0.002 * t[RATED_W] and since >= 2.0:
            enter(b, DISCONNECTING)
    elif state == DISCONNECTING:
        if since >= t[DISCONNECTING_S]:
            b[MATED] = 0.0
            enter(b, COMPLETED)
        elif since >= 4.0:
            b[MATED] = 0.0
    elif since >= 60.0 and (not berthed or b[DONE_CALL] != b[CALL]):  # COMPLETED, and the ship is another
        enter(b, IDLE)
    state = int(b[STATE])
    loop = loop and b[MATED] > 0.0 and state != ESTOP and state != FAULT
    b[LOOP] = 1.0 if loop else 0.0
    if (not loop or state == DISCONNECTING or state < RAMP_UP) and not (weld and b[MATED] > 0.0):
        b[BREAKER] = 0.0
    if b[BREAKER] > 0.0 and not loop:
        word |= A_WELDED
    if b[BREAKER] == 0.0:
        b[COMMAND_W] = 0.0
    b[ALARM] = word


@njit(cache=True, nogil=True)
def wanted(t: Floats, b: Floats, weld: bool) -> float:
    """The power that the tower would take at the plug if the grid had it. [W]"""
    state = int(b[STATE])
    if b[BREAKER] == 0.0:
        return 0.0
    if weld and (state in (ESTOP, FAULT)):
        return b[COMMAND_W]  # nothing is told to the converter: it goes on
    if state == CV or (b[LIMITED_S] > 0.0 and state != PAUSED and state != RAMP_DOWN):
        return min(t[SETPOINT_W], 1.02 * b[PLUG_W] + 0.02 * t[RATED_W])
    if state in (RAMP_UP, CC):
        return t[SETPOINT_W]
    return 0.0


@njit(cache=True, nogil=True)
def converter_loss(t: Floats, power_w: float) -> float:
    """Of the power that leaves it. [W]"""
    return t[LINEAR_LOSS] * power_w + t[SQUARE_LOSS] * power_w * power_w / t[RATED_W]


@njit(cache=True, nogil=True)
def before_converter(t: Floats, out_w: float) -> float:
    """The output of the converter when it takes `out_w`: the inverse of x + converter_loss(x). [W]"""
    a, k = t[SQUARE_LOSS] / t[RATED_W], 1.0 + t[LINEAR_LOSS]
    return 2.0 * out_w / (k + sqrt(k * k + 4.0 * a * out_w))


@njit(cache=True, nogil=True)
def account(t: Floats, b: Floats, dc_w: float, pack_w: float, hotel_w: float, pack_v: float, dt: float) -> None:
    """Everything upstream of the ship's busbar, for one step of mean power `dc_w`."""
    converter_w = converter_loss(t, dc_w) if b[BREAKER] > 0.0 else 0.0
    if t[AC_V] > 0.0:  # the converter is the ship's
        plug_w = dc_w + converter_w
        volt = t[AC_V] if b[BREAKER] > 0.0 else 0.0
        amp = plug_w / (sqrt(3.0) * t[AC_V])
        cable_w = 3.0 * t[CABLE_OHM] * amp * amp
        before_w = plug_w + cable_w
    else:
        plug_w = dc_w
        volt = pack_v if b[MATED] > 0.0 else 0.0
        amp = plug_w / pack_v
        cable_w = t[CABLE_OHM] * amp * amp
        before_w = plug_w + cable_w + converter_w
    load = before_w / t[RATED_W]
    trafo_w = t[RATED_W] * (t[IDLE_LOSS] + t[LOAD_LOSS] * load * load) * b[SUPPLIED]
    state = int(b[STATE])
    moving = state in (CONNECTING, DISCONNECTING)
    own_w = (t[OWN_W] + (t[MOVING_W] if moving else 0.0)) * b[SUPPLIED]
    b[PLUG_W], b[VOLT], b[AMP] = plug_w, volt, amp
    b[GRID_W] = before_w + trafo_w + own_w
    b[PLUG_J] += plug_w * dt
    b[PACK_J] += pack_w * dt
    b[HOTEL_J] += hotel_w * dt
    b[TRAFO_J] += trafo_w * dt
    b[CONVERTER_J] += converter_w * dt
    b[CABLE_J] += cable_w * dt
    b[OWN_J] += own_w * dt
    b[GRID_J] += b[GRID_W] * dt
    b[VAR_J] += (t[PF_TAN] * before_w + 1200.0 * b[SUPPLIED]) * dt
    b[SESSION_J] = b[PLUG_J] - b[SESSION_FROM_J]
    target = t[AMBIENT_C] + 38.0 * (amp / t[MOST_A]) * (amp / t[MOST_A])
    b[PLUG_TEMP] = target + (b[PLUG_TEMP] - target) * exp(-dt / 480.0)
