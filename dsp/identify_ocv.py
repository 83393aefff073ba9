"""Open-circuit voltage and hysteresis from slow curves and tables, for `dsp.identify`.

The slow curve names the capacity: what leaves the cell between full and empty. A cell that is filled again
must take back the same charge. What does not close is the tester's current offset (NMC, whose coulombic
efficiency is 1 within a fraction of a per cent) or the efficiency (LFP). At another temperature only the axis
of charge is scaled until the curve lies over the one nearest to 25 degC: cold does not change SoC.
Source: G. L. Plett, Battery Management Systems, volume 1 (2015), chapter 2 (open-circuit curve from slow
branches). Departures: the axis of charge is aligned between temperatures, and the branches give the half gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsp.identify_records import (
    Array,
    CannotIdentify,
    Record,
    Table,
    Trace,
    capacity_of,
    counted,
    scripts_of,
)

KNOTS = np.concatenate([np.linspace(0, 0.1, 6), np.linspace(0.1125, 0.8875, 63), np.linspace(0.9, 1, 6)])
GAPS = np.linspace(0.0, 1.0, 21)
LARGEST_HALF_GAP_V = 0.1
LEAST_SPAN = 0.8  # of SoC
FULL_SOC = 0.985  # a start that rests above it is a full cell


@dataclass(frozen=True)
class Slow:
    """What a slow curve says besides its voltage."""

    traces: list[Trace]
    temp_c: float
    capacity_ah: float
    efficiency: float
    offset_a: float  # of the tester; true current is what it says plus this


def slow_curve(record: Record, chemistry: str) -> Slow:
    """SoC along a slow discharge and charge, from what must close. Starts full, or brings its own truth.

    Source: Plett, Battery Management Systems, volume 1, chapter 2 (test of the open-circuit voltage).
    """
    parts = scripts_of(record)
    if record.soc is not None:
        t_s, current_a, voltage_v, truth = parts[0]
        assert truth is not None
        if np.ptp(truth) < LEAST_SPAN:
            raise CannotIdentify(
                f"{record.name}: SoC goes from {truth.min():.2f} to {truth.max():.2f}; an open-circuit recording"
                f" spans {LEAST_SPAN:g} or more, best from full to empty: give another with --ocv"
            )
        trace = Trace(record.temp_c, t_s, current_a, voltage_v, truth, False, record.name)
        return Slow([trace], record.temp_c, capacity_of(record), 1.0, 0.0)
    moved = [counted(t, i) for t, i, _, _ in parts]
    into = sum(float(np.maximum(np.diff(a), 0).sum()) for a in moved)
    out = sum(float(np.maximum(-np.diff(a), 0).sum()) for a in moved)
    hours = sum(float(t[-1] - t[0]) / 3600 for t, _, _, _ in parts)
    refilled = 0.8 * out < into < 1.25 * out  # else there is nothing to close
    efficiency, offset_a = 1.0, 0.0
    if refilled and chemistry == "LFP" and 0.97 < out / into < 1.01:
        efficiency = min(1.0, out / into)
    elif refilled:
        offset_a = (out - into) / hours
    level, soc_ah, lowest = 0.0, [], 0.0
    for (t, _, _, _), ah in zip(parts, moved, strict=True):
        steps = np.diff(ah)
        gained = np.cumsum(np.where(steps > 0, efficiency * steps, steps)) + offset_a * (t[1:] - t[0]) / 3600
        line = level + np.concatenate([[0.0], gained])
        soc_ah.append(line)
        level, lowest = float(line[-1]), min(lowest, float(line.min()))
    capacity_ah = -lowest
    if capacity_ah <= 0:
        raise CannotIdentify(f"{record.name}: no discharge in it; a slow curve starts full and goes to empty")
    traces = []
    for (t, i, v, _), line in zip(parts, soc_ah, strict=True):
        if np.ptp(line) > 0.5 * capacity_ah:  # what moves less is the rest of a branch, at another temperature
            traces.append(Trace(record.temp_c, t, i + offset_a, v, 1.0 + line / capacity_ah, True, record.name))
    return Slow(traces, record.temp_c, capacity_ah, efficiency, offset_a)


def aligned(curves: list[Slow]) -> list[Slow]:
    """Capacity at other temperatures: the scale of charge that lays a curve over the one nearest 25 degC."""
    if len(curves) < 2 or any(not t.slow for c in curves for t in c.traces):
        return curves
    reference = min(curves, key=lambda c: abs(c.temp_c - 25.0))
    z = np.linspace(0.15, 0.95, 81)
    target = _mean_curve(reference, z, 1.0)
    result = []
    for curve in curves:
        if curve is reference or target is None:
            result.append(curve)
            continue
        scales = np.linspace(0.9, 1.15, 101)
        misfit = [np.inf if (m := _mean_curve(curve, z, s)) is None else float(((m - target) ** 2).mean())
                  for s in scales]  # fmt: skip
        if not np.isfinite(min(misfit)):
            result.append(curve)
            continue
        scale = float(scales[int(np.argmin(misfit))])
        traces = [replace(t, soc=1.0 + (t.soc - 1.0) / scale) for t in curve.traces]
        result.append(replace(curve, traces=traces, capacity_ah=curve.capacity_ah * scale))
    return result


def _mean_curve(curve: Slow, z: Array, scale: float) -> Array | None:
    """Mean of both branches at `z`, for a capacity times `scale`."""
    branches: list[list[Array]] = [[], []]
    for trace in curve.traces:
        soc = 1.0 + (trace.soc - 1.0) / scale
        for k, chosen in enumerate((trace.current_a < -1e-3, trace.current_a > 1e-3)):
            if chosen.sum() > 50 and np.ptp(soc[chosen]) > 0.5:
                order = np.argsort(soc[chosen])
                inside = (z >= soc[chosen].min()) & (z <= soc[chosen].max())
                line = np.interp(z, soc[chosen][order], trace.voltage_v[chosen][order])
                branches[k].append(np.where(inside, line, np.nan))
    if not branches[0] or not branches[1]:
        return None
    mean = 0.5 * (branches[0][0] + branches[1][0])
    if np.isnan(mean).all():
        return None
    return np.asarray(np.where(np.isnan(mean), np.nanmean(mean), mean))


def gap_activation(curves: list[Slow]) -> float | None:
    """How the half gap falls with temperature: the slope of its logarithm over 1/T. [K]"""
    found = [(c.temp_c, gap) for c in curves if (gap := gap_between(c)) is not None]
    if len({round(t) for t, _ in found}) < 2:
        return None
    inverse = np.array([1.0 / (t + 273.15) for t, _ in found])
    size = np.array([np.log(max(1e-4, float(gap[4:19].mean()))) for _, gap in found])
    return float(np.clip(np.polyfit(inverse, size, 1)[0], 0.0, 5000.0))


def gap_between(curve: Slow) -> Array | None:
    """Half the distance of charge and discharge, over GAPS; the steep ends are taken from their neighbours."""
    lines = []
    for sign in (1.0, -1.0):
        for trace in curve.traces:
            chosen = sign * trace.current_a > 1e-3
            if trace.slow and chosen.sum() > 50 and np.ptp(trace.soc[chosen]) > 0.5:
                order = np.argsort(trace.soc[chosen])
                fine = np.linspace(0.0, 1.0, 401)
                lines.append(np.interp(fine, trace.soc[chosen][order], trace.voltage_v[chosen][order]))
                break
    if len(lines) < 2:
        return None
    half = 0.5 * (lines[0] - lines[1])
    held = np.array([np.median(half[np.abs(np.linspace(0.0, 1.0, 401) - z) <= 0.03]) for z in GAPS])
    inside = (GAPS >= 0.1) & (GAPS <= 0.95)
    return np.asarray(np.clip(np.interp(GAPS, GAPS[inside], held[inside]), 0.0, LARGEST_HALF_GAP_V))


def soc_at_rest(voltage_v: float, reference: Slow | None, tables: Sequence[Table]) -> float:
    if tables:
        soc, curve = tables[0].soc, 0.5 * (tables[0].charge_v + tables[0].discharge_v)
    else:
        soc = np.linspace(0.02, 0.98, 97)
        mean = _mean_curve(reference, soc, 1.0) if reference else None
        if mean is None:
            return 1.0
        curve = mean
    found = float(np.interp(voltage_v, np.maximum.accumulate(curve), soc))
    return 1.0 if found >= min(FULL_SOC, float(soc[-1])) - 0.015 else found


def of_tables(tables: Sequence[Table]) -> tuple[Array, Array]:
    table = tables[0]
    middle = 0.5 * (table.charge_v + table.discharge_v)
    ocv = np.interp(KNOTS, table.soc, middle)
    gap = 0.5 * (table.charge_v - table.discharge_v)
    held = [float(np.median(gap[np.abs(table.soc - z) <= 0.03])) for z in GAPS]
    return np.maximum.accumulate(ocv), np.clip(np.array(held), 0.0, LARGEST_HALF_GAP_V)
