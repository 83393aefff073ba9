"""State of charge of a pack from its voltage, current and temperature: a point-mass (grid) filter.

A Kalman filter linearises into one of the several maxima that a flat open-circuit curve gives; a grid keeps
all of them. SoC here is the charge above "empty" over the capacity, at any temperature: cold makes a cell
deliver less, it does not change its SoC. Indicative only, not for operation.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.cell import POINTS

UNKNOWN = -1
NS_PER_S = 1_000_000_000
STEP = 1.0 / (POINTS - 1)  # between hypotheses

CORRELATION_S = 120.0  # model errors last that long: samples within it are one piece of evidence
FORGET_S = 5400.0  # evidence fades: sensors drift and cells age
HUBER = 1.5  # residuals beyond so many sigmas count linearly
RESISTANCE_DOUBT = 0.3  # resistances differ by so much between cells, and with age
SOC_DOUBT = 0.006  # the open-circuit curve is true to so much in SoC
MODEL_SD = 0.006  # of the result, where the weights alone would be too sure
PAST_C_RATE = 0.3  # and was of about this size, in currents that fill the cell in an hour
PAST_S = 1200.0  # what a cell did that long ago still shows in its voltage
H_DOUBT_LEAST = 0.3  # of the half gap: one state is a rough picture of hysteresis
GAP_S = 30.0  # a longer silence hides what the current did
ZERO_C_K = 273.15
LEAST_LOG = -60.0  # a hypothesis is never quite dead
IMPOSSIBLE_CURRENT = 3.0  # times the cell's limit: the sensor, not the ship

STATE = np.dtype(
    [
        ("soc", "f8"),
        ("soc_low", "f8"),
        ("soc_high", "f8"),
        ("capacity_ah", "f8"),  # of the pack
        ("t_ns", "i8"),
        ("current_a", "f8"),  # per cell, of the last row taken
        ("temp_c", "f8"),
        ("x1_a", "f8"),
        ("x2_a", "f8"),
        ("past_doubt", "f8"),  # what happened before the first row still counts in x1, x2: 1 falling to 0
        ("h", "f8"),
        ("h_doubt", "f8"),  # how far h may be from its true value: 1 falling to 0
        ("shift", "f8"),  # hypothesis k stands at (k + shift) * STEP
        ("logw", "f8", POINTS),
        ("informed", "i8"),  # by a guess or a voltage; before that nothing is said
        ("rejected", "i8"),  # rows whose values cannot be
        ("gaps", "i8"),
    ]
)


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
    state["t_ns"] = UNKNOWN
    state["temp_c"] = 25.0
    state["past_doubt"] = state["h_doubt"] = 1.0
    state["capacity_ah"] = params["capacity_ah"] * params["parallel"]
    for name in ("soc", "soc_low", "soc_high", "current_a"):
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
    and doubted by what the pack's limits allow. Time that does not go forward is ignored.

    Args:
        state: From `init`. STATE[1]
        params: From `dsp.cell.pack_params`. PARAMS[1]
        t_ns: Time of the row. [ns, UTC]
        voltage_v: Of the pack, NaN if unknown. [V]
        current_a: Of the pack, positive when charging, NaN if unknown. [A]
        temp_c: NaN keeps the last one; 25 before the first. [degC]
        soc_bms: Not used yet: a BMS that lies must not pull the estimate. 0..1
    """
    s, p = state[0], params[0]
    i = current_a / p.parallel
    if not abs(i) <= IMPOSSIBLE_CURRENT * max(p.max_charge_a, p.max_discharge_a):  # NaN too
        s.rejected += math.isfinite(current_a)
        return
    if -60.0 <= temp_c <= 100.0:
        s.temp_c = temp_c
    dt_s = 0.0
    if s.t_ns >= 0:
        dt_s = (t_ns - s.t_ns) / NS_PER_S
        if dt_s <= 0.0:
            s.rejected += 1
            return
        _move(s, p, dt_s, 0.5 * (s.current_a + i))
        if dt_s > GAP_S:
            s.gaps += 1
            _doubt(s, p, dt_s, 0.5 * (s.current_a + i))
    s.t_ns = t_ns
    s.current_a = i
    v = voltage_v / p.series
    if 0.3 * p.ocv_v[0] < v < 1.5 * p.ocv_v[POINTS - 1]:
        _weigh(s, p, v, i, min(max(dt_s, 0.1), GAP_S))
    elif math.isfinite(voltage_v):
        s.rejected += 1
    if s.informed != 0:
        _summarise(s)


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
def _move(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """Coulombs move all hypotheses alike; lags and hysteresis are the same for all."""
    dsoc = mean_a * dt_s / (3600.0 * p.capacity_ah)
    if mean_a > 0.0:
        dsoc *= p.efficiency
    dsoc = min(1.0, max(-1.0, dsoc))
    s.x1_a = mean_a + (s.x1_a - mean_a) * math.exp(-dt_s / p.tau1_s)
    s.x2_a = mean_a + (s.x2_a - mean_a) * math.exp(-dt_s / p.tau2_s)
    s.past_doubt *= math.exp(-dt_s / PAST_S)
    if dsoc != 0.0:
        goal = 1.0 if dsoc > 0.0 else -1.0
        left = math.exp(-p.hysteresis_rate * abs(dsoc))
        s.h = goal + (s.h - goal) * left
        s.h_doubt *= left
    s.shift += dsoc / STEP
    while s.shift > 0.5:  # the grid stays over 0..1: who leaves at one end enters at the other
        s.shift -= 1.0
        top = s.logw[POINTS - 1]
        for k in range(POINTS - 1, 0, -1):
            s.logw[k] = s.logw[k - 1]
        s.logw[POINTS - 1] = max(s.logw[POINTS - 1], top)  # full stays full
        s.logw[0] -= 1.0
    while s.shift < -0.5:
        s.shift += 1.0
        bottom = s.logw[0]
        for k in range(POINTS - 1):
            s.logw[k] = s.logw[k + 1]
        s.logw[0] = max(s.logw[0], bottom)
        s.logw[POINTS - 1] -= 1.0


@njit(cache=True, nogil=True)
def _doubt(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """After a silence the charge moved is only known within the pack's limits."""
    per_a = dt_s / (3600.0 * p.capacity_ah) / STEP
    up = max(0.5, (p.max_charge_a - mean_a) * per_a)  # in hypotheses
    down = max(0.5, (p.max_discharge_a + mean_a) * per_a)
    before = s.logw.copy()
    for k in range(POINTS):
        best = LEAST_LOG
        for j in range(POINTS):
            away = (k - j) / up if k >= j else (j - k) / down
            best = max(best, before[j] - 2.0 * away * away)  # the limit stands at two sigmas
        s.logw[k] = best
    s.past_doubt = max(s.past_doubt, 1.0 - math.exp(-dt_s / PAST_S))


@njit(cache=True, nogil=True)
def _weigh(s: Any, p: Any, v: float, i: float, dt_s: float) -> None:
    """Bayes: a Huber residual of the voltage for each hypothesis, slowed to the correlation time."""
    share, fade = dt_s / CORRELATION_S, math.exp(-dt_s / FORGET_S)
    t, t_share = 0, 0.0
    while t < p.temps - 1 and s.temp_c > p.temp_c[t + 1]:
        t += 1
    if p.temps > 1:
        t_share = (s.temp_c - p.temp_c[t]) / (p.temp_c[t + 1] - p.temp_c[t])
        t_share = min(1.0, max(0.0, t_share))
    t2 = min(t + 1, p.temps - 1)
    beyond_c = s.temp_c - min(max(s.temp_c, p.temp_c[0]), p.temp_c[p.temps - 1])
    factor = math.exp(-p.activation_k * beyond_c / ((s.temp_c + ZERO_C_K) * (s.temp_c - beyond_c + ZERO_C_K)))
    # All hypotheses stand at the same fraction between table points.
    first, f = (0, s.shift) if s.shift >= 0.0 else (-1, 1.0 + s.shift)
    past_a = PAST_C_RATE * p.capacity_ah * s.past_doubt
    best = -1e300
    for k in range(POINTS):
        j = k + first
        a, b = max(j, 0), min(j + 1, POINTS - 1)
        ra, rb = 1.0 - f, f
        ocv = ra * p.ocv_v[a] + rb * p.ocv_v[b]
        slope = (p.ocv_v[b] - p.ocv_v[a]) / STEP
        gap = ra * p.half_gap_v[a] + rb * p.half_gap_v[b]
        r0 = _mix(p.r_ohm[t, 0, a], p.r_ohm[t2, 0, a], t_share) * ra
        r0 += _mix(p.r_ohm[t, 0, b], p.r_ohm[t2, 0, b], t_share) * rb
        r1 = _mix(p.r_ohm[t, 1, a], p.r_ohm[t2, 1, a], t_share) * ra
        r1 += _mix(p.r_ohm[t, 1, b], p.r_ohm[t2, 1, b], t_share) * rb
        r2 = _mix(p.r_ohm[t, 2, a], p.r_ohm[t2, 2, a], t_share) * ra
        r2 += _mix(p.r_ohm[t, 2, b], p.r_ohm[t2, 2, b], t_share) * rb
        ohmic = factor * (r0 * i + r1 * s.x1_a + r2 * s.x2_a)
        sigma = ra * p.sigma_v[a] + rb * p.sigma_v[b]
        doubt_r, doubt_z, doubt_past = RESISTANCE_DOUBT * ohmic, SOC_DOUBT * slope, (r1 + r2) * past_a
        doubt_h = gap * (H_DOUBT_LEAST + (1.0 - H_DOUBT_LEAST) * s.h_doubt)
        variance = sigma * sigma + doubt_r * doubt_r + doubt_z * doubt_z
        variance += doubt_past * doubt_past + doubt_h * doubt_h
        r = abs(v - ocv - gap * s.h - ohmic) / math.sqrt(variance)
        loss = 0.5 * r * r if r <= HUBER else HUBER * (r - 0.5 * HUBER)
        s.logw[k] = s.logw[k] * fade - share * (loss + 0.5 * math.log(variance))
        best = max(best, s.logw[k])
    for k in range(POINTS):
        s.logw[k] = max(LEAST_LOG, s.logw[k] - best)
    s.informed = 1


@njit(cache=True, nogil=True)
def _mix(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


@njit(cache=True, nogil=True)
def _summarise(s: Any) -> None:
    """Mean and 95 % interval of the weights."""
    total, mean = 0.0, 0.0
    weight = np.empty(POINTS)
    for k in range(POINTS):
        weight[k] = math.exp(s.logw[k])
        total += weight[k]
        mean += weight[k] * k
    low, high, below = -1.0, float(POINTS), 0.0
    for k in range(POINTS):
        above = below + weight[k] / total
        if below < 0.025 <= above:
            low = k - 0.5 + (0.025 - below) / (above - below)
        if below < 0.975 <= above:
            high = k - 0.5 + (0.975 - below) / (above - below)
        below = above
    s.soc = min(1.0, max(0.0, (mean / total + s.shift) * STEP))
    s.soc_low = min(s.soc, max(0.0, (low + s.shift) * STEP - 1.96 * MODEL_SD))
    s.soc_high = max(s.soc, min(1.0, (high + s.shift) * STEP + 1.96 * MODEL_SD))
