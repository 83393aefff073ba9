"""Battery recordings: read, check, cut, and find the calls in them.

A recording becomes four arrays at whole seconds. Between its samples it is read as a straight line. Current
is positive when charging.
"""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DEFAULT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time_s",),
    "voltage": ("voltage_v",),
    "current": ("current_a",),
    "temperature": ("temp_c",),
    "truth": ("soc_ref_closed", "soc_ref", "soc_true"),
}
_OPTIONAL = ("temperature", "truth")
_ROOM_TEMP_C = 25.0  # of a recording that has no temperature
_CELL_V = (0.5, 6.0)  # a lithium cell, even a mistreated one
_CHARGE_SHARE = 0.02  # of the largest current: below is rest or a ship's own needs
_LEAST_CALL_S = 300  # charging in all; regenerative braking lasts seconds
_LEAST_PART_S = 60
_LONGEST_REST_S = 300  # a longer rest ends a call


class RecordingError(ValueError):
    """A recording is not usable. Lists every problem, one a line."""


@dataclass(frozen=True)
class Recording:
    """One cell, a value per second.

    Attributes:
        name: File name, for messages.
        voltage_v, current_a, temp_c: float64[n]
        soc: The recording's own truth, NaN throughout if it has none. float64[n]
        columns: Which column each quantity was read from.
        offset_s: Where second 0 lies in the file.
    """

    name: str
    voltage_v: Floats
    current_a: Floats
    temp_c: Floats
    soc: Floats
    columns: Mapping[str, str]
    offset_s: int = 0

    @property
    def seconds(self) -> int:
        """Length. [s]"""
        return len(self.voltage_v) - 1

    @property
    def has_truth(self) -> bool:
        return bool(np.isfinite(self.soc).any())

    def cut(self, start_s: int, span_s: int | None) -> "Recording":
        """The stretch from `start_s` on, at most `span_s` long. Raises: RecordingError."""
        if not 0 <= start_s < self.seconds:
            raise RecordingError(
                f"{self.name}: start = {start_s} s, the recording has {self.seconds} s; "
                f"give 0 to {self.seconds - 1}"
            )
        part = slice(start_s, None if span_s is None else start_s + span_s + 1)
        return replace(
            self,
            voltage_v=self.voltage_v[part],
            current_a=self.current_a[part],
            temp_c=self.temp_c[part],
            soc=self.soc[part],
            offset_s=self.offset_s + start_s,
        )


@dataclass(frozen=True)
class Charge:
    """A long charge: the first and last second of charging current."""

    first_s: int
    last_s: int


