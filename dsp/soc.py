"""State of charge of a pack from its voltage, current and temperature: a point-mass (grid) filter.

A Kalman filter linearises into one of the several maxima that a flat open-circuit curve gives; a grid keeps
all of them. Once the first search has settled, rows of hypotheses about the current sensor's offset and the
capacity stand beside each other, each with its own grid of SoC: a biased sensor and a faded battery are found
rather than followed. Rows of the recording are averaged over `WINDOW_S` before they are weighed (the model is
linear in what is averaged), so that the cost of a row is small. SoC here is the charge above "empty" over the
present capacity, at any temperature. Indicative only, not for operation.
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

WINDOW_S = 10.0  # of rows that are weighed as one
CORRELATION_S = 120.0  # model errors last that long: samples within it are one piece of evidence
FORGET_S = 5400.0  # evidence about SoC fades: it is counted charge that ages
FORGET_ROWS_S = 172_800.0  # about offset and capacity: those last
HUBER = 1.5  # residuals beyond so many sigmas count linearly
SURE_SHARE = 0.25  # of log variance; 0.5 would be a true spread, but doubts are limits, and favour steep curves
RESISTANCE_DOUBT = 0.5  # resistances differ between cells, with age and with the size of the current
BEYOND_DOUBT = 0.5  # of how far resistances are extrapolated past the identified temperatures
SOC_DOUBT = 0.006  # the open-circuit curve is true to so much in SoC
MODEL_SD = 0.008  # of the result, where the weights alone would be too sure
LEAST_WEIGHT = 0.01  # of a row in its window
LASTING_DOUBT, LASTING_H_DOUBT = 0.15, 0.35  # shares of drop and of the change of hysteresis wrong for hours
LASTING_S, LEAST_SLOPE_V = 1800.0, 0.04  # mean of that drop; slope of the curve that turns it into SoC
ROW_TRUST = 0.2  # model errors look like offsets and capacities: evidence between rows counts less
PAST_C_RATE = 0.3  # and was of about this size, in currents that fill the cell in an hour
PAST_S = 1200.0  # what a cell did that long ago still shows in its voltage
H_DOUBT_LEAST = 0.3  # of the half gap: one state is a rough picture of hysteresis
GAP_S = 30.0  # a longer silence hides what the current did
GAP_C_RATE = 0.3  # what it may have done, at least, beside the usual current
USUAL_S = 3600.0  # time over which the usual current is taken
ZERO_C_K = 273.15
LEAST_LOG = -60.0  # a hypothesis is never quite dead
ASLEEP_LOG = -25.0  # and below this it is not weighed until fading wakes it
AWAY = 4096.0  # marks what sleeps during one weighing
IMPOSSIBLE_CURRENT = 3.0  # times the cell's limit: the sensor, not the ship
SETTLED_SD, SETTLED_S = 0.03, 300.0  # rows are opened when SoC is known so well, after so long

BIASES, CAPACITIES = 7, 5  # rows of hypotheses
ROWS = BIASES * CAPACITIES
MIDDLE = (BIASES // 2) * CAPACITIES + CAPACITIES // 2
BIAS_STEP_C, BIAS_SD_C = 0.015, 0.01  # of the current that fills the cell in an hour
CAPACITY_STEP, CAPACITY_SD = 0.03, 0.03

SPIKE_V = 0.15  # per cell, and not explained by the current
FROZEN_S, FROZEN_SOC = 300.0, 0.03  # the same values to the bit for so long, while that much should have moved
BMS_SD, BMS_CORRELATION_S, BMS_FAR, BMS_TRUST_S = 0.08, 3600.0, 0.10, 1800.0

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
        ("past_doubt", "f8"),  # what happened before the first row still counts in x1, x2: 1 falling to 0
        ("h", "f8"),
        ("h_doubt", "f8"),  # how far h may be from its true value: 1 falling to 0
        ("usual_a", "f8"),  # mean size of the current
        ("drop_v", "f8"),  # mean resistive drop
        ("seen_s", "f8"),  # time covered by rows
        ("bias_zero_a", "f8"),  # of the middle row, per cell
        ("capacity_zero", "f8"),  # of the middle row, as a factor of the given capacity
        ("shift", "f8", ROWS),  # hypothesis k stands at (k + shift) * STEP
        ("logw", "f4", (ROWS, POINTS)),
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
        ("open", "i8"),  # rows of offset and capacity are in use
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
    state["past_doubt"] = state["h_doubt"] = state["capacity_zero"] = 1.0
    state["capacity_ah"] = params["capacity_ah"] * params["parallel"]
    state["capacity_sd_ah"] = CAPACITY_SD * state["capacity_ah"]
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
            if dt_s > GAP_S:
                _close(s, p)
                s.gaps += 1
                _move(s, p, dt_s, mean_a)
                _close(s, p)
                _doubt(s, p, dt_s, mean_a)
            else:
                _move(s, p, dt_s, mean_a)
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
            _gather(s, v, i, min(max(dt_s, 0.1), GAP_S))
    elif math.isfinite(voltage_v):
        s.rejected += 1
    else:
        s.unknown += 1
    _watch_bms(s, p, soc_bms, min(dt_s, GAP_S))
    if s.t_s >= WINDOW_S or s.informed == 0 or s.seen_s < WINDOW_S or dt_s > GAP_S:
        _close(s, p)
    elif s.informed != 0:
        _carry(s)


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
def _move(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """Lags, hysteresis and the charge of the window, which are the same for all hypotheses."""
    charge = mean_a * dt_s * (p.efficiency if mean_a > 0.0 else 1.0)
    s.x1_a = mean_a + (s.x1_a - mean_a) * math.exp(-dt_s / p.tau1_s)
    s.x2_a = mean_a + (s.x2_a - mean_a) * math.exp(-dt_s / p.tau2_s)
    s.past_doubt *= math.exp(-dt_s / PAST_S)
    if charge != 0.0:
        goal = 1.0 if charge > 0.0 else -1.0
        left = math.exp(-p.hysteresis_rate * abs(charge) / (3600.0 * p.capacity_ah))
        s.h = goal + (s.h - goal) * left
        s.h_doubt *= left
    if dt_s <= GAP_S:
        s.usual_a += (abs(mean_a) - s.usual_a) * dt_s / (USUAL_S if s.seen_s > USUAL_S else s.seen_s + dt_s)
        s.seen_s += dt_s
    s.as_ += charge
    s.t_s += dt_s


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
def _carry(s: Any) -> None:
    """Between windows the result follows the counted charge."""
    charge = s.as_ - s.bias_cell_a * s.t_s
    moved = s.rate_a * (charge - s.shown_as)
    s.shown_as = charge
    s.soc = min(1.0, max(0.0, s.soc + moved))
    s.soc_low = min(s.soc, max(0.0, s.soc_low + moved))
    s.soc_high = max(s.soc, min(1.0, s.soc_high + moved))


@njit(cache=True, nogil=True)
def _bias_of(s: Any, p: Any, r: int) -> float:
    return float(s.bias_zero_a + (r // CAPACITIES - BIASES // 2) * BIAS_STEP_C * p.capacity_ah)


@njit(cache=True, nogil=True)
def _factor_of(s: Any, r: int) -> float:
    return float(s.capacity_zero * (1.0 + (r % CAPACITIES - CAPACITIES // 2) * CAPACITY_STEP))


@njit(cache=True, nogil=True)
def _close(s: Any, p: Any) -> None:
    """Move every hypothesis to the middle of the window, weigh it there, move it to the end."""
    if s.w_s > 0.0:
        middle_as, middle_s = s.w_as / s.w_s, s.w_t / s.w_s
        _shift_all(s, p, middle_as, middle_s)
        _weigh(s, p)
        _shift_all(s, p, s.as_ - middle_as, s.t_s - middle_s)
    else:
        _shift_all(s, p, s.as_, s.t_s)
    s.as_ = s.t_s = s.shown_as = 0.0
    s.w_s = s.w_v = s.w_i = s.w_x1 = s.w_x2 = s.w_h = s.w_as = s.w_t = s.w_time = 0.0
    if s.informed != 0:
        _summarise(s, p)


@njit(cache=True, nogil=True)
def _shift_all(s: Any, p: Any, charge_as: float, time_s: float) -> None:
    for n in range(ROWS if s.open != 0 else 1):
        r = n if s.open != 0 else 0
        bias = _bias_of(s, p, r) if s.open != 0 else 0.0
        factor = _factor_of(s, r) if s.open != 0 else 1.0
        dsoc = (charge_as - bias * time_s) / (3600.0 * p.capacity_ah * factor)
        _shift(s, r, min(1.0, max(-1.0, dsoc)))


@njit(cache=True, nogil=True)
def _shift(s: Any, r: int, dsoc: float) -> None:
    shift = s.shift[r] + dsoc / STEP
    logw = s.logw[r]
    while shift > 0.5:  # the grid stays over 0..1: who leaves at one end enters at the other
        shift -= 1.0
        top = logw[POINTS - 1]
        for k in range(POINTS - 1, 0, -1):
            logw[k] = logw[k - 1]
        logw[POINTS - 1] = max(logw[POINTS - 1], top)  # full stays full
        logw[0] -= np.float32(1.0)
    while shift < -0.5:
        shift += 1.0
        bottom = logw[0]
        for k in range(POINTS - 1):
            logw[k] = logw[k + 1]
        logw[0] = max(logw[0], bottom)
        logw[POINTS - 1] -= np.float32(1.0)
    s.shift[r] = shift


@njit(cache=True, nogil=True)
def _doubt(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """After a silence the charge moved is only known within the usual current and the pack's limits."""
    per_a = dt_s / (3600.0 * p.capacity_ah) / STEP
    usual = max(GAP_C_RATE * p.capacity_ah, s.usual_a)
    most_up, most_down = (
        max(0.5, (p.max_charge_a - mean_a) * per_a),
        max(0.5, (p.max_discharge_a + mean_a) * per_a),
    )
    up, down = max(0.5, min(0.5 * most_up, usual * per_a)), max(0.5, min(0.5 * most_down, usual * per_a))
    before, place = np.empty(POINTS, np.float32), np.empty(POINTS, np.int64)
    for r in range(ROWS if s.open != 0 else 1):
        alive = 0
        for k in range(POINTS):
            if s.logw[r, k] > ASLEEP_LOG:
                before[alive] = s.logw[r, k]
                place[alive] = k
                alive += 1
        for k in range(POINTS):
            best = max(LEAST_LOG, float(s.logw[r, k]))
            for n in range(alive):
                j = place[n]
                away = (k - j) / up if k >= j else (j - k) / down
                cost = 0.5 * away * away if away < 2.0 else 2.0 * away - 2.0
                best = max(best, before[n] - cost)
            s.logw[r, k] = best
    s.past_doubt = max(s.past_doubt, 1.0 - math.exp(-dt_s / PAST_S))
    s.h_doubt = max(s.h_doubt, 1.0 - math.exp(-p.hysteresis_rate * usual * per_a * STEP))


