"""Identify the shipped cell models from recordings: `python -m dsp.cells.fit SHARED/data/battery [CELL ...]`.

Given time constants and hysteresis rate, the model of `dsp.soc` is linear in everything else: open-circuit
voltage, hysteresis half gap and resistances are piecewise linear in SoC, so one least-squares problem over all
recordings of a cell (slow curve, pulses, several temperatures, one open-circuit curve) gives them together.
The three constants are then searched on a coarse grid. Needs NumPy only.
"""

import gzip
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KNOTS = np.concatenate([np.linspace(0, 0.1, 6), np.linspace(0.125, 0.875, 31), np.linspace(0.9, 1, 6)])
COARSE = np.array([0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
SMOOTH_OCV, SMOOTH_ENDS, SMOOTH_R = 2e-2, 2e-3, 3e-2  # weight of a change of slope against the residual
COLD_C, COLD_WEIGHT = 10.0, 1e-3  # colder recordings give resistances only
ACTIVATION_K = 3600.0  # 30 kJ/mol, in the middle of what is published for lithium-ion resistances
ROBUST_TURNS = 4
TRUST_V = 0.006  # beyond it a residual counts linearly: ends of discharge are not modelled
CLIP_V = 0.05
LARGEST_HALF_GAP_V = 0.1
SMALL_GAP = {"NMC": 0.3, "LFP": 5e-3}  # keeps the half gap from standing in for slow diffusion


@dataclass(frozen=True)
class Trace:
    """One recording with a SoC that can be trusted: from a full or empty cell, offset removed."""

    temp_c: float
    t_s: Array
    current_a: Array
    voltage_v: Array
    soc: Array
    slow: bool = False  # a curve of many hours: the open-circuit voltage rests on it, whatever its residual


@dataclass(frozen=True)
class Recipe:
    """What a model file says about itself, and where its figures come from."""

    name: str
    chemistry: str
    source: str
    capacity_ah: float
    max_charge_a: float
    max_discharge_a: float
    coulombic_efficiency: float
    sigma_v: float
    temps_c: tuple[float, ...]
    constants: tuple[float, float, float]  # tau1, tau2 [s], hysteresis rate


RECIPES = {
    "nmc": Recipe(
        "nmc", "NMC",
        "LG 18650HG2: ocv_c20 and hppc at -10, 0, 25, 40 degC; Kollmeyer et al., doi 10.17632/cp3473x7xv.3",
        2.871, 4.0, 18.0, 1.0, 0.005, (-10.0, 0.0, 25.0, 40.0),
        (10.0, 100.0, 20.0),
    ),
    "lfp": Recipe(
        "lfp", "LFP",
        "A123 26650: ocv_25degC and dyn_25degC; ESC toolbox (G. Plett), esctoolbox-python at e82af551",
        2.0495, 10.0, 20.0, 0.9945, 0.003, (25.0,), (20.0, 1600.0, 20.0),
    ),
    "nmc-m50": Recipe(
        "nmc-m50", "NMC",
        "LG M50 SIMULATED: char_nmc_25degC; PyBaMM DFN, parameter set Chen2020, healthy cell",
        5.1532, 5.2, 10.3, 1.0, 0.005, (25.0,), (20.0, 200.0, 20.0),
    ),
}  # fmt: skip
LG_CAPACITY_AH = {-10.0: 2.725, 0.0: 2.775, 25.0: 2.871, 40.0: 2.855}  # of index.csv: one curve, ageing cell


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    for name in argv[1:] or list(RECIPES):
        recipe = RECIPES[name]
        traces = list(LOADERS[name](folder))
        constants = recipe.constants
        size_v, tables = fit(recipe, traces, *constants)
        path = Path(__file__).with_name(f"{name}.toml")
        path.write_text(as_toml(recipe, tables, constants, size_v), encoding="utf-8")
        print(f"{path}: residual {1000 * size_v:.1f} mV, tau {constants[0]:g} and {constants[1]:g} s")
    return 0


def fit(
    recipe: Recipe, traces: list[Trace], tau1_s: float, tau2_s: float, rate: float
) -> tuple[float, dict[str, Any]]:
    """Robust least squares for given constants. Returns: mean size of the residual [V] and the tables."""
    n_ocv, n_r, n_t = len(KNOTS), len(COARSE), len(recipe.temps_c)
    n = n_ocv + n_r + 3 * n_r * n_t
    designs = []
    for trace in traces:
        base = n_ocv + n_r + 3 * n_r * recipe.temps_c.index(trace.temp_c)
        x1, x2, h = filtered(trace, recipe.capacity_ah, tau1_s, tau2_s, rate)
        coarse = hat(trace.soc, COARSE)
        a = np.zeros((len(trace.soc), n))
        a[:, :n_ocv] = hat(trace.soc, KNOTS)
        a[:, n_ocv : n_ocv + n_r] = coarse * h[:, None]
        for k, x in enumerate((trace.current_a, x1, x2)):
            a[:, base + k * n_r : base + (k + 1) * n_r] = coarse * x[:, None]
        designs.append((a, weights(trace), trace.voltage_v, trace.slow))
    penalty = 1e-10 * np.eye(n)
    penalty[n_ocv : n_ocv + n_r, n_ocv : n_ocv + n_r] += SMALL_GAP[recipe.chemistry] * np.eye(n_r)
    inside = (KNOTS[1:-1] > 0.1) & (KNOTS[1:-1] < 0.9)
    blocks: list[tuple[int, Array, Any]] = [
        (0, KNOTS, np.where(inside, SMOOTH_OCV, SMOOTH_ENDS)),
        (n_ocv, COARSE, SMOOTH_R),
    ]
    for t, temp_c in enumerate(recipe.temps_c):
        smooth_r = SMOOTH_R * np.sqrt(1.0 if temp_c >= COLD_C else COLD_WEIGHT)
        blocks += [(n_ocv + (1 + 3 * t + k) * n_r, COARSE, smooth_r) for k in range(3)]
    for start, knots, smooth in blocks:
        d = second_difference(knots) * np.reshape(smooth, (-1, 1))
        penalty[start : start + len(knots), start : start + len(knots)] += d.T @ d
    solution: Array = np.zeros(n)
    size_v = 0.0
    for turn in range(ROBUST_TURNS):
        normal, right, size_v = penalty.copy(), np.zeros(n), 0.0
        for a, weight, voltage_v, slow in designs:
            residual = np.abs(voltage_v - a @ solution)
            size_v += float(weight @ np.minimum(residual, CLIP_V)) / len(designs)
            trusted: Array = weight
            if turn > 0 and not slow:
                trusted = np.asarray(weight * np.minimum(1.0, TRUST_V / np.maximum(residual, 1e-9)))
            normal += (a * trusted[:, None]).T @ a
            right += a.T @ (trusted * voltage_v)
        solution = np.asarray(np.linalg.solve(normal, right), dtype=np.float64)
    tables: dict[str, Any] = {
        "ocv_v": np.maximum.accumulate(solution[:n_ocv]),
        "half_gap_v": np.clip(solution[n_ocv : n_ocv + n_r], 0.0, LARGEST_HALF_GAP_V),
        "sigma_v": local_sigma(recipe, traces, designs, solution),
    }
    for k, name in enumerate(("r0_ohm", "r1_ohm", "r2_ohm")):
        start = n_ocv + n_r
        tables[name] = [
            np.maximum(1e-5, solution[start + (3 * t + k) * n_r : start + (3 * t + k + 1) * n_r])
            for t in range(n_t)
        ]
    return size_v, tables


def local_sigma(recipe: Recipe, traces: list[Trace], designs: list[Any], solution: Array) -> Array:
    """Residual near each coarse knot, at 10 degC and above. [V]"""
    square, amount = np.full(len(COARSE), 1e-9), np.full(len(COARSE), 1e-9)
    for trace, (a, weight, voltage_v, _) in zip(traces, designs, strict=True):
        if trace.temp_c >= COLD_C:
            share = hat(trace.soc, COARSE) * weight[:, None]
            square += share.T @ np.minimum(voltage_v - a @ solution, 0.05) ** 2
            amount += share.sum(axis=0)
    return np.asarray(np.maximum(recipe.sigma_v, np.sqrt(square / amount)))


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
    for i in range(1, n):
        dt = trace.t_s[i] - trace.t_s[i - 1]
        mean = 0.5 * (trace.current_a[i] + trace.current_a[i - 1])
        x1[i] = mean + (x1[i - 1] - mean) * np.exp(-dt / tau1_s)
        x2[i] = mean + (x2[i - 1] - mean) * np.exp(-dt / tau2_s)
        moved = np.exp(-rate * abs(mean) * dt / 3600 / capacity_ah)
        h[i] = np.sign(mean) + (h[i - 1] - np.sign(mean)) * moved
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


def read(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.genfromtxt(file, delimiter=",", names=True)


def counted(t_s: Array, current_a: Array) -> Array:
    """Charge moved since the first row. [Ah]"""
    step = np.diff(t_s) * 0.5 * (current_a[1:] + current_a[:-1]) / 3600
    return np.concatenate([[0.0], np.cumsum(step)])


def lg_hg2(folder: Path) -> Iterable[Trace]:
    for temp_c, capacity in LG_CAPACITY_AH.items():
        label = f"{'n' if temp_c < 0 else ''}{abs(temp_c):.0f}degC"
        slow = read(folder / "lg_hg2" / f"ocv_c20_{label}.csv.gz")
        t, i, v = slow["time_s"], slow["current_a"], slow["voltage_v"]
        ah = counted(t, i)
        offset_a = -ah[-1] / (t[-1] / 3600)  # full to empty to full sums to zero
        yield Trace(temp_c, t, i + offset_a, v, 1 + (ah + offset_a * t / 3600) / capacity, True)
        pulses = read(folder / "lg_hg2" / f"hppc_{label}.csv.gz")
        t, i, v = pulses["time_s"], pulses["current_a"], pulses["voltage_v"]
        keep = np.concatenate([[True], np.diff(t) > 0])
        t, i, v = t[keep], i[keep], v[keep]
        soc = 1 + (counted(t, i) + offset_a * t / 3600) / capacity
        low = v < 3.0  # past the end of a pulse test the cell is nowhere near its model
        yield Trace(temp_c, t[~low], i[~low], v[~low], soc[~low])


def a123(folder: Path) -> Iterable[Trace]:
    q = RECIPES["lfp"].capacity_ah
    eta = RECIPES["lfp"].coulombic_efficiency
    slow = read(folder / "a123" / "ocv_25degC.csv.gz")
    for script, start in ((1, 1.0), (3, 0.0)):
        s = slow[slow["script"] == script]
        soc = start + (eta * s["ah_charge"] - s["ah_discharge"]) / q
        yield Trace(25.0, s["time_s"], s["current_a"], s["voltage_v"], soc, True)
    drive = read(folder / "a123" / "dyn_25degC.csv.gz")
    yield Trace(25.0, drive["time_s"], drive["current_a"], drive["voltage_v"], drive["soc_ref"])


def m50(folder: Path) -> Iterable[Trace]:
    d = read(folder / "sim_ferry" / "char_nmc_25degC.csv.gz")
    yield Trace(25.0, d["time_s"], d["current_a"], d["voltage_v"], d["soc_true"])


LOADERS = {"nmc": lg_hg2, "lfp": a123, "nmc-m50": m50}


def as_toml(recipe: Recipe, tables: dict[str, Any], constants: tuple[float, float, float], size_v: float) -> str:
    def row(values: Iterable[float], digits: int) -> str:
        return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"

    lines = [
        "# Provisional cell model, per cell. Identified by dsp/cells/fit.py; do not edit by hand.",
        "schema = 1",
        f'name = "{recipe.name}"',
        f'chemistry = "{recipe.chemistry}"',
        f'source = "{recipe.source}"',
        f"residual_v = {size_v:.4f}  # mean size over the recordings it was identified from",
        f"capacity_ah = {recipe.capacity_ah}",
        f"max_charge_a = {recipe.max_charge_a}",
        f"max_discharge_a = {recipe.max_discharge_a}",
        f"coulombic_efficiency = {recipe.coulombic_efficiency}",
        f"tau1_s = {constants[0]}",
        f"tau2_s = {constants[1]}",
        f"hysteresis_rate = {constants[2]}  # e-folds per unit of SoC moved",
        f"activation_k = {ACTIVATION_K}  # assumed, for temperatures beyond the identified ones",
        "",
        "[ocv]",
        f"soc = {row(KNOTS, 3)}",
        f"voltage_v = {row(tables['ocv_v'], 4)}",
        "",
        "[hysteresis]",
        f"soc = {row(COARSE, 2)}",
        f"half_gap_v = {row(tables['half_gap_v'], 4)}",
        "",
        "[uncertainty]  # what the model leaves unexplained",
        f"soc = {row(COARSE, 2)}",
        f"sigma_v = {row(tables['sigma_v'], 4)}",
    ]
    for k, temp_c in enumerate(recipe.temps_c):
        lines += ["", "[[resistance]]", f"temp_c = {temp_c}", f"soc = {row(COARSE, 2)}"]
        lines += [f"{name} = {row(tables[name][k], 5)}" for name in ("r0_ohm", "r1_ohm", "r2_ohm")]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