def load(path: Path, columns: Mapping[str, str] | None = None) -> Recording:
    """Read a CSV or CSV.gz file.

    Args:
        columns: Quantity (time, voltage, current, temperature, truth) -> name of its column. What is left
            out is looked for under the names of `DEFAULT_COLUMNS`; temperature and truth may be missing.

    Raises: RecordingError, with every problem found.
    """
    header, rows = _table(path)
    chosen = _choose(path, header, columns or {})
    data = {quantity: _column(path, header, rows, name) for quantity, name in chosen.items()}
    time_s = data["time"]
    last = np.append(np.diff(time_s) > 0, True)  # native logs repeat an instant around steps: the last counts
    problems = list(_problems(path, chosen, data))
    if problems:
        raise RecordingError("\n".join(problems))
    grid = np.arange(int(time_s[-1] - time_s[0]) + 1, dtype=np.float64)
    knots = time_s[last] - time_s[0]

    def at_seconds(quantity: str, default: float) -> Floats:
        if quantity not in data:
            return np.full(len(grid), default)
        known = np.isfinite(data[quantity][last])
        return np.asarray(np.interp(grid, knots[known], data[quantity][last][known]))

    return Recording(
        path.name,
        at_seconds("voltage", np.nan),
        at_seconds("current", np.nan),
        at_seconds("temperature", _ROOM_TEMP_C),
        at_seconds("truth", np.nan),
        chosen,
    )


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecordingError(f"{path}: cannot be read: {reason}; give a CSV file, plain or gzip") from error
    except (EOFError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: is not a whole CSV or CSV.gz text file ({error}); give one") from error
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if len(rows) < 3:
        raise RecordingError(f"{path}: {len(rows)} lines; a recording has a line of names and 2 samples or more")
    header, samples = [name.strip() for name in rows[0]], rows[1:]
    if len(header) == 1 and ";" in header[0]:
        raise RecordingError(f"{path}: is separated by ';'; save it with commas, and points in numbers")
    uneven = next((line for line, row in enumerate(samples, 2) if len(row) != len(header)), None)
    if uneven is not None:
        seen = len(samples[uneven - 2])
        raise RecordingError(
            f"{path}: line {uneven} has {seen} fields, the header {len(header)}; correct or remove the line"
        )
    return header, samples


def _choose(path: Path, header: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    problems = [
        f"{path}: columns.{quantity}: no such quantity; use {', '.join(DEFAULT_COLUMNS)}"
        for quantity in columns
        if quantity not in DEFAULT_COLUMNS
    ]
    chosen: dict[str, str] = {}
    for quantity, defaults in DEFAULT_COLUMNS.items():
        wanted = (columns[quantity],) if quantity in columns else defaults
        found = next((name for name in wanted if name in header), None)
        if found is not None:
            chosen[quantity] = found
        elif quantity in columns or quantity not in _OPTIONAL:
            problems.append(
                f"{path}: no column {' or '.join(wanted)} for {quantity}; the file has {', '.join(header)}: "
                f"map it with --columns {quantity}=NAME"
            )
    if problems:
        raise RecordingError("\n".join(problems))
    return chosen


def _column(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> Floats:
    at = header.index(name)
    try:
        return np.array([float(row[at]) if row[at].strip() else np.nan for row in rows])
    except (ValueError, IndexError):
        for line, row in enumerate(rows, 2):
            try:
                float(row[at].strip() or "nan")
            except (ValueError, IndexError):
                seen = repr(row[at]) if at < len(row) else "nothing"
                raise RecordingError(
                    f"{path}: line {line}, column {name}: {seen} is not a number; correct or remove the line"
                ) from None
        raise


def _problems(path: Path, chosen: Mapping[str, str], data: Mapping[str, Floats]) -> list[str]:
    problems = []
    time_s = data["time"]
    if not np.isfinite(time_s).all():
        line = int(np.argmin(np.isfinite(time_s))) + 2
        problems.append(f"{path}: line {line}, column {chosen['time']}: no time; every sample needs one")
    elif (backwards := np.flatnonzero(np.diff(time_s) < 0)).size:
        i = int(backwards[0])
        problems.append(
            f"{path}: line {i + 3}: {chosen['time']} goes back from {time_s[i]:g} to {time_s[i + 1]:g}; "
            "sort the file by time, in seconds"
        )
    elif not 1.0 <= time_s[-1] - time_s[0] <= 400 * 86_400:
        problems.append(
            f"{path}: {chosen['time']} spans {time_s[-1] - time_s[0]:g} s; give 1 s to 400 days, in seconds"
        )
    voltage = data["voltage"]
    for quantity in ("voltage", "current"):
        if not np.isfinite(data[quantity]).any():
            problems.append(f"{path}: column {chosen[quantity]} holds no number; map {quantity} to another one")
            return problems
    middle = float(np.nanmedian(voltage))
    if not _CELL_V[0] <= middle <= _CELL_V[1]:
        unit = "looks like millivolts; divide by 1000" if 500 <= middle <= 6000 else "give one cell, in volts"
        problems.append(
            f"{path}: {chosen['voltage']} is {middle:g} in the middle, a cell has {_CELL_V[0]:g} to "
            f"{_CELL_V[1]:g} V; {unit}"
        )
    truth = data.get("truth")
    if truth is not None and np.isfinite(truth).any() and not -0.1 <= float(np.nanmedian(truth)) <= 1.1:
        problems.append(
            f"{path}: {chosen['truth']} is {float(np.nanmedian(truth)):g} in the middle; SoC is a fraction, 0 to 1"
        )
    return problems


def find_charges(recording: Recording) -> list[Charge]:
    """The long charges, which is what a call at a berth looks like from inside a cell.

    Rule: a stretch in which the cell is never discharged with more than 2 % of the recording's largest
    current, which rests for at most 5 minutes at a time and is charged (above the same 2 %) for at least
    5 minutes in all. Regenerative braking alternates with discharge and so never gets there.
    """
    current = recording.current_a
    threshold = _CHARGE_SHARE * float(np.max(np.abs(current)))
    charges: list[Charge] = []
    charging_s = first = last = 0
    for second in np.flatnonzero(np.abs(current) > threshold).tolist():
        forward = current[second] > 0
        if charging_s and (not forward or second - last > _LONGEST_REST_S):
            if charging_s >= _LEAST_CALL_S:
                charges.append(Charge(first, last))
            charging_s = 0
        if forward:
            first = second if charging_s == 0 else first
            charging_s, last = charging_s + 1, second
    if charging_s >= _LEAST_CALL_S:
        charges.append(Charge(first, last))
    return charges


def charges_within(charges: Sequence[Charge], cut: Recording) -> list[Charge]:
    """The charges that a cut keeps, in its seconds. One of which less than a minute is left does not count."""
    moved = [Charge(max(0, c.first_s - cut.offset_s), min(cut.seconds, c.last_s - cut.offset_s)) for c in charges]
    return [c for c in moved if c.last_s - c.first_s >= _LEAST_PART_S]


def capacity_ah(recording: Recording) -> tuple[float, str]:
    """Capacity of the recorded cell [Ah], and how it was found.

    By the recording's own truth: charge counted between its lowest and highest SoC, if these lie 5 % or
    more apart. Else the largest swing of the counted charge, which the capacity cannot be below.
    """
    mean_a = (recording.current_a[1:] + recording.current_a[:-1]) / 2.0
    counted = np.concatenate([[0.0], np.cumsum(mean_a)]) / 3600.0
    if recording.has_truth:
        low, high = int(np.nanargmin(recording.soc)), int(np.nanargmax(recording.soc))
        swing = float(recording.soc[high] - recording.soc[low])
        if swing >= 0.05 and (found := float(counted[high] - counted[low]) / swing) > 0.0:
            return found, "counted charge over the recorded SoC"
    return max(float(np.ptp(counted)), 1e-3), "largest swing of the counted charge: a lower bound"