@njit(cache=True, nogil=True)
def _weigh(s: Any, p: Any) -> None:
    """Bayes: a Huber residual of the mean voltage for each hypothesis, slowed to the correlation time."""
    v, i, x1, x2, h = s.w_v / s.w_s, s.w_i / s.w_s, s.w_x1 / s.w_s, s.w_x2 / s.w_s, s.w_h / s.w_s
    share, fade = s.w_time / CORRELATION_S, math.exp(-s.w_time / FORGET_S)
    fade_rows = math.exp(-s.w_time / FORGET_ROWS_S)
    t, t_share, factor = _temperature(s.temp_c, p)
    t2 = min(t + 1, p.temps - 1)
    expected, ohms, variance = np.empty(POINTS), np.empty(POINTS), np.empty(POINTS)
    past_a = PAST_C_RATE * p.capacity_ah * s.past_doubt
    beyond = BEYOND_DOUBT * abs(factor - 1.0)
    doubt_of_r = math.sqrt(RESISTANCE_DOUBT * RESISTANCE_DOUBT + beyond * beyond)
    warmth = 1.0 / (s.temp_c + ZERO_C_K) - 1.0 / (25.0 + ZERO_C_K)
    width = math.exp(p.hysteresis_activation_k * warmth)
    doubt_of_h = width * (H_DOUBT_LEAST + (1.0 - H_DOUBT_LEAST) * s.h_doubt)
    for k in range(POINTS):
        r0 = factor * _mix(p.r_ohm[t, 0, k], p.r_ohm[t2, 0, k], t_share)
        r1 = factor * _mix(p.r_ohm[t, 1, k], p.r_ohm[t2, 1, k], t_share)
        r2 = factor * _mix(p.r_ohm[t, 2, k], p.r_ohm[t2, 2, k], t_share)
        ohmic = r0 * i + r1 * x1 + r2 * x2
        expected[k] = p.ocv_v[k] + width * p.half_gap_v[k] * h + ohmic
        ohms[k] = r0 + r1 + r2
        doubt_r, doubt_h, doubt_past = doubt_of_r * ohmic, doubt_of_h * p.half_gap_v[k], (r1 + r2) * past_a
        variance[k] = p.sigma_v[k] ** 2 + doubt_r * doubt_r + doubt_h * doubt_h + doubt_past * doubt_past
    slopes = np.empty(POINTS + 1)  # of the piece that ends at each point
    slopes[0] = slopes[POINTS] = 0.0
    for k in range(1, POINTS):
        d = SOC_DOUBT * (p.ocv_v[k] - p.ocv_v[k - 1]) / STEP
        slopes[k] = d * d
    place = 0 if s.informed == 0 else min(POINTS - 1, max(0, int(s.soc / STEP)))
    drop = expected[place] - p.ocv_v[place] - width * p.half_gap_v[place] * h
    s.drop_v += (drop - s.drop_v) * min(1.0, s.w_time / min(LASTING_S, s.seen_s + 1.0))
    s.r_near[0] = factor * _mix(p.r_ohm[t, 0, place], p.r_ohm[t2, 0, place], t_share)
    s.r_near[1] = factor * _mix(p.r_ohm[t, 1, place], p.r_ohm[t2, 1, place], t_share)
    s.r_near[2] = factor * _mix(p.r_ohm[t, 2, place], p.r_ohm[t2, 2, place], t_share)
    s.sigma_near = p.sigma_v[place]
    best = -1e300
    use_bms = s.bms_trust > 0.05 and math.isfinite(s.bms)
    bms_share = s.bms_trust * s.w_time / BMS_CORRELATION_S
    for r in range(ROWS if s.open != 0 else 1):
        shift = s.shift[r]
        first, f = (0, shift) if shift >= 0.0 else (-1, 1.0 + shift)
        bias = _bias_of(s, p, r) if s.open != 0 else 0.0
        top = -1e300
        for k in range(POINTS):
            top = max(top, s.logw[r, k])
        new_top = -1e300
        for k in range(POINTS):
            old = fade_rows * top + (s.logw[r, k] - top) * fade
            if s.logw[r, k] > ASLEEP_LOG:
                j = k + first
                a, b = max(j, 0), min(j + 1, POINTS - 1)
                w = _mix(variance[a], variance[b], f) + slopes[j + 1]
                e = _mix(expected[a], expected[b], f) - bias * _mix(ohms[a], ohms[b], f)
                q = abs(v - e) / math.sqrt(w)
                loss = 0.5 * q * q if q <= HUBER else HUBER * (q - 0.5 * HUBER)
                old -= share * (loss + SURE_SHARE * math.log(w))
                if use_bms:
                    q = abs((k + shift) * STEP - s.bms) / BMS_SD
                    old -= bms_share * (0.5 * q * q if q <= 1.0 else q - 0.5)
                new_top = max(new_top, old)
                s.logw[r, k] = old
            else:
                s.logw[r, k] = old + AWAY  # asleep: keeps its distance from the best
        if s.open != 0 and new_top > -1e299:
            back = (1.0 - ROW_TRUST) * (fade_rows * top - new_top)
            new_top += back
            for k in range(POINTS):
                if s.logw[r, k] < 0.5 * AWAY:
                    s.logw[r, k] += back
        best = max(best, new_top)
    for r in range(ROWS if s.open != 0 else 1):
        for k in range(POINTS):
            if s.logw[r, k] > 0.5 * AWAY:
                s.logw[r, k] = max(LEAST_LOG, s.logw[r, k] - AWAY)
            else:
                s.logw[r, k] = max(LEAST_LOG, s.logw[r, k] - best)
    s.informed = 1


