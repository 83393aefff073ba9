"""Recordings of batteries: CSV files, gzipped or plain, as `bollard battery` takes them."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsp.identify import Record, Table
from gateway.errors import GatewayError

Array = NDArray[np.float64]
COLUMNS = {"time": "time_s", "voltage": "voltage_v", "current": "current_a", "temperature": "temp_c"}
TRUTHS = ("soc_ref_closed", "soc_ref", "soc_true")
ROLES = (*COLUMNS, "truth", "soc_bms")
MOST_BACKWARD = 0.02  # share of steps: a clock is set now and then, not every minute
HIGHEST_CELL_V, HIGHEST_C_RATE = 6.0, 60.0


class RecordingError(GatewayError):
    """A recording cannot be used as it is. Says which file, what was seen, what to do."""


@dataclass(frozen=True)
class Recording:
    """Columns of one file. NaN where a value is missing; `truth` None where the file has none."""

    path: Path
    t_s: Array
    voltage_v: Array
    current_a: Array
    temp_c: Array
    truth: Array | None
    soc_bms: Array | None
    script: Array | None

    def cut(self, from_s: float | None, to_s: float | None) -> "Recording":
        """Rows between two times of the file."""
        low, high = -np.inf if from_s is None else from_s, np.inf if to_s is None else to_s
        kept = np.flatnonzero((self.t_s >= low) & (self.t_s <= high))
        if len(kept) < 2:
            raise RecordingError(
                f"{self.path}: {len(kept)} rows between {low:g} and {high:g} s; the file goes from"
                f" {np.nanmin(self.t_s):g} to {np.nanmax(self.t_s):g} s: change --from-s and --to-s"
            )
        return self.rows(kept)

    def rows(self, kept: NDArray[np.intp]) -> "Recording":
        def part(column: Array | None) -> Array | None:
            return None if column is None else column[kept]

        return Recording(
            self.path, self.t_s[kept], self.voltage_v[kept], self.current_a[kept], self.temp_c[kept],
            part(self.truth), part(self.soc_bms), part(self.script),
        )  # fmt: skip

    def every(self, seconds: float) -> "Recording":
        """The first row of each interval: what a slower poll would have seen."""
        kept, due = [], -np.inf
        for k, t in enumerate(self.t_s.tolist()):
            if t >= due or t < due - 2 * seconds:
                kept.append(k)
                due = t + seconds if due == -np.inf or t < due - 2 * seconds else due + seconds
                due = max(due, t + 0.5 * seconds)
        return self.rows(np.array(kept))


def parse_columns(text: str | None) -> dict[str, str]:
    """`time=time_s,voltage=v` -> role: column. Raises: RecordingError."""
    found: dict[str, str] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not name:
            raise RecordingError(
                f"--columns: {part.strip()!r} is not ROLE=COLUMN with a role of {', '.join(ROLES)}"
            )
        found[role] = name
    return found


def read_columns(path: Path) -> dict[str, Array]:
    """Every numeric column of a CSV file. Text becomes NaN; a column of nothing but text is left out."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            header = [name.strip().strip('"') for name in file.readline().strip().split(",")]
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise RecordingError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise RecordingError(f"{path}: cannot be read ({error}); give a CSV file, plain or .gz") from error
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        mark = "semicolons" if ";" in header[0] else "tabs"
        raise RecordingError(f"{path}: its columns are apart by {mark}; save it with commas and decimal points")
    lines = [line for line in lines if line.strip()]
    if len(lines) < 2:
        raise RecordingError(f"{path}: {len(lines)} rows after the header; a recording has two or more")
    try:
        table = np.loadtxt(lines, delimiter=",", ndmin=2)
    except ValueError:
        table = np.genfromtxt(lines, delimiter=",", invalid_raise=False, encoding="utf-8").reshape(-1, len(header))
    if table.shape[1] != len(header):
        raise RecordingError(f"{path}: {table.shape[1]} values in a row under {len(header)} column names")
    return {name: np.ascontiguousarray(table[:, k]) for k, name in enumerate(header)}


def read_recording(
    path: Path, columns: Mapping[str, str], series: int = 1, parallel: int = 1, capacity_ah: float | None = None
) -> Recording:
    """Read a recording and refuse what cannot be: missing columns, wrong units, time without order.

    Args:
        columns: Role to column, where not the default; from `parse_columns`.
        capacity_ah: Of one cell, to judge the current by. [Ah]

    Raises: RecordingError.
    """
    table = read_columns(path)
    wanted = {**COLUMNS, **columns}
    missing = [
        f"{role}={wanted[role]}" for role in ROLES
        if role in wanted and wanted[role] not in table and (role != "temperature" or role in columns)
    ]  # fmt: skip
    if missing:
        raise RecordingError(
            f"{path}: no column for {', '.join(missing)}; it has {', '.join(table)}: name them with --columns"
        )
    t_s, voltage_v, current_a = (table[wanted[role]] for role in ("time", "voltage", "current"))
    temp_c = table.get(wanted["temperature"], np.full(len(t_s), np.nan))
    truth_name = columns.get("truth") or next((name for name in TRUTHS if name in table), None)
    truth = table[truth_name] if truth_name else None
    bms = table[columns["soc_bms"]] if "soc_bms" in columns else None
    script = table.get("script")
    if script is not None:
        t_s = _one_clock(t_s, script)
    _check_units(path, voltage_v / series, current_a / parallel, temp_c, truth, bms, capacity_ah)
    _check_time(path, t_s)
    return Recording(path, t_s, voltage_v, current_a, temp_c, truth, bms, script)


