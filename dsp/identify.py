"""Identify a cell model from recordings. NumPy only; `bollard battery fit` reads the files.

Given time constants and hysteresis rate, the model of `dsp.soc` is linear in everything else: open-circuit
voltage, hysteresis half gap and resistances are piecewise linear in SoC, so one least-squares problem over all
recordings of a cell (slow curves, pulses, several temperatures, one open-circuit curve) gives them together.

The slow curve names the capacity: what leaves the cell between full and empty. A cell that is filled again
must take back the same charge. What does not close is the tester's current offset (NMC, whose coulombic
efficiency is 1 within a fraction of a per cent) or the efficiency (LFP). At another temperature only the axis
of charge is scaled until the curve lies over the one nearest to 25 degC: cold does not change SoC.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KNOTS = np.concatenate([np.linspace(0, 0.1, 6), np.linspace(0.1125, 0.8875, 63), np.linspace(0.9, 1, 6)])
COARSE = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
GAPS = np.linspace(0.0, 1.0, 21)
SMOOTH_OCV, SMOOTH_ENDS, SMOOTH_R = 1e-2, 2e-3, 3e-2  # weight of a change of slope against the residual
COLD_C, COLD_WEIGHT = 10.0, 1e-3  # colder recordings give resistances only
ACTIVATION_K = 2500.0  # 21 kJ/mol: what R0 of an LG HG2 cell follows between -10 and 40 degC
SLOW_WEIGHT = 0.02  # of slow curves beside a drive, for LFP: they fill the ends
HYSTERESIS_K = {"NMC": 0.0, "LFP": 1500.0}  # of the half gap; LFP: A123 26650 between -5 and 45 degC
ROBUST_TURNS = 4
TRUST_V = 0.006  # beyond it a residual counts linearly: ends of discharge are not modelled
CLIP_V = 0.05
LARGEST_HALF_GAP_V = 0.1
LFP_TOP_V = 3.8  # no LFP cell rests above
SMALL_GAP = {"NMC": 0.3, "LFP": 5e-3}  # keeps the half gap from standing in for slow diffusion
LEAST_SIGMA_V = {"NMC": 0.005, "LFP": 0.003}
# Among a few, on the developers' drives; long ones explain rest after a slow curve and spoil drives.
CONSTANTS = {"NMC": (10.0, 100.0, 20.0), "LFP": (20.0, 300.0, 12.0)}  # tau1, tau2 [s], hysteresis rate
SAME_TEMPERATURE_C = 3.0
FULL_SOC = 0.985  # a start that rests above it is a full cell
LOW_V = {"NMC": 3.0, "LFP": 2.2}  # past the end of a pulse test the cell is nowhere near its model


class CannotIdentify(ValueError):
    """The recordings do not tell what a model needs. Says what is missing."""


@dataclass(frozen=True)
class Record:
    """One recording as it was read. `soc`: truth where the file has one; `script`: parts with their own clock."""

    name: str
    temp_c: float
    t_s: Array
    current_a: Array
    voltage_v: Array
    soc: Array | None = None
    script: Array | None = None


@dataclass(frozen=True)
class Table:
    """SoC against open-circuit voltage: after charge, after discharge, or their mean twice."""

    name: str
    soc: Array
    charge_v: Array
    discharge_v: Array


@dataclass(frozen=True)
class Trace:
    """One recording with a SoC that can be trusted."""

    temp_c: float
    t_s: Array
    current_a: Array
    voltage_v: Array
    soc: Array
    slow: bool = False  # a curve of many hours: the open-circuit voltage rests on it, whatever its residual
    name: str = ""


@dataclass(frozen=True)
class Slow:
    """What a slow curve says besides its voltage."""

    traces: list[Trace]
    temp_c: float
    capacity_ah: float
    efficiency: float
    offset_a: float  # of the tester; true current is what it says plus this


@dataclass(frozen=True)
class Identified:
    """Everything of a cell file; tables over KNOTS (`ocv_v`) and COARSE or GAPS (the rest)."""

    chemistry: str
    capacity_ah: float
    efficiency: float
    max_charge_a: float
    max_discharge_a: float
    constants: tuple[float, float, float]
    hysteresis_activation_k: float
    temps_c: tuple[float, ...]
    tables: dict[str, Any]
    residuals: list[tuple[str, float, float, float]]  # recording, temperature, rms and largest residual [V]
    capacities: list[tuple[float, float, float]]  # temperature, capacity, tester offset of each slow curve


def chemistry_of(records: Sequence[Record], tables: Sequence[Table]) -> str:
    """LFP if nothing rests above 3.8 V."""
    top = max([float(np.quantile(r.voltage_v, 0.999)) for r in records] + [float(t.charge_v[-1]) for t in tables])
    return "LFP" if top < LFP_TOP_V else "NMC"


def identify(
    slow: Sequence[Record],
    tables: Sequence[Table],
    pulses: Sequence[Record],
    chemistry: str | None = None,
    capacity_ah: float | None = None,
) -> Identified:
    """A cell model from slow curves or SoC-OCV tables, and pulse or drive recordings.

    Args:
        capacity_ah: Of the cell, where the recordings do not say it, or say it of another cell. [Ah]

    Raises: CannotIdentify.
    """
    if not pulses:
        raise CannotIdentify("no pulse recording: give one with --pulse, resistances come from it")
    if not slow and not tables:
        raise CannotIdentify("no open-circuit recording: give one with --ocv")
    kind = chemistry or chemistry_of([*slow, *pulses], tables)
    curves = [slow_curve(record, kind) for record in slow]
    curves = _aligned(curves)
    reference = min(curves, key=lambda c: abs(c.temp_c - 25.0)) if curves else None
    of_pulses = [_capacity_of(r) for r in pulses if r.soc is not None]
    own = capacity_ah or (of_pulses[0] if of_pulses else (reference.capacity_ah if reference else None))
    if own is None:
        raise CannotIdentify("capacity unknown: the table and the pulses do not tell it; give --capacity-ah")
    efficiency = reference.efficiency if reference else 1.0
    traces = []
    for record in pulses:
        near = min(curves, key=lambda c: abs(c.temp_c - record.temp_c)) if curves else None
        traces.append(_pulse_trace(record, near, reference, tables, kind, own))
    temps_c = _temperatures([t.temp_c for t in traces])
    constants = CONSTANTS[kind]
    known = [
        t for c in curves for t in c.traces if abs(_nearest(temps_c, t.temp_c) - t.temp_c) < SAME_TEMPERATURE_C
    ]
    tested_ah = of_pulses[0] if of_pulses else (reference.capacity_ah if reference else own)
    gap = _gap_between(reference) if kind == "LFP" and reference else None
    found, residuals = fit(kind, tested_ah, temps_c, [*known, *traces], *constants, gap)
    if tables:  # the table is the cell's own curve; the pulses may be another cell's
        found["ocv_v"], found["half_gap_v"] = _of_tables(tables)
    for key in ("r0_ohm", "r1_ohm", "r2_ohm"):
        found[key] = [row * (tested_ah / own) for row in found[key]]
    warm_gap = _gap_activation(curves) if kind == "LFP" else None
    largest = [(float(r.current_a.max()), float(-r.current_a.min())) for r in pulses]
    scale = own / tested_ah
    return Identified(
        kind, own, efficiency,
        max(1.0 * own, 1.1 * scale * max(a for a, _ in largest)),
        max(2.0 * own, 1.1 * scale * max(b for _, b in largest)),
        constants, HYSTERESIS_K[kind] if warm_gap is None else warm_gap, temps_c, found, residuals,
        [(c.temp_c, c.capacity_ah, c.offset_a) for c in curves],
    )  # fmt: skip


def slow_curve(record: Record, chemistry: str) -> Slow:
    """SoC along a slow discharge and charge, from what must close. Starts full, or brings its own truth."""
    parts = _parts(record)
    if record.soc is not None:
        t_s, current_a, voltage_v, truth = parts[0]
        assert truth is not None
        trace = Trace(record.temp_c, t_s, current_a, voltage_v, truth, False, record.name)
        return Slow([trace], record.temp_c, _capacity_of(record), 1.0, 0.0)
    moved = [counted(t, i) for t, i, _, _ in parts]
    into = sum(float(np.maximum(np.diff(a), 0).sum()) for a in moved)
    out = sum(float(np.maximum(-np.diff(a), 0).sum()) for a in moved)
    hours = sum(float(t[-1] - t[0]) / 3600 for t, _, _, _ in parts)
    refilled = into > 0.8 * out
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


def _aligned(curves: list[Slow]) -> list[Slow]:
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


def _gap_activation(curves: list[Slow]) -> float | None:
    """How the half gap falls with temperature: the slope of its logarithm over 1/T. [K]"""
    found = [(c.temp_c, gap) for c in curves if (gap := _gap_between(c)) is not None]
    if len({round(t) for t, _ in found}) < 2:
        return None
    inverse = np.array([1.0 / (t + 273.15) for t, _ in found])
    size = np.array([np.log(max(1e-4, float(gap[4:19].mean()))) for _, gap in found])
    return float(np.clip(np.polyfit(inverse, size, 1)[0], 0.0, 5000.0))


def _gap_between(curve: Slow) -> Array | None:
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


def _pulse_trace(
    record: Record, near: Slow | None, reference: Slow | None, tables: Sequence[Table], kind: str, own_ah: float
) -> Trace:
    """SoC along pulses or a drive: its truth, or counted from where it rests at the start."""
    t, i, v, truth = _parts(record)[0] if record.script is None else _joined(record)
    if truth is not None:
        return Trace(record.temp_c, t, i, v, truth, False, record.name)
    capacity_ah = near.capacity_ah if near else own_ah
    close = near is not None and abs(near.temp_c - record.temp_c) < SAME_TEMPERATURE_C
    offset_a = near.offset_a if close and near is not None else 0.0
    start = _soc_at_rest(float(v[0]), reference, tables)
    soc = start + (counted(t, i) + offset_a * (t - t[0]) / 3600) / capacity_ah
    fine = (v >= LOW_V[kind]) & (soc > -0.02) & (soc < 1.02)
    return Trace(record.temp_c, t[fine], i[fine] + offset_a, v[fine], soc[fine], False, record.name)


def _soc_at_rest(voltage_v: float, reference: Slow | None, tables: Sequence[Table]) -> float:
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


def _of_tables(tables: Sequence[Table]) -> tuple[Array, Array]:
    table = tables[0]
    middle = 0.5 * (table.charge_v + table.discharge_v)
    ocv = np.interp(KNOTS, table.soc, middle)
    gap = 0.5 * (table.charge_v - table.discharge_v)
    held = [float(np.median(gap[np.abs(table.soc - z) <= 0.03])) for z in GAPS]
    return np.maximum.accumulate(ocv), np.clip(np.array(held), 0.0, LARGEST_HALF_GAP_V)


def _parts(record: Record) -> list[tuple[Array, Array, Array, Array | None]]:
    """Time, current, voltage and truth of each script, with a time that rises."""
    labels = np.zeros(len(record.t_s)) if record.script is None else record.script
    parts = []
    for label in dict.fromkeys(labels.tolist()):
        chosen = np.flatnonzero(labels == label)
        t = record.t_s[chosen]
        rises = np.concatenate([t[1:] > t[:-1], [True]])  # of rows with one stamp the last
        rises &= t >= np.maximum.accumulate(t)
        rows = chosen[rises]
        soc = None if record.soc is None else record.soc[rows]
        parts.append((record.t_s[rows], record.current_a[rows], record.voltage_v[rows], soc))
    return parts


def _joined(record: Record) -> tuple[Array, Array, Array, Array | None]:
    parts, start, clocks = _parts(record), 0.0, []
    for part in parts:
        clocks.append(part[0] - part[0][0] + start)
        start = float(clocks[-1][-1]) + 1.0
    current, voltage = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    socs = [part[3] for part in parts if part[3] is not None]
    return np.concatenate(clocks), current, voltage, np.concatenate(socs) if len(socs) == len(parts) else None


def _capacity_of(record: Record) -> float:
    """Charge counted per unit of truth."""
    assert record.soc is not None
    t, i, _, soc = _joined(record) if record.script is not None else _parts(record)[0]
    assert soc is not None
    out = counted(t, np.minimum(i, 0.0))
    into = counted(t, np.maximum(i, 0.0))
    a = np.stack([out, into, np.ones(len(t))], axis=1)
    slope = np.linalg.lstsq(a, soc, rcond=None)[0]
    if not slope[0] > 0:
        raise CannotIdentify(f"{record.name}: its SoC does not fall on discharge; current is positive on charge")
    return float(1.0 / slope[0])


def _temperatures(values: Iterable[float]) -> tuple[float, ...]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] >= SAME_TEMPERATURE_C:
            kept.append(value)
    return tuple(kept)


def _nearest(temps_c: Sequence[float], temp_c: float) -> float:
    return min(temps_c, key=lambda t: abs(t - temp_c))


def counted(t_s: Array, current_a: Array) -> Array:
    """Charge moved since the first row. [Ah]"""
    step = np.diff(t_s) * 0.5 * (current_a[1:] + current_a[:-1]) / 3600
    return np.concatenate([[0.0], np.cumsum(step)])


def fit(
    chemistry: str, capacity_ah: float, temps_c: tuple[float, ...], traces: list[Trace],
    tau1_s: float, tau2_s: float, rate: float, gap_v: Array | None = None,
) -> tuple[dict[str, Any], list[tuple[str, float, float, float]]]:  # fmt: skip
    """Robust least squares for given constants. Returns: the tables, and the residual of each recording.

    Args:
        gap_v: Half the distance of the slow branches over GAPS where it is known (LFP): then hysteresis is
            taken from there, less what the resistances explain, and slow curves count little.
    """
    n_ocv, n_r, n_t, n_g = len(KNOTS), len(COARSE), len(temps_c), len(GAPS)
    first_r = n_ocv + n_g
    n = first_r + 3 * n_r * n_t
    designs = []
    for trace in traces:
        base = first_r + 3 * n_r * temps_c.index(_nearest(temps_c, trace.temp_c))
        x1, x2, h = filtered(trace, capacity_ah, tau1_s, tau2_s, rate)
        coarse = hat(trace.soc, COARSE)
        a = np.zeros((len(trace.soc), n))
        a[:, :n_ocv] = hat(trace.soc, KNOTS)
        a[:, n_ocv:first_r] = hat(trace.soc, GAPS) * h[:, None]
        for k, x in enumerate((trace.current_a, x1, x2)):
            a[:, base + k * n_r : base + (k + 1) * n_r] = coarse * x[:, None]
        part = SLOW_WEIGHT if gap_v is not None and trace.slow else 1.0
        designs.append((a, part * weights(trace), trace.voltage_v, trace.slow))
    penalty, pull = 1e-10 * np.eye(n), np.zeros(n)
    if gap_v is not None:
        penalty[n_ocv:first_r, n_ocv:first_r] += np.eye(n_g)
        pull[n_ocv:first_r] = gap_v
    else:
        penalty[n_ocv:first_r, n_ocv:first_r] += 0.5 * SMALL_GAP[chemistry] * np.eye(n_g)
    inside = (KNOTS[1:-1] > 0.1) & (KNOTS[1:-1] < 0.9)
    blocks: list[tuple[int, Array, Any]] = [
        (0, KNOTS, np.where(inside, SMOOTH_OCV, SMOOTH_ENDS)), (n_ocv, GAPS, SMOOTH_R if gap_v is None else 0.0),
    ]  # fmt: skip
    for t, temp_c in enumerate(temps_c):
        smooth_r = SMOOTH_R * np.sqrt(1.0 if temp_c >= COLD_C else COLD_WEIGHT)
        blocks += [(first_r + (3 * t + k) * n_r, COARSE, smooth_r) for k in range(3)]
    for start, knots, smooth in blocks:
        d = second_difference(knots) * np.reshape(smooth, (-1, 1))
        penalty[start : start + len(knots), start : start + len(knots)] += d.T @ d
    solution: Array = np.zeros(n)
    for turn in range(ROBUST_TURNS):
        normal, right = penalty.copy(), pull.copy()
        for a, weight, voltage_v, slow in designs:
            trusted: Array = weight
            if turn > 0 and not slow:
                residual = np.abs(voltage_v - a @ solution)
                trusted = np.asarray(weight * np.minimum(1.0, TRUST_V / np.maximum(residual, 1e-9)))
            normal += (a * trusted[:, None]).T @ a
            right += a.T @ (trusted * voltage_v)
        solution = np.asarray(np.linalg.solve(normal, right), dtype=np.float64)
        for _ in range(6):  # a resistance below 0 is held at 0, and its neighbours are found again
            negative = np.flatnonzero((solution < -1e-9) & (np.arange(n) >= first_r))
            if len(negative) == 0:
                break
            normal[negative, negative] += 1e3
            solution = np.asarray(np.linalg.solve(normal, right), dtype=np.float64)
            solution[negative] = np.maximum(solution[negative], 0.0)
    tables: dict[str, Any] = {
        "ocv_v": np.maximum.accumulate(solution[:n_ocv]),
        "half_gap_v": np.clip(solution[n_ocv:first_r], 0.0, LARGEST_HALF_GAP_V),
        "sigma_v": local_sigma(chemistry, traces, designs, solution),
    }
    for k, name in enumerate(("r0_ohm", "r1_ohm", "r2_ohm")):
        tables[name] = [
            np.maximum(1e-5, solution[first_r + (3 * t + k) * n_r : first_r + (3 * t + k + 1) * n_r])
            for t in range(n_t)
        ]
    residuals = []
    for trace, (a, weight, voltage_v, _) in zip(traces, designs, strict=True):
        e, inside = voltage_v - a @ solution, (trace.soc > 0.1).astype(np.float64)
        residuals.append((trace.name, trace.temp_c, float(np.sqrt(((weight * inside) @ e**2) / (weight @ inside))),
                          float(np.abs(e[trace.soc > 0.1]).max(initial=0.0))))  # fmt: skip
    return tables, residuals


def local_sigma(chemistry: str, traces: list[Trace], designs: list[Any], solution: Array) -> Array:
    """Residual near each coarse knot, at 10 degC and above where there is such a recording. [V]"""
    square, amount = np.full(len(COARSE), 1e-9), np.full(len(COARSE), 1e-9)
    warm = any(trace.temp_c >= COLD_C for trace in traces)
    for trace, (a, weight, voltage_v, _) in zip(traces, designs, strict=True):
        if trace.temp_c >= COLD_C or not warm:
            share = hat(trace.soc, COARSE) * weight[:, None]
            square += share.T @ np.minimum(voltage_v - a @ solution, CLIP_V) ** 2
            amount += share.sum(axis=0)
    return np.asarray(np.maximum(LEAST_SIGMA_V[chemistry], np.sqrt(square / amount)))


def weights(trace: Trace) -> Array:
    """Time each row stands for, at most 60 s, normalised; cold recordings count less."""
    held_s = np.clip(np.gradient(trace.t_s), 0.0, 60.0)
    part = 1.0 if trace.temp_c >= COLD_C else COLD_WEIGHT
    return np.asarray(part * held_s * (trace.soc > 0.01) / held_s.sum())


def filtered(
    trace: Trace, capacity_ah: float, tau1_s: float, tau2_s: float, rate: float
) -> tuple[Array, Array, Array]:
    """Current behind each RC pair, and the hysteresis state, as `dsp.soc` moves them."""
    n = len(trace.t_s)
    x1, x2, h = np.zeros(n), np.zeros(n), np.zeros(n)
    h[0] = -1.0 if trace.soc[0] < 0.5 else 1.0  # a cell is filled, or emptied, before its test
    dt = np.diff(trace.t_s)
    mean = 0.5 * (trace.current_a[1:] + trace.current_a[:-1])
    left1, left2 = np.exp(-dt / tau1_s).tolist(), np.exp(-dt / tau2_s).tolist()
    left, goal, mean = (
        np.exp(-rate * np.abs(mean) * dt / 3600 / capacity_ah).tolist(),
        np.sign(mean),
        mean.tolist(),
    )
    for i in range(1, n):
        m, g = mean[i - 1], goal[i - 1]
        x1[i] = m + (x1[i - 1] - m) * left1[i - 1]
        x2[i] = m + (x2[i - 1] - m) * left2[i - 1]
        h[i] = g + (h[i - 1] - g) * left[i - 1]
    return x1, x2, h


def hat(soc: Array, knots: Array) -> Array:
    """Weights of piecewise linear interpolation. float64[n, knots]"""
    z = np.clip(soc, knots[0], knots[-1])
    k = np.clip(np.searchsorted(knots, z, side="right") - 1, 0, len(knots) - 2)
    share = (z - knots[k]) / (knots[k + 1] - knots[k])
    a = np.zeros((len(z), len(knots)))
    a[np.arange(len(z)), k] = 1 - share
    a[np.arange(len(z)), k + 1] = share
    return a


def second_difference(knots: Array) -> Array:
    """Change of slope between neighbouring pieces."""
    d = np.zeros((len(knots) - 2, len(knots)))
    for i in range(len(knots) - 2):
        left, right = knots[i + 1] - knots[i], knots[i + 2] - knots[i + 1]
        d[i, i], d[i, i + 1], d[i, i + 2] = 1 / left, -1 / left - 1 / right, 1 / right
    return d * 0.05


def as_toml(model: Identified, name: str, source: str) -> str:
    """The cell file, as `dsp.cell` reads it."""

    def row(values: Iterable[float], digits: int) -> str:
        return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"

    tau1_s, tau2_s, rate = model.constants
    tables = model.tables
    worst = max(rms for _, _, rms, _ in model.residuals)
    lines = [
        "# Cell model, per cell. Identified by `bollard battery fit`; do not edit by hand.",
        "schema = 1",
        f'name = "{name}"',
        f'chemistry = "{model.chemistry}"',
        f'source = "{source}"',
        f"residual_v = {worst:.4f}  # rms over the recording that fits worst",
        f"capacity_ah = {model.capacity_ah:.5g}",
        f"max_charge_a = {model.max_charge_a:.4g}",
        f"max_discharge_a = {model.max_discharge_a:.4g}",
        f"coulombic_efficiency = {model.efficiency:.5f}",
        f"tau1_s = {tau1_s}",
        f"tau2_s = {tau2_s}",
        f"hysteresis_rate = {rate}  # e-folds per unit of SoC moved",
        f"hysteresis_activation_k = {model.hysteresis_activation_k:.0f}  # of the half gap, around 25 degC",
        f"activation_k = {ACTIVATION_K}  # of resistances, between and beyond the identified temperatures",
        "", "[ocv]", f"soc = {row(KNOTS, 4)}", f"voltage_v = {row(tables['ocv_v'], 4)}",
        "", "[hysteresis]", f"soc = {row(GAPS, 2)}", f"half_gap_v = {row(tables['half_gap_v'], 4)}",
        "", "[uncertainty]  # what the model leaves unexplained", f"soc = {row(COARSE, 2)}",
        f"sigma_v = {row(tables['sigma_v'], 4)}",
    ]  # fmt: skip
    for k, temp_c in enumerate(model.temps_c):
        lines += ["", "[[resistance]]", f"temp_c = {temp_c:.4g}", f"soc = {row(COARSE, 2)}"]
        lines += [f"{key} = {row(tables[key][k], 5)}" for key in ("r0_ohm", "r1_ohm", "r2_ohm")]
    return "\n".join(lines) + "\n"
