"""The least-squares problem of `dsp.identify`: voltage, hysteresis and resistances of all recordings together.

Source: A. Bjorck, Numerical Methods for Least Squares Problems (1996), chapters 2 and 4 (normal equations,
iterative reweighting); P. J. Huber, Annals of Mathematical Statistics 35 (1964)
73-101 (weights of large residuals).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dsp.identify_ocv import GAPS, KNOTS, LARGEST_HALF_GAP_V
from dsp.identify_records import Array, Trace

COARSE = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
SMOOTH_OCV, SMOOTH_ENDS, SMOOTH_R = 1e-2, 2e-3, 3e-2  # weight of a change of slope against the residual
COLD_C, COLD_WEIGHT = 10.0, 1e-3  # colder recordings give resistances only
SLOW_WEIGHT = 0.02  # of slow curves beside a drive, for LFP: they fill the ends
# A slow charge from empty begins far above where the cell rests (LG HG2: 0.2 V at 5 %), a discharge ends near it.
POLARISED_SOC = 0.2
ROBUST_TURNS = 4
TRUST_V = 0.006  # beyond it a residual counts linearly: ends of discharge are not modelled
CLIP_V = 0.05
SMALL_GAP = {"NMC": 0.3, "LFP": 5e-3}  # keeps the half gap from standing in for slow diffusion
LEAST_SIGMA_V = {"NMC": 0.005, "LFP": 0.003}


def fit(
    chemistry: str, capacity_ah: float, temps_c: tuple[float, ...], traces: list[Trace],
    tau1_s: float, tau2_s: float, rate: float, gap_v: Array | None = None,
) -> tuple[dict[str, Any], list[tuple[str, float, float, float]]]:  # fmt: skip
    """Robust least squares for given constants. Returns: the tables, and the residual of each recording.

    Args:
        gap_v: Half the distance of the slow branches over GAPS where it is known (LFP): then hysteresis is
            taken from there, less what the resistances explain, and slow curves count little.

    Source: Bjorck, Numerical Methods for Least Squares Problems (1996), chapters 2 and 4.
    """
    n_ocv, n_r, n_t, n_g = len(KNOTS), len(COARSE), len(temps_c), len(GAPS)
    first_r = n_ocv + n_g
    n = first_r + 3 * n_r * n_t
    designs = []
    for trace in traces:
        base = first_r + 3 * n_r * temps_c.index(nearest(temps_c, trace.temp_c))
        x1, x2, h = filtered(trace, capacity_ah, tau1_s, tau2_s, rate)
        coarse = hat(trace.soc, COARSE)
        a = np.zeros((len(trace.soc), n))
        a[:, :n_ocv] = hat(trace.soc, KNOTS)
        a[:, n_ocv:first_r] = hat(trace.soc, GAPS) * h[:, None]
        for k, x in enumerate((trace.current_a, x1, x2)):
            a[:, base + k * n_r : base + (k + 1) * n_r] = coarse * x[:, None]
        part = SLOW_WEIGHT if gap_v is not None and trace.slow else 1.0
        weight = part * weights(trace)
        if chemistry == "NMC" and trace.slow:
            weight = np.where((trace.current_a > 0) & (trace.soc < POLARISED_SOC), 0.0, weight)
        designs.append((a, weight, trace.voltage_v, trace.slow))
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


def nearest(temps_c: Sequence[float], temp_c: float) -> float:
    return min(temps_c, key=lambda t: abs(t - temp_c))
