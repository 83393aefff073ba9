"""State of charge of a pack from its voltage, current and temperature: a point-mass (grid) filter.

A Kalman filter linearises into one of the several maxima that a flat open-circuit curve gives; a grid keeps
all of them. Once it has settled, a Kalman filter is started there and finds the current sensor's offset and the
capacity: a biased sensor and a faded battery are found rather than followed.
Rows of the recording are averaged over `WINDOW_S` before they are weighed (the model is linear in what is
averaged), so that the cost of a row is small. SoC here is the charge above "empty" over the present capacity, at
any temperature. Indicative only, not for operation.

This file takes rows and their defects; `soc_model` is the circuit, `soc_grid` the filter.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp import ekf
from dsp.cell import POINTS
from dsp.soc_grid import LEAST_FORGET_S, LEAST_LOG, carry, close, doubt_silence
from dsp.soc_model import (
    GAP_S,
    NS_PER_S,
    PASTS,
    RESISTANCE_DOUBT,
    UNKNOWN,
    move,
)

__all__ = ["DEFECTS", "STATE", "init", "run", "step"]

WINDOW_S = 10.0  # of rows that are weighed as one
LEAST_WEIGHT = 0.01  # of a row in its window
IMPOSSIBLE_CURRENT = 3.0  # times the cell's limit: the sensor, not the ship
SPIKE_V = 0.15  # per cell, and not explained by the current
FROZEN_S, FROZEN_SOC = 300.0, 0.03  # the same values to the bit for so long, while that much should have moved
BMS_FAR, BMS_TRUST_S = 0.10, 1800.0
STATE = np.dtype(
    [
        ("soc", "f8"),
        ("soc_low", "f8"),
        ("soc_high", "f8"),
        ("capacity_ah", "f8"),  # of the pack, as found
        ("capacity_sd_ah", "f8"),
        ("bias_a", "f8"),  # of the pack's current sensor: what it says too much
        ("t_ns", "i8"),
        ("current_a", "f8"),  # per cell, of the last row taken
        ("voltage_v", "f8"),  # per cell, of the last row weighed
        ("temp_c", "f8"),
        ("x1_a", "f8"),
        ("x2_a", "f8"),
        ("slow", "f8"),  # R2 and tau2 beyond the identified temperatures
        ("past_doubt", "f8"),  # what happened before the first row still counts in x1, x2: 1 falling to 0
        ("h", "f8"),
        ("h_doubt", "f8"),  # how far h may be from its true value: 1 falling to 0
        ("usual_a", "f8"),  # mean size of the current
        ("drop_v", "f8"),  # mean resistive drop
        ("seen_s", "f8"),  # time covered by rows
        ("forget_s", "f8"),  # evidence about SoC fades so fast: it is counted charge that ages
        ("shift", "f8"),  # hypothesis k stands at (k + shift) * STEP
        ("pasts", "i8"),  # rows in use: PASTS, or 1 when the past no longer matters
        ("logw", "f4", (PASTS, POINTS)),
        ("kalman", ekf.STATE),  # finds the sensor's offset and the capacity once SoC has settled
        ("w_s", "f8"), ("w_v", "f8"), ("w_i", "f8"), ("w_x1", "f8"), ("w_x2", "f8"), ("w_h", "f8"),
        ("w_as", "f8"), ("w_t", "f8"),  # sums of the window: weight, and weight times each quantity
        ("w_time", "f8"),
        ("r_near", "f8", 3), ("sigma_near", "f8"),  # of the model where SoC was found last
        ("as_", "f8"),  # charge since the window began, losses taken off [A s per cell]
        ("t_s", "f8"),  # time since the window began
        ("rate_a", "f8"), ("bias_cell_a", "f8"), ("shown_as", "f8"),  # how SoC is shown until the window closes
        ("back_ns", "i8"),  # a row whose time went back: the clock was set, or it was late
        ("same_ns", "i8"),  # since when the values have been the same to the bit
        ("bms", "f8"), ("bms_trust", "f8"), ("bms_moved", "f8"),
        ("informed", "i8"),  # by a guess or a voltage; before that nothing is said
        ("settled", "i8"),  # SoC was known well once: offset and capacity are taken from `kalman`
        ("spiked", "i8"),
        ("frozen", "i8"),  # 1 while values are frozen
        ("rejected", "i8"),  # rows with a value that cannot be
        ("unknown", "i8"),  # rows without voltage or current
        ("out_of_order", "i8"), ("spikes", "i8"), ("frozen_rows", "i8"), ("saturated", "i8"),
        ("gaps", "i8"),
    ]
)  # fmt: skip
DEFECTS = ("rejected", "unknown", "out_of_order", "spikes", "frozen_rows", "saturated", "gaps")


def init(params: NDArray[Any], soc0: float = math.nan, soc0_sigma: float = 0.3) -> NDArray[Any]:
    """State of a pack about to be seen.

    Args:
        params: From `dsp.cell.pack_params`.
        soc0: A guess, NaN if there is none: then all SoC are alike. 0..1
        soc0_sigma: How good the guess is. > 0

    Raises: ValueError if the guess is not in 0..1, or has no width.
    """
    if math.isfinite(soc0) and not (0.0 <= soc0 <= 1.0 and soc0_sigma > 0.0):
        raise ValueError(f"soc0 = {soc0} with sigma {soc0_sigma}: give 0..1 and a sigma above 0")
    state = np.zeros(1, STATE)
    state["t_ns"] = state["back_ns"] = state["same_ns"] = UNKNOWN
    state["temp_c"] = 25.0
    state["slow"] = state["past_doubt"] = state["h_doubt"] = 1.0
    state["pasts"], state["forget_s"] = PASTS, LEAST_FORGET_S
    state["rate_a"] = 1.0 / (3600.0 * params["capacity_ah"])
    state["kalman"] = ekf.init(params)
    state["capacity_ah"] = params["capacity_ah"] * params["parallel"]
    state["capacity_sd_ah"] = ekf.SD_CAPACITY * state["capacity_ah"]
    state["bms_trust"] = 0.3
    for name in ("soc", "soc_low", "soc_high", "current_a", "voltage_v", "bms"):
        state[name] = np.nan
    if math.isfinite(soc0):
        state["informed"] = 1
        z = np.linspace(0.0, 1.0, POINTS)
        state["logw"][0] = np.maximum(LEAST_LOG, -0.5 * ((z - soc0) / soc0_sigma) ** 2)
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any],
    params: NDArray[Any],
    t_ns: int,
    voltage_v: float,
    current_a: float,
    temp_c: float,
    soc_bms: float,
) -> None:
    """Take one row of a pack. The result is in `state`: `soc`, `soc_low`, `soc_high` (95 %), `capacity_ah`.

    A row without current is passed over (the next one bridges it); one without voltage moves the hypotheses
    and widens nothing. After a silence over `GAP_S` the charge moved is taken from the mean of both currents
    and doubted by the usual current and the pack's limits. A row whose time does not go forward is left out;
    if the next one goes on from there, the clock was set and its time is taken. Every defect is counted.

    Args:
        state: From `init`. STATE[1]
        params: From `dsp.cell.pack_params`. PARAMS[1]
        t_ns: Time of the row. [ns, UTC]
        voltage_v: Of the pack, NaN if unknown. [V]
        current_a: Of the pack, positive when charging, NaN if unknown. [A]
        temp_c: NaN keeps the last one; 25 before the first. [degC]
        soc_bms: NaN if unknown. Counts little, less if it is far off for long, nothing while frozen. 0..1

    Source: `soc_model` (the circuit) and `soc_grid` (the filter) name theirs.
    """
    s, p = state[0], params[0]
    i = current_a / p.parallel
    limit = max(p.max_charge_a, p.max_discharge_a)
    if not abs(i) <= IMPOSSIBLE_CURRENT * limit:  # NaN too
        if math.isfinite(current_a):
            s.rejected += 1
        else:
            s.unknown += 1
        return
    if i > 1.2 * p.max_charge_a or -i > 1.2 * p.max_discharge_a:
        s.saturated += 1
    if -60.0 <= temp_c <= 100.0:
        s.temp_c = temp_c
    elif math.isfinite(temp_c):
        s.rejected += 1
    v = voltage_v / p.series
    dt_s = 0.0
    if s.t_ns >= 0:
        dt_s = (t_ns - s.t_ns) / NS_PER_S
        if dt_s < 0.0 or (dt_s == 0.0 and s.back_ns >= 0):
            s.out_of_order += 1
            if s.back_ns >= 0 and 0 < t_ns - s.back_ns <= GAP_S * NS_PER_S:
                dt_s = (t_ns - s.back_ns) / NS_PER_S  # the clock was set
            else:
                s.back_ns = t_ns
                return
        s.back_ns = UNKNOWN
        if _is_frozen(s, p, t_ns, v, i):
            s.frozen_rows += 1
            return
        if dt_s > 0.0:
            mean_a = 0.5 * (s.current_a + i)
            ekf.predict(s.kalman, p, dt_s, mean_a)
            if dt_s > GAP_S:
                close(s, p)
                s.gaps += 1
                move(s, p, dt_s, mean_a)
                close(s, p)
                doubt_silence(s, p, dt_s, mean_a)
            else:
                move(s, p, dt_s, mean_a)
    else:
        s.same_ns = t_ns
    s.t_ns = t_ns
    jump_a = i - s.current_a
    s.current_a = i
    if 0.3 * p.ocv_v[0] < v < 1.5 * p.ocv_v[POINTS - 1]:
        far = abs(v - s.voltage_v) > SPIKE_V + 4.0 * p.r_ohm[0, 0, POINTS // 2] * abs(jump_a)
        if far and s.spiked == 0 and dt_s <= GAP_S:
            s.spiked = 1
            s.spikes += 1
        else:
            s.spiked = 0
            s.voltage_v = v
            held_s = min(max(dt_s, 0.1), GAP_S)
            _gather(s, v, i, held_s)
            ekf.correct(s.kalman, p, v, i, s.temp_c, held_s)
    elif math.isfinite(voltage_v):
        s.rejected += 1
    else:
        s.unknown += 1
    _watch_bms(s, p, soc_bms, min(dt_s, GAP_S))
    if s.t_s >= WINDOW_S or s.informed == 0 or s.seen_s < WINDOW_S or dt_s > GAP_S:
        close(s, p)
    elif s.informed != 0:
        carry(s)


def run(
    params: NDArray[Any],
    t_ns: NDArray[np.int64],
    voltage_v: NDArray[np.float64],
    current_a: NDArray[np.float64],
    temp_c: NDArray[np.float64],
    soc0: float = math.nan,
    soc0_sigma: float = 0.3,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`step` over a whole recording, from `init(params, soc0, soc0_sigma)`.

    Returns: soc, soc_low, soc_high after each row. float64[n] each
    """
    soc, low, high = _run(init(params, soc0, soc0_sigma), params, t_ns, voltage_v, current_a, temp_c)
    return soc, low, high


