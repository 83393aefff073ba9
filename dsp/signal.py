"""What is wrong with a measured signal, and plain figures of a good one.

Spikes (Hampel), stuck, out of range, saturated, too fast; time-weighted mean, rate of change, time in a band.
NaN is unknown throughout: it is passed over, and time next to it is not counted.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, for a normal distribution
LONGEST = 31  # samples of the Hampel window

OUT_OF_RANGE, STUCK, SATURATED, TOO_FAST = 1, 2, 4, 8  # bits

CHECK = np.dtype(
    [
        ("t_ns", "i8"),
        ("value", "f8"),
        ("held", "f8"),  # the value that it has not left ...
        ("held_ns", "i8"),  # ... since
        ("at_limit", "i8"),  # samples in a row
    ]
)
WINDOW = np.dtype([("count", "i8"), ("value", "f8", LONGEST)])


def check_init() -> NDArray[Any]:
    """State of a signal that has not been seen."""
    state = np.zeros(1, CHECK)
    state["t_ns"] = -1
    state["value"] = state["held"] = np.nan
    return state


@njit(cache=True, nogil=True)
def check_step(
    state: NDArray[Any],
    t_ns: int,
    value: float,
    low: float,
    high: float,
    stuck_band: float,
    stuck_ns: int,
    sensor_low: float,
    sensor_high: float,
    saturated_after: int,
    most_per_s: float,
) -> int:
    """Judge one sample by itself and by those before it.

    Args:
        state: From `check_init`. CHECK[1]
        t_ns: Time of the sample; one that does not go forward is ignored and gives 0. [ns]
        value: NaN is unknown and gives 0; it does not interrupt being stuck.
        low, high: What can be, in the signal's unit. Outside is `OUT_OF_RANGE`.
        stuck_band, stuck_ns: `STUCK` when the value has stayed within the band of one value for so long. The
            caller asks only while the signal should move; 0 nanoseconds switches the check off.
        sensor_low, sensor_high: Ends of the sensor's scale; at or beyond one for `saturated_after` samples in a
            row is `SATURATED`.
        most_per_s: Largest change that the quantity can make; more since the last known sample is `TOO_FAST`.

    Returns: bits.
    """
    s = state[0]
    if t_ns <= s.t_ns or math.isnan(value):
        return 0
    found: int = 0
    if value < low or value > high:
        found |= OUT_OF_RANGE
    if not abs(value - s.held) <= stuck_band:
        s.held, s.held_ns = value, t_ns
    elif stuck_ns > 0 and t_ns - s.held_ns >= stuck_ns:
        found |= STUCK
    s.at_limit = s.at_limit + 1 if value <= sensor_low or value >= sensor_high else 0
    if saturated_after > 0 and s.at_limit >= saturated_after:
        found |= SATURATED
    if s.t_ns >= 0 and abs(value - s.value) > most_per_s * (t_ns - s.t_ns) / NS_PER_S:
        found |= TOO_FAST
    s.t_ns, s.value = t_ns, value
    return found


def hampel_init() -> NDArray[Any]:
    """State of an empty window."""
    return np.zeros(1, WINDOW)


@njit(cache=True, nogil=True)
def hampel_step(state: NDArray[Any], value: float, half: int, sigmas: float, least: float) -> tuple[float, bool]:
    """Take a sample; give the one `half` samples back, despiked, and whether it was a spike.

    A spike lies more than `sigmas` robust standard deviations, and more than `least`, from the median of the
    window around it, and becomes that median. NaN stays NaN and is left out of the medians.

    Args:
        state: From `hampel_init`. WINDOW[1]
        value: Any unit.
        half: Samples on either side, 1 .. 15; the answer comes so many samples late.
        sigmas: Usually 3.
        least: A deviation up to this is never a spike: the sensor's resolution.

    Returns: NaN and False until the first window is full.
    Source: F. R. Hampel, J. Am. Stat. Assoc. 69 (1974); R. K. Pearson, Exploring Data (2011), section 7.5.
    """
    s = state[0]
    size = 2 * half + 1
    for k in range(size - 1):
        s.value[k] = s.value[k + 1]
    s.value[size - 1] = value
    s.count += 1
    if s.count < size:
        return math.nan, False
    despiked: tuple[float, bool] = _despike(s.value[:size], half, sigmas, least)
    return despiked


@njit(cache=True, nogil=True)
def hampel(values: NDArray[np.float64], half: int, sigmas: float, least: float, out: NDArray[np.float64]) -> int:
    """`hampel_step` over a recording; the first and last `half` samples are passed as they are.

    Returns: spikes replaced.
    """
    n: int = 0
    for i in range(values.shape[0]):
        out[i] = values[i]
        if half <= i < values.shape[0] - half:
            out[i], spike = _despike(values[i - half : i + half + 1], half, sigmas, least)
            n += spike
    return n


@njit(cache=True, nogil=True)
def _despike(window: NDArray[np.float64], at: int, sigmas: float, least: float) -> tuple[float, bool]:
    value = window[at]
    if math.isnan(value):
        return math.nan, False
    known = np.empty(LONGEST)
    n = 0
    for k in range(window.shape[0]):
        if not math.isnan(window[k]):
            known[n] = window[k]
            n += 1
    middle = _median(known, n)
    for k in range(n):
        known[k] = abs(known[k] - middle)
    spread = TO_SIGMA * _median(known, n)
    if abs(value - middle) > max(sigmas * spread, least):
        return middle, True
    return float(value), False


@njit(cache=True, nogil=True)
def _median(values: NDArray[np.float64], n: int) -> float:
    """Sorts the first n in place, by insertion: they are few."""
    for i in range(1, n):
        value, k = values[i], i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value
    return float(0.5 * (values[(n - 1) // 2] + values[n // 2]))


@njit(cache=True, nogil=True)
def mean(t_ns: NDArray[np.int64], values: NDArray[np.float64], max_gap_ns: int) -> tuple[float, int]:
    """Mean over time, straight lines between samples, gaps left out.

    Args:
        t_ns: int64[n] [ns]
        values: float64[n], any unit
        max_gap_ns: Longest step that a straight line may bridge. [ns]

    Returns: the mean, NaN if no time is covered, and the covered time [ns].
    Source: composite trapezoidal rule, NIST DLMF, section 3.5(i), over its own length; the sum is compensated.
    """
    total, lost, covered_ns = 0.0, 0.0, 0
    for i in range(1, t_ns.shape[0]):
        step_ns = t_ns[i] - t_ns[i - 1]
        doubled = values[i - 1] + values[i]
        if 0 < step_ns <= max_gap_ns and math.isfinite(doubled):
            term = doubled * step_ns
            before, total = total, total + term
            of_term = total - before
            lost += (before - (total - of_term)) + (term - of_term)
            covered_ns += step_ns
    return ((total + lost) / (2.0 * covered_ns) if covered_ns > 0 else math.nan), covered_ns


@njit(cache=True, nogil=True)
def slope_per_s(t_ns: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """Rate of change: slope of the least-squares line, unit per second; NaN with fewer than two instants.

    Args: t_ns int64[n] [ns]; values float64[n], NaN left out.
    Source: least-squares line, NIST/SEMATECH e-Handbook of Statistical Methods, section 4.4.3.1; about the means.
    """
    n, mean_s, mean_v = 0, 0.0, 0.0
    for i in range(t_ns.shape[0]):
        if math.isfinite(values[i]):
            n += 1
            mean_s += ((t_ns[i] - t_ns[0]) / NS_PER_S - mean_s) / n
            mean_v += (values[i] - mean_v) / n
    top, bottom = 0.0, 0.0
    for i in range(t_ns.shape[0]):
        if math.isfinite(values[i]):
            x = (t_ns[i] - t_ns[0]) / NS_PER_S - mean_s
            top += x * (values[i] - mean_v)
            bottom += x * x
    return top / bottom if bottom > 0.0 else math.nan


@njit(cache=True, nogil=True)
def time_in_band(
    t_ns: NDArray[np.int64],
    level_m: NDArray[np.float64],
    datum_m: float,
    low_m: float,
    high_m: float,
    max_gap_ns: int,
) -> tuple[float, float, float]:
    """Seconds that a level spends below, inside and above a band over its datum, crossings interpolated.

    Args:
        t_ns: int64[n] [ns]
        level_m: As measured. float64[n] [m]
        datum_m: Height of the band's zero in the level's own datum. [m]
        low_m, high_m: The band, ends included; low_m <= high_m. [m above datum_m]
        max_gap_ns: Longest step that a straight line may bridge. [ns]

    Returns: seconds below, inside, above; what is missing to the whole time is not known.
    Source: straight lines between samples; the share of one below x is (x - a) / (b - a), held to 0 .. 1.
    """
    below, inside, above = 0.0, 0.0, 0.0
    for i in range(1, t_ns.shape[0]):
        step_ns = t_ns[i] - t_ns[i - 1]
        a, b = level_m[i - 1] - datum_m, level_m[i] - datum_m
        if 0 < step_ns <= max_gap_ns and math.isfinite(a + b):
            first, last = min(a, b), max(a, b)
            step_s = step_ns / NS_PER_S
            under_low = _share_below(first, last, low_m, False) * step_s
            under_high = _share_below(first, last, high_m, True) * step_s
            below += under_low
            inside += under_high - under_low
            above += step_s - under_high
    return below, inside, above


@njit(cache=True, nogil=True)
def _share_below(first: float, last: float, edge: float, with_edge: bool) -> float:
    if last < edge or (with_edge and last == edge):
        return 1.0
    if first >= edge:
        return 0.0
    return (edge - first) / (last - first)