def read_ocv(path: Path, temp_c: float | None) -> Record | Table:
    """A slow curve over time, or a table of SoC against open-circuit voltage."""
    table = read_columns(path)
    if "time_s" not in table:
        soc = next((table[name] for name in ("soc", *TRUTHS) if name in table), None)
        up = next((table[k] for k in table if "charge" in k and "discharge" not in k and k.endswith("_v")), None)
        down = next((table[k] for k in table if "discharge" in k and k.endswith("_v")), None)
        mean = next((table[k] for k in ("ocv_average_v", "ocv_v", "voltage_v") if k in table), None)
        if soc is None or (mean is None and (up is None or down is None)):
            raise RecordingError(
                f"{path}: neither a recording (time_s, voltage_v, current_a) nor a table (soc with ocv_charge_v"
                f" and ocv_discharge_v, or ocv_v); it has {', '.join(table)}"
            )
        if up is None or down is None:
            assert mean is not None
            up = down = mean
        order = np.argsort(soc)
        if soc.max() > 1.5:
            raise RecordingError(f"{path}: soc goes to {soc.max():g}; give a fraction 0..1, not percent")
        return Table(path.name, soc[order], up[order], down[order])
    return _record(path, temp_c)


def read_pulse(path: Path, temp_c: float | None) -> Record:
    return _record(path, temp_c)


def _record(path: Path, temp_c: float | None) -> Record:
    r = read_recording(path, {})
    known = np.isfinite(r.t_s) & np.isfinite(r.voltage_v) & np.isfinite(r.current_a)
    if r.truth is not None:
        known &= np.isfinite(r.truth)
    temperature = temp_c
    if temperature is None:
        middle = float(np.nanmedian(r.temp_c)) if np.isfinite(r.temp_c).any() else 25.0
        temperature = round(middle, 1)
    truth = None if r.truth is None else r.truth[known]
    script = None if r.script is None else r.script[known]
    return Record(path.name, temperature, r.t_s[known], r.current_a[known], r.voltage_v[known], truth, script)


def _one_clock(t_s: Array, script: Array) -> Array:
    """Scripts whose time starts anew, one after the other."""
    result, start = t_s.copy(), 0.0
    for label in dict.fromkeys(script.tolist()):
        chosen = script == label
        result[chosen] = t_s[chosen] - t_s[chosen][0] + start
        start = float(result[chosen].max()) + 1.0
    return result


def _check_units(
    path: Path, cell_v: Array, cell_a: Array, temp_c: Array, truth: Array | None, bms: Array | None,
    capacity_ah: float | None,
) -> None:  # fmt: skip
    def middle(column: Array) -> float:
        known = np.abs(column[np.isfinite(column)])
        return float(np.median(known)) if len(known) else float("nan")

    v, t = middle(cell_v), middle(temp_c)
    if not np.isfinite(v):
        raise RecordingError(f"{path}: the voltage column holds no number")
    if v > HIGHEST_CELL_V:
        unit = "it looks like mV: convert it to V" if 1000 <= v <= 6000 else "give --series for a pack"
        raise RecordingError(f"{path}: voltage is around {v:g} V per cell, beyond {HIGHEST_CELL_V:g} V; {unit}")
    if v < 0.5:
        raise RecordingError(
            f"{path}: voltage is around {v:g} V per cell, below 0.5 V; check --series and the unit"
        )
    known_a = np.abs(cell_a[np.isfinite(cell_a)])
    if not len(known_a):
        raise RecordingError(f"{path}: the current column holds no number")
    if capacity_ah and np.quantile(known_a, 0.9) > HIGHEST_C_RATE * capacity_ah:
        raise RecordingError(
            f"{path}: current is around {np.quantile(known_a, 0.9):g} A per cell of {capacity_ah:g} Ah; convert mA"
            " to A; for a pack give --parallel"
        )
    if t > 150:
        raise RecordingError(f"{path}: temperature is around {t:g}; if it is K, convert it to degC")
    for name, column in (("truth", truth), ("soc_bms", bms)):
        if column is not None and np.nanmax(np.abs(column), initial=0.0) > 2.0:
            raise RecordingError(
                f"{path}: {name} goes to {np.nanmax(column):g}; give a fraction 0..1, not percent"
            )


def _check_time(path: Path, t_s: Array) -> None:
    steps = np.diff(t_s[np.isfinite(t_s)])
    if not len(steps):
        raise RecordingError(f"{path}: the time column holds no two numbers")
    backward = float((steps < 0).mean())
    if backward > MOST_BACKWARD:
        raise RecordingError(
            f"{path}: time goes backward in {100 * backward:.0f} % of the steps (first from"
            f" {t_s[int(np.argmax(np.diff(t_s) < 0))]:g} s); sort the rows or name the right column with"
            " --columns time=…"
        )
    if (steps > 0).mean() < 0.05:
        raise RecordingError(f"{path}: time stands still in most rows; name its column with --columns time=…")
    middle = float(np.median(steps[steps > 0]))
    if middle > 3 * 86_400 or (middle >= 900 and float(np.median(steps)) % 1000 == 0 and t_s[-1] > 1e6):
        raise RecordingError(f"{path}: rows are {middle:g} s apart; if time is in ms or ns, convert it to s")
