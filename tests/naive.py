"""What each kernel means, slow and exact. Written from the definitions, not from the kernels."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

NS_PER_HOUR = 3_600_000_000_000
MINUTE_NS = 60_000_000_000


def integrate_power(t_ns: Any, power_w: Any, max_gap_ns: int) -> tuple[float, int]:
    """Trapezoids over steps that go forward by at most `max_gap_ns` between known samples."""
    energy, covered = Fraction(0), 0
    for i in range(1, len(t_ns)):
        step = int(t_ns[i]) - int(t_ns[i - 1])
        if 0 < step <= max_gap_ns and math.isfinite(power_w[i - 1]) and math.isfinite(power_w[i]):
            energy += (Fraction(power_w[i - 1]) + Fraction(power_w[i])) / 2 * step
            covered += step
    return float(energy / NS_PER_HOUR), covered


def minutes(t_ns: Any, power_w: Any, register_wh: Any, max_gap_ns: int) -> dict[int, dict[str, Fraction]]:
    """Energy of each UTC minute as exact fractions, for an import register that only goes forward.

    Between two readings: where power covers, its trapezoid; the rest of the difference evenly over the time
    that it does not cover. Without such time, or where power says more than the register, power is scaled. A
    single short step between two readings counts as covered even without power. A row without a reading that
    follows a gap is left out: the gap lasts until the register is back.
    """
    kept: list[int] = []
    for i in range(len(t_ns)):
        if math.isfinite(register_wh[i]) or int(t_ns[i]) - int(t_ns[kept[-1]]) <= max_gap_ns:
            kept.append(i)
    t_ns, power_w, register_wh = ([column[i] for i in kept] for column in (t_ns, power_w, register_wh))
    readings = [i for i in range(len(t_ns)) if math.isfinite(register_wh[i])]
    result: dict[int, dict[str, Fraction]] = {}
    for a, b in pairwise(readings):
        delta = Fraction(int(register_wh[b]) - int(register_wh[a]))
        pieces: list[tuple[int, int, Fraction, bool]] = []  # from, to, Wh by power, covered
        for i in range(a + 1, b + 1):
            step = int(t_ns[i]) - int(t_ns[i - 1])
            shaped = step <= max_gap_ns and math.isfinite(power_w[i - 1]) and math.isfinite(power_w[i])
            covered = shaped or (b == a + 1 and step <= max_gap_ns)
            for start, stop in split(int(t_ns[i - 1]), int(t_ns[i])):
                shape = Fraction(0)
                if shaped:
                    shape = positive(t_ns[i - 1], t_ns[i], power_w[i - 1], power_w[i], start, stop)
                pieces.append((start, stop, shape / NS_PER_HOUR, covered))
        shape_all = sum((p[2] for p in pieces), Fraction(0))
        gap_all = sum(p[1] - p[0] for p in pieces if not p[3])
        time_all = sum(p[1] - p[0] for p in pieces)
        for start, stop, shape, covered in pieces:
            if gap_all and shape_all < delta:
                share = shape if covered else (delta - shape_all) * (stop - start) / gap_all
            elif shape_all:
                share = delta * shape / shape_all
            elif gap_all:
                share = Fraction(0) if covered else delta * (stop - start) / gap_all
            else:
                share = delta * (stop - start) / time_all
            minute = result.setdefault(
                start - start % MINUTE_NS,
                {"import": Fraction(0), "estimated": Fraction(0), "covered": Fraction(0)},
            )
            minute["import"] += share
            minute["covered"] += (stop - start) if covered else 0
            minute["estimated"] += 0 if covered else share
    return result


def split(start: int, stop: int) -> list[tuple[int, int]]:
    """A stretch of time, cut where minutes begin."""
    cuts = [start, *range(start - start % MINUTE_NS + MINUTE_NS, stop, MINUTE_NS), stop]
    return list(pairwise(cuts))


def positive(t0: Any, t1: Any, p0: float, p1: float, start: int, stop: int) -> Fraction:
    """Integral of max(0, straight line) from `start` to `stop`. [W ns]"""
    first, last = Fraction(p0), Fraction(p1)
    slope = (last - first) / (int(t1) - int(t0))
    at = [start, stop]
    if slope and start < (zero := int(t0) - first / slope) < stop:
        at.insert(1, zero)
    value = [max(Fraction(0), first + slope * (x - int(t0))) for x in at]
    return sum(((value[k] + value[k + 1]) / 2 * (at[k + 1] - at[k]) for k in range(len(at) - 1)), Fraction(0))


def calls(t_ns: Any, mated: Any, flicker_ns: int) -> list[tuple[int, int]]:
    """Stretches in which the plug is mated; partings up to `flicker_ns` do not end one."""
    found: list[list[int]] = []
    for t, on in zip(t_ns, mated, strict=True):
        if on and found and t - found[-1][1] <= flicker_ns:
            found[-1][1] = int(t)
        elif on:
            found.append([int(t), int(t)])
    return [(a, b) for a, b in found if b - a >= flicker_ns]


def cell_voltage(cell: Any, soc: float, current_a: float, x1: float, x2: float, h: float, temp_c: float) -> float:
    """The model's voltage inside the identified temperatures, one cell."""

    def at(table: Any) -> float:
        return float(np.interp(soc, np.linspace(0, 1, 101), table))

    r = [np.interp(temp_c, cell.temp_c, [at(rows[k]) for rows in cell.r_ohm]) for k in range(3)]
    return float(at(cell.ocv_v) + at(cell.half_gap_v) * h + r[0] * current_a + r[1] * x1 + r[2] * x2)
