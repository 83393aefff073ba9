"""What a state of charge is good for: energy left, time to a target, and health from calls.

Every figure comes with the bounds that follow from the 95 % interval of `dsp.soc`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.cell import POINTS

Array = NDArray[np.float64]
S_PER_H = 3600.0
LEAST_RATE_C = 1e-3  # slower than in 1000 hours is standing still
TURNS = 60


@dataclass(frozen=True)
class Bounded:
    """A figure with its 95 % interval; NaN throughout where it is unknown."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Health:
    """Capacity from calls. `sd_ah` holds both noise and what the calls disagree by."""

    capacity_ah: float
    sd_ah: float
    soh: float
    soh_sd: float
    calls: int


def energy_wh(params: NDArray[Any], from_soc: float, to_soc: float, capacity_ah: float) -> float:
    """Energy between two SoC at rest, positive upwards: integral of series x open-circuit voltage over charge.

    Args:
        capacity_ah: Of the pack, as found. [Ah]

    Source: W = integral of U dQ, by the trapezoidal rule, NIST DLMF, section 3.5(i).
    """
    p = params[0]
    area = _areas(p["ocv_v"].tobytes())
    pair = [_area_at(p["ocv_v"], area, min(1.0, max(0.0, soc))) for soc in (from_soc, to_soc)]
    return float((pair[1] - pair[0]) * p["series"] * capacity_ah)


@lru_cache(maxsize=32)
def _areas(ocv_v: bytes) -> Array:
    """Integral of an open-circuit voltage curve up to each of its points; the same for every row of a battery."""
    v = np.frombuffer(ocv_v)
    z = np.linspace(0.0, 1.0, POINTS)
    return np.concatenate([[0.0], np.cumsum(0.5 * (v[1:] + v[:-1]) * np.diff(z))])


def _area_at(ocv_v: Array, area: Array, soc: float) -> float:
    k = min(POINTS - 2, int(soc * (POINTS - 1)))
    f = soc * (POINTS - 1) - k
    return float(area[k] + f * (ocv_v[k] + 0.5 * f * (ocv_v[k + 1] - ocv_v[k])) / (POINTS - 1))


def available_wh(state: NDArray[Any], params: NDArray[Any], down_to_soc: float = 0.0) -> Bounded:
    """Energy left above `down_to_soc`, at rest: what a slow discharge gives; a fast one gives less."""
    s = state[0]
    figures = [
        energy_wh(params, down_to_soc, float(soc), float(s["capacity_ah"])) if soc == soc else math.nan
        for soc in (s["soc"], s["soc_low"], s["soc_high"])
    ]
    spread = 1.96 * float(s["capacity_sd_ah"]) / float(s["capacity_ah"])
    value, low, high = figures
    below = math.hypot(value - low, spread * value)
    above = math.hypot(high - value, spread * value)
    return (
        Bounded(max(0.0, value), max(0.0, value - below), max(0.0, value + above)) if value == value else NOTHING
    )


NOTHING = Bounded(math.nan, math.nan, math.nan)


def time_to_s(state: NDArray[Any], params: NDArray[Any], target_soc: float, current_a: float) -> Bounded:
    """Time until `target_soc` at the present current; 0 once there, NaN if it is not on the way.

    Constant current is assumed: near full a charger tapers, and it takes longer.

    Args:
        current_a: Of the pack, positive when charging; its mean over the last minute is a good choice. [A]
    """
    s, rate_a = state[0], current_a - float(state["bias_a"][0])
    capacity_ah = float(s["capacity_ah"])
    if rate_a > 0:
        rate_a *= float(params["efficiency"][0])
    if not (math.isfinite(float(s["soc"])) and math.isfinite(rate_a)):
        return NOTHING
    if float(s["soc"]) == target_soc:
        return Bounded(0.0, 0.0, 0.0)
    if abs(rate_a) < LEAST_RATE_C * capacity_ah:
        return NOTHING
    times = [
        (target_soc - float(soc)) * capacity_ah * S_PER_H / rate_a
        for soc in (s["soc"], s["soc_low"], s["soc_high"])
    ]
    if times[0] < 0:
        return NOTHING
    return Bounded(times[0], max(0.0, min(times)), max(times))


def health(
    dsoc: Array, dsoc_sd: Array, charge_ah: Array, charge_sd_ah: Array, rated_ah: float, forget: float = 1.0
) -> Health:
    """Capacity from calls: charge counted against the difference of SoC at both ends, both of them noisy.

    Ordinary least squares is biased low, for the SoC differences are noisy too. This is total least squares
    with a weight for each call: the minimum over Q of sum of (charge - Q dsoc)^2 / (sd_charge^2 + Q^2 sd_dsoc^2).
    Source: Plett, J. Power Sources 196 (2011) 2319-2331, weighted total least squares; found by Newton steps.

    Args:
        dsoc: SoC at the end less at the start. float64[n]
        dsoc_sd: Its standard deviation, above 0. float64[n]
        charge_ah: Counted in between; an offset found belongs taken off. float64[n] [Ah]
        charge_sd_ah: Its standard deviation, above 0. float64[n] [Ah]
        rated_ah: 100 % of health. [Ah]
        forget: Weight of a call relative to the next one. 0..1

    Raises: ValueError without a call that moved SoC, or with a spread that is not above 0.
    """
    n = len(dsoc)
    if n == 0 or not np.any(np.abs(dsoc) > 0):
        raise ValueError("no call that moved SoC: give one or more")
    if np.any(dsoc_sd <= 0) or np.any(charge_sd_ah <= 0) or not 0 < forget <= 1 or not rated_ah > 0:
        raise ValueError("every standard deviation and rated_ah must be above 0, forget in 0..1")
    weight = forget ** np.arange(n - 1, -1, -1.0)
    q = float(np.sum(weight * np.abs(charge_ah)) / np.sum(weight * np.abs(dsoc)))
    slope = curve = 0.0
    for _ in range(TURNS):
        spread = charge_sd_ah**2 + (q * dsoc_sd) ** 2
        e = charge_ah - q * dsoc
        slope = float(np.sum(weight * (-2 * e * dsoc / spread - 2 * q * dsoc_sd**2 * e**2 / spread**2)))
        curve = float(np.sum(weight * 2 * (dsoc + q * dsoc_sd**2 * e / spread) ** 2 / spread))  # Gauss-Newton: > 0
        move = -slope / curve
        q += min(0.2 * q, max(-0.2 * q, move))
        if abs(move) < 1e-12 * q:
            break
    misfit = float(np.sum(weight * (charge_ah - q * dsoc) ** 2 / (charge_sd_ah**2 + (q * dsoc_sd) ** 2)))
    effective = float(weight.sum())
    inflate = max(1.0, misfit / max(1.0, effective - 1.0)) if n > 1 else 1.0
    sd = math.sqrt(2.0 / curve * inflate)
    return Health(q, sd, q / rated_ah, sd / rated_ah, n)
