"""Longer periods from minutes: the definitions of `dsp.rollup`, with dictionaries and fractions."""

from fractions import Fraction
from typing import Any

MINUTE_NS = 60_000_000_000


def latest(minutes: Any) -> dict[int, Any]:
    """One row a minute; of several, the last."""
    return {int(row["minute_ns"]): row for row in minutes}


def period(minutes: Any, start: int, stop: int, window: int) -> dict[str, Any]:
    """Sums of one period, and its peak: highest mean import of a window, incomplete ones by what is known."""
    rows = {t: row for t, row in latest(minutes).items() if start <= t < stop}
    sums = {
        name: sum(int(row[name]) for row in rows.values())
        for name in ("import_wh", "export_wh", "measured_wh", "integrated_wh", "estimated_wh")
    }
    means, whole = [], 0
    starts = {t - t % window for t in rows}
    for at in starts:
        inside = [rows[t] for t in range(at, at + window, MINUTE_NS) if t in rows]
        length = window // MINUTE_NS
        covered = sum(Fraction(float(row["covered_s"])) for row in inside)
        complete = len(inside) == length and float(covered) >= 0.99 * 60 * length
        whole += complete
        wh = sum(
            int(row["import_wh"]) if complete else max(0, int(row["import_wh"]) - int(row["estimated_wh"]))
            for row in inside
        )
        means.append(Fraction(wh * 60, length))
    peak = float(max(means)) if means else None
    return sums | {"minutes": len(rows), "peak": peak, "bound": whole < -(-(stop - start) // window)}
