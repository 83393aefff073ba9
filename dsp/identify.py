"""Identify a cell model from recordings. NumPy only; `bollard battery fit` reads the files.

Given time constants and hysteresis rate, the model of `dsp.soc` is linear in everything else: open-circuit
voltage, hysteresis half gap and resistances are piecewise linear in SoC, so one least-squares problem over all
recordings of a cell (slow curves, pulses, several temperatures, one open-circuit curve) gives them together:
`identify_ocv` takes slow curves apart, `identify_dynamics` solves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsp.identify_dynamics import COARSE, fit, nearest
from dsp.identify_ocv import (
    GAPS,
    KNOTS,
    Slow,
    aligned,
    gap_activation,
    gap_between,
    of_tables,
    slow_curve,
    soc_at_rest,
)
from dsp.identify_records import (
    CannotIdentify,
    Record,
    Table,
    Trace,
    capacity_of,
    counted,
    joined,
    scripts_of,
)

__all__ = ["CannotIdentify", "Identified", "Record", "Table", "as_toml", "chemistry_of", "identify"]

ACTIVATION_K = 2500.0  # 21 kJ/mol: what R0 of an LG HG2 cell follows between -10 and 40 degC
SLOW_ACTIVATION_K = {"NMC": 2500.0, "LFP": 4250.0}
HYSTERESIS_K = {"NMC": 0.0, "LFP": 1500.0}  # of the half gap; LFP: A123 26650 between -5 and 45 degC
# Among a few, on the developers' drives; long ones explain rest after a slow curve and spoil drives.
CONSTANTS = {"NMC": (10.0, 100.0, 20.0), "LFP": (20.0, 200.0, 12.0)}  # tau1, tau2 [s], hysteresis rate
LFP_TOP_V = 3.8  # no LFP cell rests above
LOW_V = {"NMC": 3.0, "LFP": 2.2}  # past the end of a pulse test the cell is nowhere near its model
SAME_TEMPERATURE_C = 3.0


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
    curves = aligned(curves)
    reference = min(curves, key=lambda c: abs(c.temp_c - 25.0)) if curves else None
    of_pulses = [capacity_of(r) for r in pulses if r.soc is not None]
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
        t for c in curves for t in c.traces if abs(nearest(temps_c, t.temp_c) - t.temp_c) < SAME_TEMPERATURE_C
    ]
    tested_ah = of_pulses[0] if of_pulses else (reference.capacity_ah if reference else own)
    gap = gap_between(reference) if kind == "LFP" and reference else None
    found, residuals = fit(kind, tested_ah, temps_c, [*known, *traces], *constants, gap)
    if tables:  # the table is the cell's own curve; the pulses may be another cell's
        found["ocv_v"], found["half_gap_v"] = of_tables(tables)
    for key in ("r0_ohm", "r1_ohm", "r2_ohm"):
        found[key] = [row * (tested_ah / own) for row in found[key]]
    warm_gap = gap_activation(curves) if kind == "LFP" else None
    largest = [(float(r.current_a.max()), float(-r.current_a.min())) for r in pulses]
    scale = own / tested_ah
    return Identified(
        kind, own, efficiency,
        max(1.0 * own, 1.1 * scale * max(a for a, _ in largest)),
        max(2.0 * own, 1.1 * scale * max(b for _, b in largest)),
        constants, HYSTERESIS_K[kind] if warm_gap is None else warm_gap, temps_c, found, residuals,
        [(c.temp_c, c.capacity_ah, c.offset_a) for c in curves],
    )  # fmt: skip


def _pulse_trace(
    record: Record, near: Slow | None, reference: Slow | None, tables: Sequence[Table], kind: str, own_ah: float
) -> Trace:
    """SoC along pulses or a drive: its truth, or counted from where it rests at the start."""
    t, i, v, truth = scripts_of(record)[0] if record.script is None else joined(record)
    if truth is not None:
        return Trace(record.temp_c, t, i, v, truth, False, record.name)
    capacity_ah = near.capacity_ah if near else own_ah
    close = near is not None and abs(near.temp_c - record.temp_c) < SAME_TEMPERATURE_C
    offset_a = near.offset_a if close and near is not None else 0.0
    start = soc_at_rest(float(v[0]), reference, tables)
    soc = start + (counted(t, i) + offset_a * (t - t[0]) / 3600) / capacity_ah
    fine = (v >= LOW_V[kind]) & (soc > -0.02) & (soc < 1.02)
    return Trace(record.temp_c, t[fine], i[fine] + offset_a, v[fine], soc[fine], False, record.name)


def _temperatures(values: Iterable[float]) -> tuple[float, ...]:
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] >= SAME_TEMPERATURE_C:
            kept.append(value)
    return tuple(kept)


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
        f"slow_activation_k = {SLOW_ACTIVATION_K[model.chemistry]}  # of R2 and tau2, beyond them",
        "", "[ocv]", f"soc = {row(KNOTS, 4)}", f"voltage_v = {row(tables['ocv_v'], 4)}",
        "", "[hysteresis]", f"soc = {row(GAPS, 2)}", f"half_gap_v = {row(tables['half_gap_v'], 4)}",
        "", "[uncertainty]  # what the model leaves unexplained", f"soc = {row(COARSE, 2)}",
        f"sigma_v = {row(tables['sigma_v'], 4)}",
    ]  # fmt: skip
    for k, temp_c in enumerate(model.temps_c):
        lines += ["", "[[resistance]]", f"temp_c = {temp_c:.4g}", f"soc = {row(COARSE, 2)}"]
        lines += [f"{key} = {row(tables[key][k], 5)}" for key in ("r0_ohm", "r1_ohm", "r2_ohm")]
    return "\n".join(lines) + "\n"
