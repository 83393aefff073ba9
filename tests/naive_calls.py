"""What `dsp.counter`, `dsp.calls` and `dsp.session` mean, slow and exact."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import naive

S = 1_000_000_000
FORWARD, ROLLOVER, RESET, GLITCH, AMBIGUOUS = "forward", "roll-over", "reset", "glitch", "ambiguous"


def classify(previous: int, current: int, step_s: float, max_power_w: float, range_wh: float) -> tuple[str, int]:
    """A register's step by domain.md C.4, with 20 % margin, 10 s of lag and the register's own count."""
    known = max_power_w == max_power_w and max_power_w > 0
    wraps = math.isfinite(range_wh) and range_wh > 0
    count = max(10**k for k in range(7) if previous % 10**k == 0 and current % 10**k == 0)
    power = Fraction(12, 10) * Fraction(max_power_w) / 3600 if known else Fraction(0)
    most = power * (Fraction(step_s) + 10) + count

    def possible(wh: int) -> bool:
        return not known or wh <= most

    if known and wraps and power * Fraction(step_s) >= Fraction(range_wh):
        return AMBIGUOUS, 0
    if current >= previous:
        return (FORWARD, current - previous) if possible(current - previous) else (GLITCH, 0)
    turned = int(range_wh) - previous + current if wraps else -1
    if wraps and Fraction(98, 100) * Fraction(range_wh) < previous < range_wh and possible(turned):
        return ROLLOVER, turned
    return (RESET, 0) if possible(current) else (GLITCH, 0)


def call(rows: list[tuple[int, bool, float, int, float]], flicker_ns: int) -> list[dict[str, Any]]:
    """Calls of a berth whose every row tells plug, the meter's power, its register and the charge.

    Energy is what the register moved from the first connected row to the row that tells the end: the first one
    more than `flicker_ns` after the last connected row. Windows are of 600 s, of power by trapezoids.
    """
    found = []
    for start, end in naive.calls([r[0] for r in rows], [r[1] for r in rows], flicker_ns):
        told = next((i for i, r in enumerate(rows) if r[0] > end and r[0] - end > flicker_ns), None)
        if told is None:
            continue  # not over yet
        inside = [r for r in rows if start <= r[0] <= rows[told][0]]
        # The register is counted up to the row that tells the end; that row's power belongs to no call.
        energy = inside[-1][3] - inside[0][3]
        powered = inside[:-1]
        windows: dict[int, Fraction] = {}
        for a, b in pairwise(powered):
            for t0, t1 in _cut(a[0], b[0]):
                middle = Fraction(t0 + t1, 2)
                w = Fraction(a[2]) + (Fraction(b[2]) - Fraction(a[2])) * (middle - a[0]) / (b[0] - a[0])
                windows[t0 // (600 * S)] = windows.get(t0 // (600 * S), Fraction(0)) + w * (t1 - t0)
        charges = [r[4] for r in rows if start <= r[0] <= end and r[1] and r[4] == r[4]]
        found.append({
            "start_ns": start, "end_ns": end, "energy_wh": energy, "peak_power_w": max(r[2] for r in powered),
            "integrated_wh": float(sum(windows.values(), Fraction(0)) / (3600 * S)),
            "peak_10min_w": float(max(windows.values(), default=Fraction(0)) / (600 * S)),
            "soc_start": charges[0] if charges else math.nan, "soc_end": charges[-1] if charges else math.nan,
        })  # fmt: skip
    return found


def _cut(t0: int, t1: int) -> list[tuple[int, int]]:
    window = 600 * S
    cuts = [t0, *range(t0 - t0 % window + window, t1, window), t1]
    return list(pairwise(cuts))
