"""Fewer points for the same curve: swinging door with a guaranteed error, largest triangles for plots."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

GUARD = 2.0**-49  # of a value's size: what rounding can add to an interpolated one

DOOR = np.dtype(
    [
        ("kept", "i8"),  # a point has been kept
        ("kept_t_ns", "i8"),
        ("kept_value", "f8"),
        ("waiting", "i8"),  # a point after it has not been decided on
        ("wait_t_ns", "i8"),
        ("wait_value", "f8"),
        ("low", "f8"),  # slopes that pass all points since, within the bound
        ("high", "f8"),
        ("out_of_order", "i8"),
    ]
)
POINT = np.dtype([("t_ns", "i8"), ("value", "f8")])


def init() -> NDArray[Any]:
    """State of a signal of which nothing has been kept."""
    return np.zeros(1, DOOR)


@njit(cache=True, nogil=True)
def step(state: NDArray[Any], t_ns: int, value: float, bound: float, heartbeat_ns: int, out: NDArray[Any]) -> int:
    """Take a sample; write the points that are now known to be kept.

    Straight lines between kept points pass every sample within `bound`, which may be 0. A point is a candidate
    only while the line to it does; the classic door keeps points whose line need not, and its error can reach
    twice the bound. NaN is kept once where silence begins; the sample before and after it are kept too.

    Args:
        state: From `init`. DOOR[1]
        t_ns: Must go forward, else the sample is counted and ignored. [ns]
        value: NaN for unknown.
        bound: Largest error of a line, in the value's unit. >= 0
        heartbeat_ns: Longest time between kept points, at the rate of the samples. [ns]
        out: Receives points in order of time. POINT[k], k >= 2

    Returns: points written, 0 to 2.
    Source: E. H. Bristol, swinging door trending, US patent 4 669 097 (1987), with the candidate's own slope
        checked; like the cone intersection of J. Sklansky and V. Gonzalez, Pattern Recognition 12 (1980).
    """
    s = state[0]
    n: int = 0
    newest_ns = s.wait_t_ns if s.waiting != 0 else s.kept_t_ns
    if s.kept != 0 and t_ns <= newest_ns:
        s.out_of_order += 1
        return 0
    if s.kept == 0:
        return int(_keep(s, t_ns, value, out, 0))
    if math.isnan(value) or math.isnan(s.kept_value):
        if math.isnan(value) and math.isnan(s.kept_value):
            s.waiting, s.wait_t_ns, s.wait_value = 1, t_ns, value  # the silence lasts; its end is the next point
            return int(_beat(s, heartbeat_ns, out))
        if s.waiting != 0:
            n = _keep(s, s.wait_t_ns, s.wait_value, out, n)
        return int(_keep(s, t_ns, value, out, n))
    slope = (value - s.kept_value) / (t_ns - s.kept_t_ns)
    if s.waiting != 0 and not (s.low <= slope <= s.high and t_ns - s.kept_t_ns <= heartbeat_ns):
        n = _keep(s, s.wait_t_ns, s.wait_value, out, n)
        slope = (value - s.kept_value) / (t_ns - s.kept_t_ns)
    length = float(t_ns - s.kept_t_ns)
    room = bound - GUARD * (abs(value) + abs(s.kept_value) + bound)
    if room >= 0.0:
        s.low = max(s.low, slope - room / length)
        s.high = min(s.high, slope + room / length)
    else:  # a bound below what numbers can tell: only this very line passes, and no other point
        s.low, s.high = math.inf, -math.inf
    s.waiting, s.wait_t_ns, s.wait_value = 1, t_ns, value
    return n


@njit(cache=True, nogil=True)
def flush(state: NDArray[Any], out: NDArray[Any]) -> int:
    """Keep the last sample too, as at the end of a recording. Returns: points written, 0 or 1."""
    s = state[0]
    return int(_keep(s, s.wait_t_ns, s.wait_value, out, 0)) if s.waiting != 0 else 0


@njit(cache=True, nogil=True)
def swinging_door(
    t_ns: NDArray[np.int64], values: NDArray[np.float64], bound: float, heartbeat_ns: int, out: NDArray[Any]
) -> int:
    """`step` and `flush` over a recording. `out` needs a place for each sample. Returns: points kept."""
    state = np.zeros(1, DOOR)
    n: int = 0
    two = np.zeros(2, POINT)
    for i in range(t_ns.shape[0]):
        found: int = step(state, t_ns[i], values[i], bound, heartbeat_ns, two)
        for k in range(found):
            out[n] = two[k]
            n += 1
    n += flush(state, out[n:])
    return n


@njit(cache=True, nogil=True)
def _keep(s: Any, t_ns: int, value: float, out: NDArray[Any], n: int) -> int:
    out[n].t_ns, out[n].value = t_ns, value
    s.kept, s.kept_t_ns, s.kept_value = 1, t_ns, value
    s.waiting = 0
    s.low, s.high = -math.inf, math.inf
    return n + 1


@njit(cache=True, nogil=True)
def _beat(s: Any, heartbeat_ns: int, out: NDArray[Any]) -> int:
    """In silence, a NaN now and then shows that the reader lives."""
    if s.wait_t_ns - s.kept_t_ns < heartbeat_ns:
        return 0
    return int(_keep(s, s.wait_t_ns, s.wait_value, out, 0))


@njit(cache=True, nogil=True)
def largest_triangles(t_ns: NDArray[np.int64], values: NDArray[np.float64], chosen: NDArray[np.int64]) -> int:
    """Choose samples that keep the look of a curve: first, last, and of each bucket the largest triangle.

    Its corners are the sample chosen before, one of the bucket, and the mean of the next bucket. NaN is never
    chosen unless nothing else is there; a bucket of NaN gives its first, so that a hole stays a hole.

    Args:
        t_ns: In order. int64[n] [ns]
        values: float64[n]
        chosen: Receives indices, rising. int64[m], m >= 2

    Returns: indices written: m, or n if the recording has no more than m.
    Source: S. Steinarsson, Downsampling Time Series for Visual Representation (University of Iceland, 2013),
        section 4.2, largest triangle three buckets.
    """
    n, m = t_ns.shape[0], chosen.shape[0]
    if n <= m:
        for i in range(n):
            chosen[i] = i
        return int(n)
    chosen[0] = last = 0
    for bucket in range(m - 2):
        start, stop = 1 + bucket * (n - 2) // (m - 2), 1 + (bucket + 1) * (n - 2) // (m - 2)
        next_stop = 1 + (bucket + 2) * (n - 2) // (m - 2) if bucket < m - 3 else n
        mean_t, mean_v, count = 0.0, 0.0, 0
        for i in range(stop, next_stop):
            if not math.isnan(values[i]):
                mean_t += t_ns[i] - t_ns[0]
                mean_v += values[i]
                count += 1
        if count > 0:
            mean_t, mean_v = mean_t / count, mean_v / count
        from_t = float(t_ns[last] - t_ns[0])
        best, best_area = start, -1.0
        for i in range(start, stop):
            if math.isnan(values[i]):
                continue
            area = 0.0
            if count > 0 and not math.isnan(values[last]):
                across = (from_t - mean_t) * (values[i] - values[last])
                area = abs(across - (from_t - (t_ns[i] - t_ns[0])) * (mean_v - values[last]))
            if area > best_area:
                best, best_area = i, area
        chosen[bucket + 1] = last = best
    chosen[m - 1] = n - 1
    return int(m)
