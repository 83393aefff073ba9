"""The point-mass filter of `dsp.soc`: rows of hypotheses of SoC, weighed by what the circuit expects.

Hypotheses lie a step apart over 0..1 and move together with the charge counted. A row stands for one past of
hysteresis before the first row or in a silence; when it is known which, or no longer matters, one row is left.
Offset of the sensor and capacity come from `ekf`, started where SoC has settled.
Source: R. S. Bucy and K. D. Senne, Automatica 7 (1971) 287-298 (point-mass filter); P. J. Huber, Annals of
Mathematical Statistics 35 (1964) 73-101 (loss). Departures: weights move with the grid and evidence fades.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp import ekf
from dsp.cell import POINTS
from dsp.soc_model import H_DOUBT_LEAST, PAST_S, PASTS, STEP, expect, lasting_sd, mix

CORRELATION_S = 120.0  # model errors last that long: samples within it are one piece of evidence
AGE_SOC = 0.01  # counted charge may be off by so much before evidence has faded e-fold
LEAST_FORGET_S, MOST_FORGET_S = 5400.0, 43_200.0
HUBER = 1.5  # residuals beyond so many sigmas count linearly
SURE_SHARE = 0.25  # of log variance; 0.5 would be a true spread, but doubts are limits, and favour steep curves
GAP_C_RATE = 0.3  # what the current may have done in a silence, at least, beside the usual current
LEAST_LOG = -60.0  # a hypothesis is never quite dead
ASLEEP_LOG = -25.0  # and below this it is not weighed until fading wakes it
AWAY = 4096.0  # marks what sleeps during one weighing
SETTLED_SD, SETTLED_S = 0.03, 900.0  # offset and capacity are looked for when SoC is known so well, after so long
LOST = 0.1  # the Kalman filter is called back when its SoC is so far away
SMALL_OFFSET_C, MOST_OFFSET_C = 0.004, 0.15  # errors of the model look like offsets of about the smaller one
CAPACITY_DOUBT = 0.01  # of the capacity found: errors of the model look like it
BMS_SD, BMS_CORRELATION_S = 0.08, 3600.0  # of the figure that the BMS gives


@njit(cache=True, nogil=True)
def close(s: Any, p: Any) -> None:
    """Move every hypothesis to the middle of the window, weigh it there, move it to the end.

    Source: Bucy and Senne, Automatica 7 (1971) 287-298: predict, then weigh by likelihood; the likelihood is
    Huber's (Annals of Mathematical Statistics 35, 1964).
    """
    if s.w_s > 0.0:
        middle_as, middle_s = s.w_as / s.w_s, s.w_t / s.w_s
        _shift(s, p, middle_as, middle_s)
        _weigh(s, p)
        _shift(s, p, s.as_ - middle_as, s.t_s - middle_s)
    else:
        _shift(s, p, s.as_, s.t_s)
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
    if s.pasts > 1:
        _merge_pasts(s)
        s.pasts = 1
    for r in range(s.pasts):
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
    for r in range(1, PASTS):
        s.logw[r] = s.logw[0]
    s.pasts = PASTS


@njit(cache=True, nogil=True)
def _shift(s: Any, p: Any, charge_as: float, time_s: float) -> None:
    """Move all hypotheses by a charge, less what the sensor says too much."""
    dsoc = (charge_as - s.bias_cell_a * time_s) * s.rate_a
    shift = s.shift + min(1.0, max(-1.0, dsoc)) / STEP
    while shift > 0.5:  # the grid stays over 0..1: who leaves at one end enters at the other
        shift -= 1.0
        for r in range(s.pasts):
            logw = s.logw[r]
            top = logw[POINTS - 1]
            for k in range(POINTS - 1, 0, -1):
                logw[k] = logw[k - 1]
            logw[POINTS - 1] = max(logw[POINTS - 1], top)  # full stays full
            logw[0] -= np.float32(1.0)
    while shift < -0.5:
        shift += 1.0
        for r in range(s.pasts):
            logw = s.logw[r]
            bottom = logw[0]
            for k in range(POINTS - 1):
                logw[k] = logw[k + 1]
            logw[0] = max(logw[0], bottom)
            logw[POINTS - 1] -= np.float32(1.0)
    s.shift = shift


@njit(cache=True, nogil=True)
def _weigh(s: Any, p: Any) -> None:
    """Bayes: a Huber residual of the mean voltage for each hypothesis, slowed to the correlation time."""
    expected, gaps = np.empty(POINTS), np.empty(POINTS)
    variance, lasting, slopes = np.empty(POINTS), np.empty(POINTS), np.empty(POINTS + 1)
    bias = s.bias_cell_a
    means = (s.w_i / s.w_s - bias, s.w_x1 / s.w_s - bias, s.w_x2 / s.w_s - bias, s.w_h / s.w_s)
    expect(s, p, s.w_time, means, expected, gaps, variance, lasting, slopes)
    best = -1e300
    for r in range(s.pasts):
        past = float(r - PASTS // 2) if s.pasts > 1 else 0.0
        best = max(best, _weigh_row(s, s.logw[r], past, expected, gaps, variance, lasting, slopes))
    for r in range(s.pasts):
        logw = s.logw[r]
        for k in range(POINTS):
            asleep = logw[k] > 0.5 * AWAY
            logw[k] = max(LEAST_LOG, logw[k] - AWAY if asleep else logw[k] - best)
    s.informed = 1


@njit(cache=True, nogil=True)
def _weigh_row(
    s: Any,
    logw: NDArray[np.float32],
    past: float,
    expected: NDArray[np.float64],
    gaps: NDArray[np.float64],
    variance: NDArray[np.float64],
    lasting: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> float:
    """Weigh one row of hypotheses, old evidence faded. Returns: log weight of its best.

    A residual within the doubts that last (hysteresis, open-circuit curve) tells little however often it is
    seen: they are the same from window to window, so there counted charge decides.
    """
    v, share, fade = s.w_v / s.w_s, s.w_time / CORRELATION_S, math.exp(-s.w_time / s.forget_s)
    use_bms = s.bms_trust > 0.05 and math.isfinite(s.bms)
    bms_share = s.bms_trust * s.w_time / BMS_CORRELATION_S
    first, f = (0, s.shift) if s.shift >= 0.0 else (-1, 1.0 + s.shift)
    best = -1e300
    for k in range(POINTS):
        old = logw[k] * fade
        if logw[k] > ASLEEP_LOG:
            j = k + first
            a, b = max(j, 0), min(j + 1, POINTS - 1)
            w = mix(variance[a], variance[b], f) + slopes[j + 1]
            same = mix(lasting[a], lasting[b], f) + slopes[j + 1]
            e = mix(expected[a], expected[b], f) + past * mix(gaps[a], gaps[b], f)
            q = abs(v - e) / math.sqrt(w)
            loss = 0.5 * q * q if q <= HUBER else HUBER * (q - 0.5 * HUBER)
            loss *= q * q / (q * q + same / w + 1e-12)  # the last: never 0 / 0
            old -= share * (loss + SURE_SHARE * math.log(w))
            if use_bms:
                q = abs((k + s.shift) * STEP - s.bms) / BMS_SD
                old -= bms_share * (0.5 * q * q if q <= 1.0 else q - 0.5)
            best = max(best, old)
            logw[k] = old
        else:
            logw[k] = old + AWAY  # asleep: keeps its distance from the best
    return best


@njit(cache=True, nogil=True)
def _summarise(s: Any, p: Any) -> None:
    """Mean and 95 % interval of the weights; what is settled thereby."""
    total, mean, square = 0.0, 0.0, 0.0
    mass = np.zeros(4 * POINTS + 8)  # quarter steps
    for r in range(s.pasts):
        for k in range(POINTS):
            if s.logw[r, k] > -20.0:
                w = math.exp(s.logw[r, k])
                z = min(float(POINTS - 1), max(0.0, k + s.shift))
                total += w
                mean += w * z
                square += w * z * z
                mass[int(4.0 * z + 4.0)] += w
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
    if s.pasts > 1 and s.seen_s > SETTLED_S and _past_is_known(s, p):
        _merge_pasts(s)
        s.pasts = 1
    _companion(s, p, sd)


@njit(cache=True, nogil=True)
def _companion(s: Any, p: Any, sd: float) -> None:
    """Start the Kalman filter where SoC has settled, follow its offset and capacity, call it back when lost."""
    kalman = s.kalman
    given_ah = p.capacity_ah * p.parallel
    if s.settled == 0:
        if s.pasts > 1 or sd > SETTLED_SD or s.seen_s < SETTLED_S:
            return
        s.settled = 1
        ekf.restart(kalman, p, s.soc, sd, s.h)
    elif abs(kalman.soc - s.soc) > LOST and sd < SETTLED_SD:
        ekf.recall(kalman, s.soc, sd, s.h)
    most_a, small_a = MOST_OFFSET_C * p.capacity_ah, SMALL_OFFSET_C * p.capacity_ah
    offset_a = min(most_a, max(-most_a, kalman.bias_a))
    s.bias_cell_a = offset_a * offset_a * offset_a / (offset_a * offset_a + small_a * small_a)
    s.bias_a = s.bias_cell_a * p.parallel
    s.rate_a = kalman.inverse / (3600.0 * p.capacity_ah)
    s.capacity_ah = given_ah / kalman.inverse
    spread = math.sqrt(kalman.p[5]) / kalman.inverse
    s.capacity_sd_ah = s.capacity_ah * math.sqrt(spread * spread + CAPACITY_DOUBT * CAPACITY_DOUBT)
    unsure_c = math.sqrt(kalman.p[3]) / p.capacity_ah
    s.forget_s = min(MOST_FORGET_S, max(LEAST_FORGET_S, AGE_SOC * 3600.0 / unsure_c))


@njit(cache=True, nogil=True)
def _past_is_known(s: Any, p: Any) -> bool:
    """What the start may still do to the voltage is small beside the usual doubts of it."""
    k = min(POINTS - 1, max(0, int(s.soc / STEP)))
    return bool(_past(s)[1] * p.half_gap_v[k] < max(p.sigma_v[k], H_DOUBT_LEAST * p.half_gap_v[k]))


@njit(cache=True, nogil=True)
def _past(s: Any) -> tuple[float, float]:
    """What the rows of the past say of hysteresis now, beside `h`: mean and spread."""
    total, mean, square = 0.0, 0.0, 0.0
    for r in range(PASTS):
        for k in range(POINTS):
            w = math.exp(s.logw[r, k])
            total += w
            mean += w * (r - PASTS // 2)
            square += w * (r - PASTS // 2) ** 2
    mean /= total
    return mean * s.h_doubt, math.sqrt(max(0.0, square / total - mean * mean)) * s.h_doubt


@njit(cache=True, nogil=True)
def _merge_pasts(s: Any) -> None:
    """One row instead of those of the past; hysteresis takes their mean and keeps their spread."""
    h, spread = _past(s)
    s.h += h
    s.h_doubt = spread
    for k in range(POINTS):
        total = 0.0
        for r in range(PASTS):
            total += math.exp(s.logw[r, k])
        s.logw[0, k] = max(LEAST_LOG, math.log(total / PASTS))
