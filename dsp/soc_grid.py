"""The point-mass filter of `dsp.soc`: rows of hypotheses of SoC, weighed by what the circuit expects.

Row r stands for one offset of the current sensor and one capacity; its hypotheses lie a step apart over 0..1
and move together with the charge counted. Until SoC has settled there is the middle row only.
Source: R. S. Bucy and K. D. Senne, Automatica 7 (1971) 287-298 (point-mass filter); P. J. Huber, Annals of
Mathematical Statistics 35 (1964) 73-101 (loss). Departures: weights move with the grid and evidence fades.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.cell import POINTS
from dsp.soc_model import (
    BIASES,
    CAPACITIES,
    CAPACITY_SD,
    CAPACITY_STEP,
    PAST_S,
    ROWS,
    STEP,
    expect,
    lasting_sd,
    mix,
)

CORRELATION_S = 120.0  # model errors last that long: samples within it are one piece of evidence
FORGET_S = 5400.0  # evidence about SoC fades: it is counted charge that ages
FORGET_ROWS_S = 172_800.0  # about offset and capacity: those last
HUBER = 1.5  # residuals beyond so many sigmas count linearly
SURE_SHARE = 0.25  # of log variance; 0.5 would be a true spread, but doubts are limits, and favour steep curves
ROW_TRUST = 0.2  # model errors look like offsets and capacities: evidence between rows counts less
GAP_C_RATE = 0.3  # what the current may have done in a silence, at least, beside the usual current
LEAST_LOG = -60.0  # a hypothesis is never quite dead
ASLEEP_LOG = -25.0  # and below this it is not weighed until fading wakes it
AWAY = 4096.0  # marks what sleeps during one weighing
SETTLED_SD, SETTLED_S = 0.03, 300.0  # rows are opened when SoC is known so well, after so long
BIAS_STEP_C, BIAS_SD_C = 0.015, 0.01  # of the current that fills the cell in an hour
BMS_SD, BMS_CORRELATION_S = 0.08, 3600.0  # of the figure that the BMS gives


@njit(cache=True, nogil=True)
def close(s: Any, p: Any) -> None:
    """Move every hypothesis to the middle of the window, weigh it there, move it to the end.

    Source: Bucy and Senne, Automatica 7 (1971) 287-298: predict, then weigh by likelihood; the likelihood is
    Huber's (Annals of Mathematical Statistics 35, 1964).
    """
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
def carry(s: Any) -> None:
    """Between windows the result follows the counted charge."""
    charge = s.as_ - s.bias_cell_a * s.t_s
    moved = s.rate_a * (charge - s.shown_as)
    s.shown_as = charge
    s.soc = min(1.0, max(0.0, s.soc + moved))
    s.soc_low = min(s.soc, max(0.0, s.soc_low + moved))
    s.soc_high = max(s.soc, min(1.0, s.soc_high + moved))


@njit(cache=True, nogil=True)
def doubt_silence(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """After a silence the charge moved is only known within the usual current and the pack's limits.

    Source: ours: each hypothesis becomes the best of its neighbours less a cost of getting there, quadratic
    near and linear far, so that a flat pair of candidates stays a pair.
    """
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
def _weigh(s: Any, p: Any) -> None:
    """Bayes: a Huber residual of the mean voltage for each hypothesis, slowed to the correlation time."""
    expected, ohms, variance, slopes = np.empty(POINTS), np.empty(POINTS), np.empty(POINTS), np.empty(POINTS + 1)
    means = (s.w_i / s.w_s, s.w_x1 / s.w_s, s.w_x2 / s.w_s, s.w_h / s.w_s)
    expect(s, p, s.w_time, means, expected, ohms, variance, slopes)
    best = -1e300
    for r in range(ROWS if s.open != 0 else 1):
        best = max(best, _weigh_row(s, p, r, expected, ohms, variance, slopes))
    for r in range(ROWS if s.open != 0 else 1):
        for k in range(POINTS):
            if s.logw[r, k] > 0.5 * AWAY:
                s.logw[r, k] = max(LEAST_LOG, s.logw[r, k] - AWAY)
            else:
                s.logw[r, k] = max(LEAST_LOG, s.logw[r, k] - best)
    s.informed = 1


@njit(cache=True, nogil=True)
def _weigh_row(
    s: Any,
    p: Any,
    r: int,
    expected: NDArray[np.float64],
    ohms: NDArray[np.float64],
    variance: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> float:
    """Weigh one row of hypotheses, old evidence faded. Returns: log weight of its best."""
    v, share, fade = s.w_v / s.w_s, s.w_time / CORRELATION_S, math.exp(-s.w_time / FORGET_S)
    fade_rows = math.exp(-s.w_time / FORGET_ROWS_S)
    use_bms = s.bms_trust > 0.05 and math.isfinite(s.bms)
    bms_share = s.bms_trust * s.w_time / BMS_CORRELATION_S
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
            w = mix(variance[a], variance[b], f) + slopes[j + 1]
            e = mix(expected[a], expected[b], f) - bias * mix(ohms[a], ohms[b], f)
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
    return new_top


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
    extra = 1.96 * lasting_sd(s, p)
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


@njit(cache=True, nogil=True)
def _bias_of(s: Any, p: Any, r: int) -> float:
    return float(s.bias_zero_a + (r // CAPACITIES - BIASES // 2) * BIAS_STEP_C * p.capacity_ah)


@njit(cache=True, nogil=True)
def _factor_of(s: Any, r: int) -> float:
    return float(s.capacity_zero * (1.0 + (r % CAPACITIES - CAPACITIES // 2) * CAPACITY_STEP))
