"""What `dsp.identify` is given: recordings and tables, and the charge and truth along them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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


def scripts_of(record: Record) -> list[tuple[Array, Array, Array, Array | None]]:
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


def joined(record: Record) -> tuple[Array, Array, Array, Array | None]:
    parts, start, clocks = scripts_of(record), 0.0, []
    for part in parts:
        clocks.append(part[0] - part[0][0] + start)
        start = float(clocks[-1][-1]) + 1.0
    current, voltage = (np.concatenate([part[k] for part in parts]) for k in (1, 2))
    socs = [part[3] for part in parts if part[3] is not None]
    return np.concatenate(clocks), current, voltage, np.concatenate(socs) if len(socs) == len(parts) else None


def capacity_of(record: Record) -> float:
    """Charge counted per unit of truth."""
    assert record.soc is not None
    t, i, _, soc = joined(record) if record.script is not None else scripts_of(record)[0]
    assert soc is not None
    out = counted(t, np.minimum(i, 0.0))
    into = counted(t, np.maximum(i, 0.0))
    a = np.stack([out, into, np.ones(len(t))], axis=1)
    slope = np.linalg.lstsq(a, soc, rcond=None)[0]
    if not slope[0] > 0:
        raise CannotIdentify(f"{record.name}: its SoC does not fall on discharge; current is positive on charge")
    return float(1.0 / slope[0])


def counted(t_s: Array, current_a: Array) -> Array:
    """Charge moved since the first row. [Ah]"""
    step = np.diff(t_s) * 0.5 * (current_a[1:] + current_a[:-1]) / 3600
    return np.concatenate([[0.0], np.cumsum(step)])
