"""Definitions of `dsp.signal` and `dsp.compress`, slow and exact."""

import math
import statistics
from fractions import Fraction
from itertools import pairwise
from typing import Any

S = 1_000_000_000


def hampel(values: list[float], half: int, sigmas: float, least: float) -> list[float]:
    """Each sample, or its window's median where it lies too far from it."""
    out = list(values)
    for i in range(half, len(values) - half):
        window = [v for v in values[i - half : i + half + 1] if v == v]
        if values[i] != values[i]:
            continue
        middle = statistics.median(window)
        spread = 1.4826 * statistics.median([abs(v - middle) for v in window])
        if abs(values[i] - middle) > max(sigmas * spread, least):
            out[i] = middle
    return out


def pieces(t_ns: Any, values: Any, max_gap_ns: int) -> list[tuple[int, Fraction, Fraction]]:
    """Straight pieces that count: length, value at both ends."""
    return [
        (int(t1) - int(t0), Fraction(v0), Fraction(v1))
        for t0, t1, v0, v1 in zip(t_ns[:-1], t_ns[1:], values[:-1], values[1:], strict=True)
        if 0 < int(t1) - int(t0) <= max_gap_ns and math.isfinite(v0) and math.isfinite(v1)
    ]


def mean(t_ns: Any, values: Any, max_gap_ns: int) -> Fraction | None:
    found = pieces(t_ns, values, max_gap_ns)
    whole = sum(length for length, _, _ in found)
    return sum(((a + b) / 2 * length for length, a, b in found), Fraction(0)) / whole if whole else None


def slope_per_s(t_ns: Any, values: Any) -> Fraction | None:
    points = [(Fraction(int(t), S), Fraction(v)) for t, v in zip(t_ns, values, strict=True) if math.isfinite(v)]
    if len({t for t, _ in points}) < 2:
        return None
    mean_t = sum(t for t, _ in points) / len(points)
    mean_v = sum(v for _, v in points) / len(points)
    return sum((t - mean_t) * (v - mean_v) for t, v in points) / sum((t - mean_t) ** 2 for t, _ in points)


def time_in_band(t_ns: Any, values: Any, low: float, high: float, max_gap_ns: int) -> tuple[Fraction, ...]:
    """Cut each piece where it crosses an edge; each part lies where its middle lies."""
    seconds = [Fraction(0)] * 3
    for length, a, b in pieces(t_ns, values, max_gap_ns):
        cuts = {Fraction(0), Fraction(1)}
        for edge in (Fraction(low), Fraction(high)):
            if a != b and 0 < (x := (edge - a) / (b - a)) < 1:
                cuts.add(x)
        at = sorted(cuts)
        for x, y in pairwise(at):
            middle = a + (b - a) * (x + y) / 2
            seconds[0 if middle < Fraction(low) else 1 if middle <= Fraction(high) else 2] += (y - x) * length / S
    return tuple(seconds)


def worst_error(t_ns: Any, values: Any, kept: list[tuple[int, float]]) -> Fraction:
    """Largest distance of a known sample from the straight lines between kept points."""
    worst = Fraction(0)
    for t, v in zip(t_ns, values, strict=True):
        if v != v:
            continue
        before = max((p for p in kept if p[0] <= t), key=lambda p: p[0])
        after = min((p for p in kept if p[0] >= t), key=lambda p: p[0])
        line = Fraction(before[1])
        if after[0] > before[0]:
            line += (Fraction(after[1]) - Fraction(before[1])) * Fraction(int(t) - before[0], after[0] - before[0])
        worst = max(worst, abs(Fraction(v) - line))
    return worst


def largest_triangles(t_ns: Any, values: Any, m: int) -> list[int]:
    """Three buckets at a time, areas by the shoelace formula, exact. No NaN."""
    n = len(t_ns)
    if n <= m:
        return list(range(n))
    edges = [1 + k * (n - 2) // (m - 2) for k in range(m - 1)]
    chosen = [0]
    for k in range(m - 2):
        following = range(edges[k + 1], edges[k + 2]) if k < m - 3 else range(n - 1, n)
        cx = Fraction(sum(int(t_ns[i]) for i in following), len(following))
        cy = sum((Fraction(values[i]) for i in following), Fraction(0)) / len(following)
        ax, ay = int(t_ns[chosen[-1]]), Fraction(values[chosen[-1]])
        areas = {
            i: abs((ax - cx) * (Fraction(values[i]) - ay) - (ax - int(t_ns[i])) * (cy - ay))
            for i in range(edges[k], edges[k + 1])
        }
        chosen.append(max(areas, key=lambda i: (areas[i], -i)))
    return [*chosen, n - 1]


OUT_OF_RANGE, STUCK, SATURATED, TOO_FAST = 1, 2, 4, 8


def defects(samples: list[tuple[int, float]], limits: tuple[float, ...]) -> list[int]:
    """What is wrong with each sample, from the whole history of known ones before it."""
    low, high, band, stuck_ns, sensor_low, sensor_high, saturated_after, most_per_s = limits
    past: list[tuple[int, float]] = []
    found = []
    for t, value in samples:
        if value != value or (past and t <= past[-1][0]):
            found.append(0)
            continue
        past.append((t, value))
        bits = 0 if low <= value <= high else OUT_OF_RANGE
        bits |= STUCK if stuck_ns > 0 and t - past[_held_since(past, band)][0] >= stuck_ns else 0
        tail = 0
        for _, v in reversed(past):
            if sensor_low < v < sensor_high:
                break
            tail += 1
        bits |= SATURATED if 0 < saturated_after <= tail else 0
        if len(past) > 1:
            (t0, v0), (t1, v1) = past[-2:]
            bits |= TOO_FAST if abs(v1 - v0) > most_per_s * ((t1 - t0) / S) else 0
        found.append(bits)
    return found


def _held_since(past: list[tuple[int, float]], band: float) -> int:
    """The sample that the newest one has not left: the first one starts, each that leaves it starts anew."""
    held = 0
    for i, (_, value) in enumerate(past):
        if not abs(value - past[held][1]) <= band:
            held = i
    return held


def drifts(values: list[float], baseline: int, forget: Fraction, sigmas: int, least_share: float) -> list[bool]:
    """An EWMA chart in closed form: the mean so far is a weighted sum over all values after the reference."""
    known: list[Fraction] = []
    found: list[bool] = []
    for value in values:
        if value == value:
            known.append(Fraction(value))
        after = known[baseline:]
        if value != value or not after:
            found.append(found[-1] if found and after else False)
            continue
        base = sum(known[:baseline], Fraction(0)) / baseline
        n = len(after)
        weights = [forget * (1 - forget) ** (n - 1 - k) for k in range(n)]
        now = (1 - forget) ** n * base + sum((w * v for w, v in zip(weights, after, strict=True)), Fraction(0))
        spread = sum(((v - base) ** 2 for v in known[:baseline]), Fraction(0)) / (baseline - 1)
        sigma = math.sqrt(float(spread * forget / (2 - forget)))
        found.append(abs(float(now - base)) > max(sigmas * sigma, least_share * abs(float(base))))
    return found
