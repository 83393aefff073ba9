"""An extended Kalman filter of SoC with the sensor's offset and the capacity: beside `dsp.soc`.

States are SoC, the offset of the current sensor and the inverse of the capacity, relative to the one given;
the voltages behind both RC pairs and the hysteresis follow the measured current. It is quick and finds an
offset well, but linearises: on an LFP plateau it may settle on the wrong one of several maxima, so its SoC is
for comparison, and `dsp.soc_grid` starts it and calls it back. Written out for three states, since `np.linalg`
in a kernel loads SciPy.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dsp.cell import POINTS
from dsp.soc_model import GAP_S, NS_PER_S, ZERO_C_K, slow_factor, temperature

CORRELATION_S = 600.0  # one piece of evidence: what looks like an offset or a capacity is wrong for long
SD_OFFSET_C, SD_CAPACITY = 0.02, 0.03  # at the start; of the current that fills the cell in an hour, relative
WALK_SOC, WALK_OFFSET_C, WALK_CAPACITY = 2e-5, 1e-5, 2e-6  # a square root of a second
RESISTANCE_DOUBT = 0.3
LEAST_SD = 0.01  # of a SoC that comes from another filter
GATE = 4.0  # innovations beyond so many sigmas are cut
STATE = np.dtype(
    [
        ("soc", "f8"), ("bias_a", "f8"), ("inverse", "f8"),  # bias per cell; given capacity over the present one
        ("p", "f8", 6),  # covariance: zz, zb, zq, bb, bq, qq
        ("t_ns", "i8"), ("current_a", "f8"), ("x1_a", "f8"), ("x2_a", "f8"), ("h", "f8"),
    ]
)  # fmt: skip


def init(params: NDArray[Any], soc0: float = 0.5, soc0_sigma: float = 0.3) -> NDArray[Any]:
    """State of a pack about to be seen. Raises: ValueError if the guess is not in 0..1, or has no width."""
    if not (0.0 <= soc0 <= 1.0 and soc0_sigma > 0.0):
        raise ValueError(f"soc0 = {soc0} with sigma {soc0_sigma}: give 0..1 and a sigma above 0")
    state = np.zeros(1, STATE)
    state["soc"], state["inverse"], state["t_ns"] = soc0, 1.0, -1
    bias_sd = SD_OFFSET_C * float(params["capacity_ah"][0])
    state["p"][0] = (soc0_sigma**2, 0.0, 0.0, bias_sd**2, 0.0, SD_CAPACITY**2)
    return state


@njit(cache=True, nogil=True)
def step(
    state: NDArray[Any], params: NDArray[Any], t_ns: int, voltage_v: float, current_a: float, temp_c: float
) -> None:
    """Take one row of a pack, as `dsp.soc.step` does. Unknown values and time not forward are left.

    Source: Plett, J. Power Sources 134 (2004) 262-292, parts 2 and 3. Departures: noise counts as often as
    rows are independent (`CORRELATION_S`), and an innovation is cut at `GATE` sigmas.
    """
    _step(state[0], params[0], t_ns, voltage_v, current_a, temp_c)


@njit(cache=True, nogil=True)
def run(
    state: NDArray[Any], params: NDArray[Any], t_ns: NDArray[np.int64], voltage_v: NDArray[np.float64],
    current_a: NDArray[np.float64], temp_c: NDArray[np.float64],
) -> NDArray[np.float64]:  # fmt: skip
    """`step` over a recording. Returns: soc after each row. float64[n]"""
    soc = np.empty(t_ns.shape[0])
    s, p = state[0], params[0]
    for k in range(t_ns.shape[0]):
        _step(s, p, t_ns[k], voltage_v[k], current_a[k], temp_c[k])
        soc[k] = s.soc
    return soc


@njit(cache=True, nogil=True)
def _step(s: Any, p: Any, t_ns: int, voltage_v: float, current_a: float, temp_c: float) -> None:
    i, v = current_a / p.parallel, voltage_v / p.series
    if not (math.isfinite(i) and math.isfinite(v)):
        return
    if not -60.0 <= temp_c <= 100.0:
        temp_c = 25.0
    dt = 0.0
    if s.t_ns >= 0:
        dt = (t_ns - s.t_ns) / NS_PER_S
        if dt <= 0.0:
            return
        predict(s, p, dt, 0.5 * (s.current_a + i))
    s.t_ns, s.current_a = t_ns, i
    correct(s, p, v, i, temp_c, min(max(dt, 0.1), GAP_S))


@njit(cache=True, nogil=True)
def predict(s: Any, p: Any, dt: float, mean_a: float) -> None:
    """Count the charge of `dt` seconds, per cell; a silence over `GAP_S` is doubted.

    Source: Plett, J. Power Sources 134 (2004) 262-292, parts 2 and 3 (prediction), written out.
    """
    charge = (mean_a - s.bias_a) * dt * (p.efficiency if mean_a > 0.0 else 1.0)
    per = 1.0 / (3600.0 * p.capacity_ah)
    s.soc = min(1.05, max(-0.05, s.soc + charge * per * s.inverse))
    e1, e2 = math.exp(-dt / p.tau1_s), math.exp(-dt / p.tau2_s)
    s.x1_a, s.x2_a = mean_a + (s.x1_a - mean_a) * e1, mean_a + (s.x2_a - mean_a) * e2
    if charge != 0.0 and p.hysteresis_rate > 0.0:
        goal = 1.0 if charge > 0.0 else -1.0
        s.h = goal + (s.h - goal) * math.exp(-p.hysteresis_rate * abs(charge) * per)
    fb, fq = -dt * per * s.inverse, charge * per  # of SoC after offset and inverse capacity
    zz, zb, zq, bb, bq, qq = s.p[0], s.p[1], s.p[2], s.p[3], s.p[4], s.p[5]
    spread = 0.0 if dt <= GAP_S else dt * per * p.capacity_ah * 0.3
    s.p[0] = zz + 2.0 * (fb * zb + fq * zq + fb * fq * bq) + fb * fb * bb + fq * fq * qq
    s.p[0] += WALK_SOC * WALK_SOC * dt + spread * spread
    s.p[1] = zb + fb * bb + fq * bq
    s.p[2] = zq + fb * bq + fq * qq
    walk = WALK_OFFSET_C * p.capacity_ah
    s.p[3] = bb + walk * walk * dt
    s.p[5] = qq + WALK_CAPACITY * WALK_CAPACITY * dt


@njit(cache=True, nogil=True)
def correct(s: Any, p: Any, v: float, i: float, temp_c: float, held_s: float) -> None:
    """Compare a cell's voltage, which stands for `held_s` seconds, with what the circuit expects.

    Source: Plett, J. Power Sources 134 (2004) 262-292, parts 2 and 3 (correction), written out. Departures:
    as `step`.
    """
    t, share, factor = temperature(temp_c, p)
    t2 = min(t + 1, p.temps - 1)
    place = min(1.0, max(0.0, s.soc)) * (POINTS - 1)
    a = min(POINTS - 2, int(place))
    f = place - a
    r0, r1, r2 = 0.0, 0.0, 0.0
    for k, w in ((a, 1.0 - f), (a + 1, f)):
        r0 += w * (p.r_ohm[t, 0, k] + (p.r_ohm[t2, 0, k] - p.r_ohm[t, 0, k]) * share)
        r1 += w * (p.r_ohm[t, 1, k] + (p.r_ohm[t2, 1, k] - p.r_ohm[t, 1, k]) * share)
        r2 += w * (p.r_ohm[t, 2, k] + (p.r_ohm[t2, 2, k] - p.r_ohm[t, 2, k]) * share)
    width = 1.0
    if p.hysteresis_activation_k > 0.0:
        width = math.exp(p.hysteresis_activation_k * (1.0 / (temp_c + ZERO_C_K) - 1.0 / (25.0 + ZERO_C_K)))
    gap = width * (p.half_gap_v[a] * (1.0 - f) + p.half_gap_v[a + 1] * f)
    slow = factor if p.slow_activation_k == p.activation_k else slow_factor(temp_c, p)
    ohmic = factor * (r0 * i + r1 * s.x1_a) + slow * r2 * s.x2_a
    hz = max(0.02, (p.ocv_v[a + 1] - p.ocv_v[a]) * (POINTS - 1))
    hb = -factor * (r0 + r1) - slow * r2
    expected = p.ocv_v[a] * (1.0 - f) + p.ocv_v[a + 1] * f + gap * s.h + ohmic + hb * s.bias_a
    doubt, doubt_h = RESISTANCE_DOUBT * ohmic, 0.3 * gap
    noise = (p.sigma_v[a] * p.sigma_v[a] + doubt * doubt + doubt_h * doubt_h) * CORRELATION_S / held_s
    cz, cb = hz * s.p[0] + hb * s.p[1], hz * s.p[1] + hb * s.p[3]
    cq = hz * s.p[2] + hb * s.p[4]
    total = hz * cz + hb * cb + noise
    limit = GATE * math.sqrt(total)
    e = min(limit, max(-limit, v - expected))
    kz, kb, kq = cz / total, cb / total, cq / total
    s.soc = min(1.0, max(0.0, s.soc + kz * e))
    s.bias_a += kb * e
    s.inverse = min(2.0, max(0.7, s.inverse + kq * e))
    s.p[0] = max(1e-8, s.p[0] - kz * cz)
    s.p[1] -= kz * cb
    s.p[2] -= kz * cq
    s.p[3] = max(1e-12, s.p[3] - kb * cb)
    s.p[4] -= kb * cq
    s.p[5] = max(1e-8, s.p[5] - kq * cq)


@njit(cache=True, nogil=True)
def restart(s: Any, p: Any, soc: float, sd: float, h: float) -> None:
    """Begin anew from a SoC that another filter found."""
    s.bias_a, s.inverse = 0.0, 1.0
    bias_sd = SD_OFFSET_C * p.capacity_ah
    s.p[3], s.p[4], s.p[5] = bias_sd * bias_sd, 0.0, SD_CAPACITY * SD_CAPACITY
    recall(s, soc, sd, h)


@njit(cache=True, nogil=True)
def recall(s: Any, soc: float, sd: float, h: float) -> None:
    """Take a SoC that another filter found; offset and capacity stay."""
    s.soc, s.h = soc, h
    s.p[0], s.p[1], s.p[2] = sd * sd + LEAST_SD * LEAST_SD, 0.0, 0.0