@njit(cache=True, nogil=True)
def _run(
    state: NDArray[Any],
    params: NDArray[Any],
    t_ns: NDArray[np.int64],
    voltage_v: NDArray[np.float64],
    current_a: NDArray[np.float64],
    temp_c: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    n = t_ns.shape[0]
    soc, low, high = np.empty(n), np.empty(n), np.empty(n)
    for k in range(n):
        step(state, params, t_ns[k], voltage_v[k], current_a[k], temp_c[k], math.nan)
        soc[k], low[k], high[k] = state[0].soc, state[0].soc_low, state[0].soc_high
    return soc, low, high


@njit(cache=True, nogil=True)
def _is_frozen(s: Any, p: Any, t_ns: int, v: float, i: float) -> bool:
    """Voltage and current the same to the bit, for longer and over more charge than a battery allows."""
    if v != s.voltage_v or i != s.current_a:
        s.same_ns = t_ns
        s.frozen = 0
        return False
    held_s = (t_ns - s.same_ns) / NS_PER_S
    if held_s > FROZEN_S and abs(i) * held_s > FROZEN_SOC * 3600.0 * p.capacity_ah:
        s.frozen = 1
    return bool(s.frozen == 1)


@njit(cache=True, nogil=True)
def _gather(s: Any, v: float, i: float, time_s: float) -> None:
    """Add a row to the window; one under load tells less, for resistances are doubtful."""
    s.w_time += time_s
    drop = RESISTANCE_DOUBT * (s.r_near[0] * i + s.r_near[1] * s.x1_a + s.r_near[2] * s.x2_a)
    sure = s.sigma_near * s.sigma_near
    weight_s = time_s if sure == 0.0 else time_s * max(LEAST_WEIGHT, sure / (sure + drop * drop))
    s.w_s += weight_s
    s.w_v += weight_s * v
    s.w_i += weight_s * i
    s.w_x1 += weight_s * s.x1_a
    s.w_x2 += weight_s * s.x2_a
    s.w_h += weight_s * s.h
    s.w_as += weight_s * s.as_
    s.w_t += weight_s * s.t_s


@njit(cache=True, nogil=True)
def _watch_bms(s: Any, p: Any, soc_bms: float, dt_s: float) -> None:
    """Trust of the BMS's own figure: none while it stands still as charge moves, less the longer it is far off."""
    if not 0.0 <= soc_bms <= 1.0:
        s.bms = math.nan
        return
    s.bms_moved = s.bms_moved + abs(s.current_a) * dt_s if soc_bms == s.bms else 0.0
    s.bms = soc_bms
    if s.informed == 0 or s.soc_high - s.soc_low > 4.0 * BMS_FAR:
        return
    if s.bms_moved > FROZEN_SOC * 3600.0 * p.capacity_ah:
        s.bms_trust = 0.0
    else:
        near = 1.0 if abs(soc_bms - s.soc) < BMS_FAR else 0.0
        s.bms_trust += (near - s.bms_trust) * dt_s / BMS_TRUST_S