@njit(cache=True, nogil=True)
def _temperature(temp_c: float, p: Any) -> tuple[int, float, float]:
    """Place between the identified temperatures (as Arrhenius curves lie), and the factor beyond them."""
    t, share = 0, 0.0
    while t < p.temps - 2 and temp_c > p.temp_c[t + 1]:
        t += 1
    inside_c = min(max(temp_c, p.temp_c[0]), p.temp_c[p.temps - 1])
    if p.temps > 1:
        low = math.exp(p.activation_k / (p.temp_c[t] + ZERO_C_K) - p.activation_k / 298.15)
        high = math.exp(p.activation_k / (p.temp_c[t + 1] + ZERO_C_K) - p.activation_k / 298.15)
        here = math.exp(p.activation_k / (inside_c + ZERO_C_K) - p.activation_k / 298.15)
        if low != high:
            share = (here - low) / (high - low)
        else:
            share = (inside_c - p.temp_c[t]) / (p.temp_c[t + 1] - p.temp_c[t])
    factor = math.exp(p.activation_k / (temp_c + ZERO_C_K) - p.activation_k / (inside_c + ZERO_C_K))
    return t, min(1.0, max(0.0, share)), factor


@njit(cache=True, nogil=True)
def _mix(a: float, b: float, share: float) -> float:
    return a + (b - a) * share


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


