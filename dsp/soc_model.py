"""The circuit of `dsp.soc`: its constants, and what voltage it expects of each state of charge.

V = ocv(soc) + half_gap(soc) h + R0 i + R1 x1 + R2 x2: a second-order equivalent circuit with one state of
hysteresis; the lags are exact for a current held over a step. Resistances between and beyond identified
temperatures follow Arrhenius.
Source: G. L. Plett, Battery Management Systems, volume 1 (2015), chapter 2 (circuit, hysteresis by charge).
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
ZERO_C_K = 273.15

RESISTANCE_DOUBT = 0.5  # resistances differ between cells, with age and with the size of the current
BEYOND_DOUBT = 0.5  # of how far resistances are extrapolated past the identified temperatures
SOC_DOUBT = 0.006  # the open-circuit curve is true to so much in SoC
H_DOUBT_LEAST = 0.3  # of the half gap: one state is a rough picture of hysteresis
PAST_C_RATE = 0.3  # and was of about this size, in currents that fill the cell in an hour
PAST_S = 1200.0  # what a cell did that long ago still shows in its voltage
MODEL_SD = 0.008  # of the result, where the weights alone would be too sure
# Shares wrong for hours: of the drop, of hysteresis, and of its change with temperature.
LASTING_DOUBT, LASTING_GAP, LASTING_H_DOUBT = 0.15, 0.1, 0.35
LASTING_S, LEAST_SLOPE_V = 1800.0, 0.04  # mean of that drop; slope of the curve that turns it into SoC
GAP_S = 30.0  # a longer silence hides what the current did
USUAL_S = 3600.0  # time over which the usual current is taken

PASTS = 3  # rows of hypotheses: what the unseen past left in hysteresis is -1, 0 or 1


@njit(cache=True, nogil=True)
def move(s: Any, p: Any, dt_s: float, mean_a: float) -> None:
    """Lags, hysteresis and the charge of the window, which are the same for all hypotheses.

    Source: Plett, Battery Management Systems, volume 1, chapter 2: lags of a current held over a step, and
    hysteresis that moves with the charge. Departure: the current held is the mean of both ends.
    """
    charge = mean_a * dt_s * (p.efficiency if mean_a > 0.0 else 1.0)
    s.x1_a = mean_a + (s.x1_a - mean_a) * math.exp(-dt_s / p.tau1_s)
    s.x2_a = mean_a + (s.x2_a - mean_a) * math.exp(-dt_s / (p.tau2_s * s.slow))
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
def expect(
    s: Any,
    p: Any,
    time_s: float,
    means: tuple[float, float, float, float],
    expected: NDArray[np.float64],
    gaps: NDArray[np.float64],
    variance: NDArray[np.float64],
    lasting: NDArray[np.float64],
    slopes: NDArray[np.float64],
) -> None:
    """Fill in what a window should have measured at each point of SoC, and how far that is to be believed.

    Args:
        time_s: Covered by the window.
        means: Current, current behind both lags, and hysteresis: means of the window.
        expected, gaps: Voltage, and the half gap that the past may still explain. float64[POINTS]
        variance, lasting: Of the voltage, and the part of it that lasts for hours. float64[POINTS]
        slopes: Variance by what is doubtful in SoC itself, of the piece that ends at each point.
            float64[POINTS + 1]

    Source: Plett, Battery Management Systems, volume 1, chapter 2, the enhanced self-correcting cell model.
    Departure: the variance is ours, each share a doubt that the constants above name.
    """
    i, x1, x2, h = means
    t, t_share, factor = temperature(s.temp_c, p)
    t2 = min(t + 1, p.temps - 1)
    s.slow = slow_factor(s.temp_c, p)
    past_a = PAST_C_RATE * p.capacity_ah * s.past_doubt
    beyond = BEYOND_DOUBT * abs(factor - 1.0)
    doubt_of_r = math.sqrt(RESISTANCE_DOUBT * RESISTANCE_DOUBT + beyond * beyond)
    warmth = 1.0 / (s.temp_c + ZERO_C_K) - 1.0 / (25.0 + ZERO_C_K)
    width = math.exp(p.hysteresis_activation_k * warmth)
    past_h = 0.0 if s.pasts > 1 else s.h_doubt  # else each row has its own
    doubt_of_h = width * (H_DOUBT_LEAST + (1.0 - H_DOUBT_LEAST) * past_h)
    for k in range(POINTS):
        r0 = factor * mix(p.r_ohm[t, 0, k], p.r_ohm[t2, 0, k], t_share)
        r1 = factor * mix(p.r_ohm[t, 1, k], p.r_ohm[t2, 1, k], t_share)
        r2 = s.slow * mix(p.r_ohm[t, 2, k], p.r_ohm[t2, 2, k], t_share)
        ohmic = r0 * i + r1 * x1 + r2 * x2
        expected[k] = p.ocv_v[k] + width * p.half_gap_v[k] * h + ohmic
        gaps[k] = width * p.half_gap_v[k] * s.h_doubt
        doubt_r, doubt_h, doubt_past = doubt_of_r * ohmic, doubt_of_h * p.half_gap_v[k], (r1 + r2) * past_a
        lasting[k] = doubt_h * doubt_h
        variance[k] = p.sigma_v[k] ** 2 + doubt_r * doubt_r + lasting[k] + doubt_past * doubt_past
    slopes[0] = slopes[POINTS] = 0.0
    for k in range(1, POINTS):
        d = SOC_DOUBT * (p.ocv_v[k] - p.ocv_v[k - 1]) / STEP
        slopes[k] = d * d
    place = 0 if s.informed == 0 else min(POINTS - 1, max(0, int(s.soc / STEP)))
    drop = expected[place] - p.ocv_v[place] - width * p.half_gap_v[place] * h
    s.drop_v += (drop - s.drop_v) * min(1.0, time_s / min(LASTING_S, s.seen_s + 1.0))
    for k in range(3):
        s.r_near[k] = (factor if k < 2 else s.slow) * mix(p.r_ohm[t, k, place], p.r_ohm[t2, k, place], t_share)
    s.sigma_near = p.sigma_v[place]


@njit(cache=True, nogil=True)
def temperature(temp_c: float, p: Any) -> tuple[int, float, float]:
    """Place between the identified temperatures (as Arrhenius curves lie), and the factor beyond them.

    Source: S. Arrhenius, Zeitschrift fuer physikalische Chemie 4 (1889) 226-248: exp(activation / T).
    """
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
def slow_factor(temp_c: float, p: Any) -> float:
    """What R2 and tau2 are multiplied by beyond the identified temperatures.

    Source: as `temperature`; diffusion has an activation of its own.
    """
    inside_c = min(max(temp_c, p.temp_c[0]), p.temp_c[p.temps - 1])
    return math.exp(p.slow_activation_k * (1.0 / (temp_c + ZERO_C_K) - 1.0 / (inside_c + ZERO_C_K)))


@njit(cache=True, nogil=True)
def mix(a: float, b: float, share: float) -> float:
    """The value `share` of the way from `a` to `b`."""
    return a + (b - a) * share


@njit(cache=True, nogil=True)
def lasting_sd(s: Any, p: Any) -> float:
    """What no amount of evidence takes away: errors of the model that last for hours, as SoC.

    Source: ours; the shares are such that the interval holds the truth on the developers' recordings.
    """
    k = min(POINTS - 1, max(0, int(s.soc / STEP)))
    a, b = max(0, k - 10), min(POINTS - 1, k + 10)
    slope = max(LEAST_SLOPE_V, (p.ocv_v[b] - p.ocv_v[a]) / ((b - a) * STEP))
    warmth = 1.0 / (s.temp_c + ZERO_C_K) - 1.0 / (25.0 + ZERO_C_K)
    change = math.exp(p.hysteresis_activation_k * warmth) - 1.0
    drop, gap = (
        LASTING_DOUBT * s.drop_v / slope,
        (LASTING_GAP + LASTING_H_DOUBT * change) * p.half_gap_v[k] / slope,
    )
    return float(math.sqrt(MODEL_SD * MODEL_SD + drop * drop + gap * gap))
