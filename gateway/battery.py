"""`bollard battery`: identify a cell model from recordings, and run the estimator over a recording.

The estimator is fed row by row through `dsp.soc.step`, the call that a gateway makes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import soc
from dsp.cell import Cell, load_cell, pack_params
from dsp.identify import CannotIdentify, Identified, Record, Table, as_toml, identify
from gateway.battery_files import Recording, RecordingError, read_ocv, read_pulse

Array = NDArray[np.float64]
NS_PER_S = 1_000_000_000
WITHIN = 0.05


@dataclass(frozen=True)
class RunOptions:
    """How `run` estimates. Offsets and capacity are the pack's; times are the file's."""

    series: int = 1
    parallel: int = 1
    start_soc: float | None = None
    start_sigma: float = 0.3
    current_offset_a: float = 0.0
    skip_s: float = 600.0
    capacity_ah: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came out, one value a row, and the figures. Accuracy is None where the file has no truth."""

    t_s: Array
    soc: Array
    low: Array
    high: Array
    capacity: Array
    truth: Array | None
    figures: dict[str, Any]


def run(cell: Cell, recording: Recording, options: RunOptions) -> Outcome:
    """Estimate over a recording through the streaming call."""
    params = pack_params(cell, options.series, options.parallel, options.capacity_ah)
    start = float("nan") if options.start_soc is None else options.start_soc
    n = len(recording.t_s)
    found, low, high, capacity = (np.full(n, np.nan) for _ in range(4))
    untimed = int((~np.isfinite(recording.t_s)).sum())
    t_ns = np.round(np.nan_to_num(recording.t_s) * NS_PER_S).astype(np.int64).tolist()
    voltage_v, temp_c = recording.voltage_v.tolist(), recording.temp_c.tolist()
    current_a = (recording.current_a + options.current_offset_a).tolist()
    bms = [float("nan")] * n if recording.soc_bms is None else recording.soc_bms.tolist()
    timed = np.isfinite(recording.t_s).tolist()
    warm = soc.init(params, start, options.start_sigma)
    soc.step(warm, params, 0, voltage_v[0], current_a[0], temp_c[0], bms[0])  # compiles, or loads the cache
    state = soc.init(params, start, options.start_sigma)
    step, row, spent_ns = soc.step, state[0], 0
    for k in range(n):
        if timed[k]:
            begin = time.perf_counter_ns()
            step(state, params, t_ns[k], voltage_v[k], current_a[k], temp_c[k], bms[k])
            spent_ns += time.perf_counter_ns() - begin
        found[k], low[k], high[k], capacity[k] = row["soc"], row["soc_low"], row["soc_high"], row["capacity_ah"]
    defects = {name: int(row[name]) for name in soc.DEFECTS} | {"untimed": untimed}
    figures: dict[str, Any] = {
        "rows": n,
        **accuracy(recording.t_s, found, low, high, recording.truth, options.skip_s),
        "capacity_ah": float(row["capacity_ah"]),
        "capacity_sd_ah": float(row["capacity_sd_ah"]),
        "current_bias_a": float(row["bias_a"]),
        "defects": sum(defects.values()),
        "defects_by_kind": defects,
        "ns_per_step": spent_ns / max(1, n - untimed),
        "soc_end": float(found[-1]), "soc_end_low": float(low[-1]), "soc_end_high": float(high[-1]),
    }  # fmt: skip
    return Outcome(recording.t_s, found, low, high, capacity, recording.truth, figures)


def accuracy(
    t_s: Array, found: Array, low: Array, high: Array, truth: Array | None, skip_s: float
) -> dict[str, Any]:
    """Errors after `skip_s`; `within_5_percent_s` is the time after which they stay so, None if they do not."""
    if truth is None:
        return {}
    known = np.isfinite(found) & np.isfinite(truth) & np.isfinite(t_s)
    since = t_s - t_s[np.isfinite(t_s)][0]
    later = known & (since >= skip_s)
    if not later.any():
        return {"rmse": None, "mae": None, "max_error": None, "within_5_percent_s": None, "coverage_95": None}
    error = found - truth
    beyond = np.flatnonzero(known & (np.abs(error) > WITHIN))
    within: float | None = 0.0
    if len(beyond):
        after = np.flatnonzero(known & (np.arange(len(t_s)) > beyond[-1]))
        within = float(since[after[0]]) if len(after) else None
    return {
        "rmse": float(np.sqrt(np.mean(error[later] ** 2))),
        "mae": float(np.mean(np.abs(error[later]))),
        "max_error": float(np.max(np.abs(error[later]))),
        "within_5_percent_s": within,
        "coverage_95": float(np.mean((low[later] <= truth[later]) & (truth[later] <= high[later]))),
    }


def fit(
    ocv: Sequence[tuple[Path, float | None]], pulse: Sequence[tuple[Path, float | None]],
    chemistry: str | None = None, capacity_ah: float | None = None,
) -> Identified:  # fmt: skip
    """Identify a cell from files. Raises: RecordingError."""
    slow: list[Record] = []
    tables: list[Table] = []
    for path, temp_c in ocv:
        read = read_ocv(path, temp_c)
        if isinstance(read, Table):
            tables.append(read)
        else:
            slow.append(read)
    pulses = [read_pulse(path, temp_c) for path, temp_c in pulse]
    try:
        return identify(slow, tables, pulses, chemistry, capacity_ah)
    except CannotIdentify as error:
        raise RecordingError(str(error)) from error


def write_cell(model: Identified, out: Path, name: str, source: str) -> Cell:
    """Write the cell file and read it back. Raises: RecordingError."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(as_toml(model, name, source), encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"{out}: {error.strerror}; choose another file with --out") from error
    try:
        return load_cell(out)
    except ValueError as error:
        raise RecordingError(f"the recordings do not give a plausible cell:\n{error}") from error
