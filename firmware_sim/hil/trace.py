"""What was read in a watch: a table per scan class, and the arithmetic that cases share. No I/O."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivers.profile import Profile
from drivers.row import Quality, Row

NS = 1_000_000_000
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """One point. `value` is NaN where it was not good. Times in seconds since the first scan."""

    name: str
    t_s: Floats
    t_ns: NDArray[np.int64]
    value: Floats
    quality: NDArray[np.uint8]

    @property
    def good(self) -> Mask:
        return np.isin(self.quality, (Quality.GOOD, Quality.UNCERTAIN, Quality.UNPROVEN))

    @property
    def known(self) -> Floats:
        """Only the values that are numbers."""
        return self.value[np.isfinite(self.value)]


@dataclass
class Trace:
    """All scans of a watch, by scan class.

    Attributes:
        pairs: Two live scans each, one straight after the other.
        round_trip_s: Of each live scan's last request, in real time. [s]
        missed: Scans that were not answered at all, with their reason.
        faults: The driver's counts of what went wrong.
    """

    profile: Profile
    rows: dict[str, list[Row]] = field(default_factory=dict)
    pairs: list[tuple[Row, Row]] = field(default_factory=list)
    round_trip_s: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    _tables: dict[str, tuple[NDArray[np.int64], Floats, NDArray[np.uint8]]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.rows.setdefault(row.scan, []).append(row)
        self._tables.pop(row.scan, None)

    def scans(self, scan: str = "live") -> int:
        return len(self.rows.get(scan, ()))

    def has(self, *names: str) -> bool:
        return all(name in self.profile.index for name in names)

    def knows(self, name: str) -> bool:
        """Whether a point was ever good."""
        return bool(len(self[name].known)) or any(text.strip() for text in self.texts(name))

    def __getitem__(self, name: str) -> Series:
        i = self.profile.index[name]
        t_ns, values, quality = self._table(self.profile.points[i].scan)
        first_ns = int(t_ns[0]) if len(t_ns) else 0
        return Series(name, (t_ns - first_ns) / NS, t_ns, values[:, i], quality[:, i])

    def _table(self, scan: str) -> tuple[NDArray[np.int64], Floats, NDArray[np.uint8]]:
        if scan not in self._tables:
            rows, n = self.rows.get(scan, []), len(self.profile.points)
            self._tables[scan] = (
                np.array([row.t_ns for row in rows], np.int64),
                np.array([row.values for row in rows], np.float64).reshape(-1, n),
                np.array([row.quality for row in rows], np.uint8).reshape(-1, n),
            )
        return self._tables[scan]

    def texts(self, name: str) -> list[str]:
        """The different texts that a text point had, in order of first sight."""
        i = self.profile.index[name]
        rows = self.rows.get(self.profile.points[i].scan, [])
        return list(dict.fromkeys(row.text[i] for row in rows if i in row.text))

    def code(self, name: str, meaning: str) -> int | None:
        """The code of a state as the profile names it, None where it does not."""
        codes = self.profile.points[self.profile.index[name]].codes
        return next((int(code) for code, said in codes.items() if said == meaning), None)


def runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """First and last index of each stretch in which the mask holds."""
    padded = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    yield from zip(np.flatnonzero(padded == 1).tolist(), (np.flatnonzero(padded == -1) - 1).tolist(), strict=True)


def lasting(mask: Mask, scans: int = 2) -> tuple[int, int] | None:
    """The first stretch of at least `scans` scans: one scan alone may have caught a change half-way."""
    return next(((a, b) for a, b in runs(mask) if b - a + 1 >= scans), None)


def changes(value: Floats) -> list[tuple[int, float, float]]:
    """(index of the new value, before, after) of each change between values that are known."""
    known = np.flatnonzero(np.isfinite(value))
    at = np.flatnonzero(np.diff(value[known]) != 0)
    return [(int(known[i + 1]), float(value[known[i]]), float(value[known[i + 1]])) for i in at]


def integral(t_s: Floats, value: Floats) -> tuple[float, float]:
    """Trapezoidal integral over the steps whose ends are both known, and the time it covers. [·s], [s]"""
    step_s, mean = np.diff(t_s), 0.5 * (value[1:] + value[:-1])
    counts = np.isfinite(mean) & (step_s > 0)
    return float(np.sum(step_s[counts] * mean[counts])), float(np.sum(step_s[counts]))


def slope(t_s: Floats, value: Floats) -> float:
    """Of the straight line through the known values, NaN for fewer than three. [1/s]"""
    known = np.isfinite(value)
    if known.sum() < 3 or np.ptp(t_s[known]) == 0.0:
        return float("nan")
    t_s, value = t_s[known] - t_s[known].mean(), value[known]
    return float(np.sum(t_s * (value - value.mean())) / np.sum(t_s**2))
