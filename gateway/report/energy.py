"""A meter's month from its minutes: sums, readings, coverage, gaps and the highest 10-minute mean power.

All sums are integers (Wh, ns) and so exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from gateway.report.month import NS, Month
from gateway.report.packed import Packed
from gateway.report.source import tag
from gateway.store.base import Store

MINUTE_NS = 60 * NS
WINDOW_NS = 10 * MINUTE_NS
FIELDS = (
    "import_wh", "export_wh", "covered_s", "measured_wh", "integrated_wh", "estimated_wh",
    "register_import_wh", "register_export_wh", "register_t_ns", "epoch",
)  # fmt: skip
LOOK_BACK_NS = 3600 * NS  # where the last reading before the month is looked for


class Minutes:
    """Rows of `energy_1m` of one meter, oldest first; a register below 0 is unknown. int64[n] each.

    A column is unpacked each time it is asked for: take it once where a loop needs it.
    """

    t_ns: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    covered_ns: NDArray[np.int64]
    measured_wh: NDArray[np.int64]
    integrated_wh: NDArray[np.int64]
    estimated_wh: NDArray[np.int64]
    register_import_wh: NDArray[np.int64]
    register_export_wh: NDArray[np.int64]
    register_t_ns: NDArray[np.int64]
    epoch: NDArray[np.int64]
    rev: NDArray[np.int64]

    def __init__(self, columns: Mapping[str, Packed], origins: Sequence[str], origin: Packed) -> None:
        self._columns, self._origins, self._origin = columns, origins, origin

    def __getattr__(self, name: str) -> NDArray[np.int64]:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(name)
        return self._columns[name].unpacked()

    @classmethod
    def of(cls, origin: NDArray[np.object_], **columns: NDArray[np.int64]) -> "Minutes":
        """From the columns that are named above, and the origin of each row."""
        origins = sorted(set(origin.tolist()))
        number = np.zeros(len(origin), np.int64)
        for i, name in enumerate(origins[1:], 1):
            number[origin == name] = i
        packed = {name: Packed.of(columns[name]) for name in cls.__annotations__}
        return cls(packed, origins, Packed.of(number))

    @property
    def origins(self) -> set[str]:
        """Of these rows."""
        return {self._origins[i] for i in np.flatnonzero(np.bincount(self._origin.unpacked())).tolist()}

    @classmethod
    def read(cls, store: Store, site: str, device: str, start_ns: int, stop_ns: int) -> "Minutes":
        """Minutes that start within [start_ns, stop_ns). One without its energy counts as not there."""
        rows = store.columns("energy_1m", device, FIELDS, start_ns, stop_ns, site=site)
        known = np.isfinite(rows["import_wh"]) & np.isfinite(rows["export_wh"])
        column = {name: rows.whole(name)[known] for name in FIELDS if name != "covered_s"}
        for share in ("measured_wh", "integrated_wh", "estimated_wh"):
            column[share] = np.maximum(column[share], 0)
        covered_ns = np.rint(np.nan_to_num(rows["covered_s"][known]) * NS).astype(np.int64)
        return cls.of(
            tag(rows, "origin")[known],
            t_ns=rows.t_ns[known],
            rev=rows.rev[known],
            covered_ns=np.clip(covered_ns, 0, MINUTE_NS),
            **column,
        )

    def within(self, start_ns: int, stop_ns: int) -> "Minutes":
        """Those that start within [start_ns, stop_ns)."""
        low, high = np.searchsorted(self.t_ns, (start_ns, stop_ns)).tolist()
        cut = {name: column.cut(low, high) for name, column in self._columns.items()}
        return Minutes(cut, self._origins, self._origin.cut(low, high))

    def __len__(self) -> int:
        return self._columns["t_ns"].count

    @property
    def stop_ns(self) -> int:
        """End of the last minute."""
        return int(self.t_ns[-1]) + MINUTE_NS


@dataclass(frozen=True)
class Window:
    """Mean power over ten minutes on the local clock. Incomplete: at least this much."""

    start_ns: int
    power_w: int
    complete: bool


@dataclass(frozen=True, eq=False)
class Windows(Sequence[Window]):
    """The windows of a meter, oldest first, as columns: a month of many meters has half a million."""

    start_ns: NDArray[np.int64]
    power_w: NDArray[np.int64]
    complete: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.start_ns)

    @overload
    def __getitem__(self, i: int) -> Window: ...
    @overload
    def __getitem__(self, i: slice) -> "Windows": ...
    def __getitem__(self, i: int | slice) -> "Window | Windows":
        if isinstance(i, slice):
            return Windows(self.start_ns[i], self.power_w[i], self.complete[i])
        return Window(int(self.start_ns[i]), int(self.power_w[i]), bool(self.complete[i]))

    @property
    def highest(self) -> Window | None:
        """The first of the highest; of equal ones a complete one."""
        return None if not len(self) else self[int(self.rank.argmax())]

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """By power, of equal ones the complete."""
        return 2 * self.power_w + self.complete

    def since(self, start_ns: int) -> "Windows":
        return self[int(np.searchsorted(self.start_ns, start_ns)) :]


@dataclass(frozen=True)
class Reading:
    """What a register showed at `t_ns`, and the minute whose row carries it."""

    t_ns: int
    wh: int
    minute_ns: int


@dataclass(frozen=True)
class RegisterSpan:
    """First and last reading of one register in one epoch of the meter.

    `minutes_wh`: the minutes after that of the first reading, up to that of the last. They differ from the
    registers by what flowed between a reading and the end of its minute, at most one scan at each end.
    """

    direction: str  # import or export
    epoch: int
    opening: Reading
    closing: Reading
    minutes_wh: int
    wrapped: bool

    @property
    def difference_wh(self) -> int | None:
        """None where the register passed zero: the minutes know by how much, two readings do not."""
        return None if self.wrapped else self.closing.wh - self.opening.wh


@dataclass(frozen=True)
class Gap:
    """Minutes in a row that were not fully covered. `missing_ns` is what they lack."""

    start_ns: int
    stop_ns: int
    missing_ns: int


@dataclass(frozen=True)
class MeterMonth:
    """`share` fields are of import + export. `coverage_month` is of the whole month, `coverage_span` from the
    meter's first minute in the month to the site's last."""

    device: str
    role: str
    parent: str | None
    serial: str
    accuracy_class: str
    counted: bool  # its import is part of the site's total
    import_wh: int
    export_wh: int
    measured_wh: int
    integrated_wh: int
    estimated_wh: int
    first_ns: int
    span_stop_ns: int
    coverage_month: Fraction
    coverage_span: Fraction
    registers: tuple[RegisterSpan, ...]
    gaps: tuple[Gap, ...]
    windows: Windows
    doubtful: bool = False  # it was replaced and nobody wrote the indices down: its sums mean nothing

    @property
    def known_import_wh(self) -> int | None:
        return None if self.doubtful else self.import_wh

    @property
    def known_export_wh(self) -> int | None:
        return None if self.doubtful else self.export_wh

    @property
    def peak(self) -> Window:
        found = self.windows.highest
        assert found is not None  # a meter's month has a minute
        return found

    @property
    def windows_expected(self) -> int:
        """Windows that the span from the first to the last minute touches."""
        return (self.span_stop_ns - 1 - self.windows[0].start_ns) // WINDOW_NS + 1

    @property
    def windows_incomplete(self) -> int:
        return self.windows_expected - int(self.windows.complete.sum())

    def share(self, part_wh: int) -> Fraction | None:
        total = self.measured_wh + self.integrated_wh + self.estimated_wh
        return Fraction(part_wh, total) if total else None


def windows(minutes: Minutes, month: Month) -> Windows:
    """Ten-minute windows aligned on the local clock but told apart in UTC: a change of clocks merges none.

    A window is complete when all ten minutes are covered and none of their energy is an estimate of a gap;
    otherwise it holds what is certain, a lower bound. (Clocks change by whole multiples of ten minutes, so
    one alignment holds for the month.)
    """
    if not len(minutes):
        return Windows(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_))
    offset = month.zone.utcoffset(datetime(month.year, month.month, 1)) or timedelta()
    phase_ns = offset // timedelta(seconds=1) * NS % WINDOW_NS
    start_ns = (minutes.t_ns + phase_ns) // WINDOW_NS * WINDOW_NS - phase_ns
    first = np.flatnonzero(np.diff(start_ns, prepend=start_ns[0] - WINDOW_NS))  # they are in order of time
    starts = start_ns[first]
    estimated_wh = minutes.estimated_wh
    certain_wh = np.maximum(minutes.import_wh - estimated_wh, 0)
    energy_wh = np.add.reduceat(certain_wh, first)
    whole_minute = (minutes.covered_ns >= MINUTE_NS) & (estimated_wh == 0)
    complete = np.add.reduceat(whole_minute.astype(np.int64), first) == WINDOW_NS // MINUTE_NS
    per_hour = 3600 * NS // WINDOW_NS
    return Windows(starts, energy_wh * per_hour, complete)


def peaks_between(found: Windows, start_ns: NDArray[np.int64], stop_ns: NDArray[np.int64]) -> list[Window | None]:
    """The highest window that touches each [start_ns, stop_ns)."""
    low = np.searchsorted(found.start_ns, start_ns - WINDOW_NS + 1).tolist()
    high = np.searchsorted(found.start_ns, stop_ns).tolist()
    rank = found.rank
    return [found[a + int(rank[a:b].argmax())] if a < b else None for a, b in zip(low, high, strict=True)]


def gaps(minutes: Minutes, span_stop_ns: int) -> tuple[Gap, ...]:
    """Where coverage lacks between the first minute and `span_stop_ns`."""
    if not len(minutes):
        return ()
    t_ns = minutes.t_ns
    origin_ns = int(t_ns[0])
    missing_ns = np.full((span_stop_ns - origin_ns) // MINUTE_NS, MINUTE_NS, np.int64)
    missing_ns[(t_ns - origin_ns) // MINUTE_NS] -= minutes.covered_ns
    thin = np.concatenate(([0], (missing_ns > 0).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(thin))
    return tuple(
        Gap(origin_ns + int(a) * MINUTE_NS, origin_ns + int(b) * MINUTE_NS, int(missing_ns[a:b].sum()))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    )


def register_spans(before: Minutes, minutes: Minutes) -> tuple[RegisterSpan, ...]:
    """Opening and closing reading of each register, per epoch of the meter.

    A reading from `before` the month opens it, if it belongs to the same epoch; else the first in it.
    """

    def both(name: str) -> NDArray[np.int64]:
        return np.concatenate([getattr(before, name), getattr(minutes, name)])

    found = []
    epoch, t_ns, start_ns = both("epoch"), both("register_t_ns"), both("t_ns")
    inside = epoch[len(before) :]
    begins = inside[np.flatnonzero(np.diff(inside, prepend=inside[:1] - 1))]
    in_epoch = {number: epoch == number for number in sorted(set(begins.tolist()))}
    for direction in ("import", "export"):
        register, energy_wh = both(f"register_{direction}_wh"), both(f"{direction}_wh")
        for number, belongs in in_epoch.items():
            rows = np.flatnonzero(belongs & (register >= 0))
            split = int(np.searchsorted(rows, len(before)))
            if split == len(rows):
                continue
            rows = rows[max(split - 1, 0) :]
            first, last = int(rows[0]), int(rows[-1])
            opening, closing = (Reading(int(t_ns[i]), int(register[i]), int(start_ns[i])) for i in (first, last))
            between = slice(first + 1, last + 1)
            wrapped = bool((np.diff(register[rows]) < 0).any())
            minutes_wh = int(energy_wh[between].sum(where=belongs[between]))
            found.append(RegisterSpan(direction, number, opening, closing, minutes_wh, wrapped))
    return tuple(found)