@njit(cache=True, nogil=True)
def _summarise(s: Any, p: Any) -> None:
    """Mean and 95 % interval of the weights over all rows; offset and capacity; opens and re-centres rows."""
    rows = ROWS if s.open != 0 else 1
    total, mean, square, bias, factor, factor2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    mass = np.zeros(4 * POINTS + 8)  # quarter steps
    place_b, place_c = 0.0, 0.0
    for r in range(rows):
        here = 0.0
        for k in range(POINTS):
            if s.logw[r, k] > -20.0:
                w = math.exp(s.logw[r, k])
                z = min(float(POINTS - 1), max(0.0, k + s.shift[r]))
                here += w
                mean += w * z
                square += w * z * z
                mass[int(4.0 * z + 4.0)] += w
        total += here
        if s.open != 0:
            b, c = _bias_of(s, p, r), _factor_of(s, r)
            bias += here * b
            factor += here * c
            factor2 += here * c * c
            place_b += here * (r // CAPACITIES - BIASES // 2)
            place_c += here * (r % CAPACITIES - CAPACITIES // 2)
    mean /= total
    sd = math.sqrt(max(0.0, square / total - mean * mean)) * STEP
    low, high, below = 0.0, float(POINTS - 1), 0.0
    for k in range(len(mass)):
        above = below + mass[k] / total
        if below < 0.025 <= above:
            low = 0.25 * (k - 4.0 + (0.025 - below) / (above - below))
        if below < 0.975 <= above:
            high = 0.25 * (k - 4.0 + (0.975 - below) / (above - below))
        below = above
    s.soc = min(1.0, max(0.0, mean * STEP))
    extra = 1.96 * _lasting_sd(s, p)
    below, above = max(0.0, s.soc - low * STEP), max(0.0, high * STEP - s.soc)
    s.soc_low = max(0.0, s.soc - math.sqrt(below * below + extra * extra))
    s.soc_high = min(1.0, s.soc + math.sqrt(above * above + extra * extra))
    if s.open != 0:
        bias, factor = bias / total, factor / total
        s.bias_cell_a = bias
        s.bias_a = bias * p.parallel
        s.capacity_ah = factor * p.capacity_ah * p.parallel
        spread = math.sqrt(max(0.0, factor2 / total - factor * factor) + 0.25 * CAPACITY_STEP * CAPACITY_STEP)
        s.capacity_sd_ah = spread * p.capacity_ah * p.parallel
        s.rate_a = 1.0 / (3600.0 * p.capacity_ah * factor)
        _recentre(s, p, place_b / total, place_c / total)
    else:
        s.rate_a = 1.0 / (3600.0 * p.capacity_ah)
        if sd < SETTLED_SD and s.seen_s > SETTLED_S:
            _open(s)


@njit(cache=True, nogil=True)
def _lasting_sd(s: Any, p: Any) -> float:
    """What no amount of evidence takes away: errors of the model that last for hours, as SoC."""
    k = min(POINTS - 1, max(0, int(s.soc / STEP)))
    a, b = max(0, k - 10), min(POINTS - 1, k + 10)
    slope = max(LEAST_SLOPE_V, (p.ocv_v[b] - p.ocv_v[a]) / ((b - a) * STEP))
    warmth = 1.0 / (s.temp_c + ZERO_C_K) - 1.0 / (25.0 + ZERO_C_K)
    change = math.exp(p.hysteresis_activation_k * warmth) - 1.0
    drop, gap = LASTING_DOUBT * s.drop_v / slope, LASTING_H_DOUBT * change * p.half_gap_v[k] / slope
    return float(math.sqrt(MODEL_SD * MODEL_SD + drop * drop + gap * gap))


@njit(cache=True, nogil=True)
def _open(s: Any) -> None:
    """SoC has settled: from here on every offset and capacity has its own grid."""
    s.open = 1
    for r in range(ROWS - 1, -1, -1):
        b = (r // CAPACITIES - BIASES // 2) * BIAS_STEP_C / BIAS_SD_C
        c = (r % CAPACITIES - CAPACITIES // 2) * CAPACITY_STEP / CAPACITY_SD
        for k in range(POINTS):
            s.logw[r, k] = max(LEAST_LOG, s.logw[0, k] - 0.5 * (b * b + c * c))
        s.shift[r] = s.shift[0]


@njit(cache=True, nogil=True)
def _recentre(s: Any, p: Any, place_b: float, place_c: float) -> None:
    """Keep the found offset and capacity inside the rows; the row that comes in starts like its neighbour."""
    if abs(place_b) > 1.2 and abs(s.bias_zero_a) < 0.15 * p.capacity_ah:
        way = 1 if place_b > 0.0 else -1
        s.bias_zero_a += way * BIAS_STEP_C * p.capacity_ah
        for n in range(BIASES - 1):
            to = n if way > 0 else BIASES - 1 - n
            for c in range(CAPACITIES):
                _copy(s, (to + way) * CAPACITIES + c, to * CAPACITIES + c, 0.0)
        end = BIASES - 1 if way > 0 else 0
        for c in range(CAPACITIES):
            _copy(s, (end - way) * CAPACITIES + c, end * CAPACITIES + c, 1.5)
    if abs(place_c) > 0.7 and 0.6 < s.capacity_zero < 1.3:
        way = 1 if place_c > 0.0 else -1
        s.capacity_zero += way * CAPACITY_STEP * s.capacity_zero
        for b in range(BIASES):
            for n in range(CAPACITIES - 1):
                to = n if way > 0 else CAPACITIES - 1 - n
                _copy(s, b * CAPACITIES + to + way, b * CAPACITIES + to, 0.0)
            end = CAPACITIES - 1 if way > 0 else 0
            _copy(s, b * CAPACITIES + end - way, b * CAPACITIES + end, 1.0)


@njit(cache=True, nogil=True)
def _copy(s: Any, source: int, target: int, penalty: float) -> None:
    s.shift[target] = s.shift[source]
    for k in range(POINTS):
        s.logw[target, k] = max(LEAST_LOG, s.logw[source, k] - penalty)
