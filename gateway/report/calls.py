"""Calls at berths of a month, and how calls and meter minutes agree.

A call belongs to the month in which it ends; energy belongs to its minutes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.report.energy import MINUTE_NS, Minutes, Window, Windows, peaks_between
from gateway.report.month import NS, Month
from gateway.report.source import tag
from gateway.store.base import Columns, Store

if TYPE_CHECKING:
    from gateway.report.stays import Stay

LONGEST_NS = 31 * 86_400 * NS  # a call that ends in the month is looked for this long before it
CALL_FIELDS = (
    "end_ns", "energy_wh", "register_open_wh", "register_close_wh", "peak_power_w", "covered_s", "connected_s",
    "interruptions", "integrated_wh", "soc_start", "soc_end", "begin_known", "end_known",
    "begin_unseen_s", "end_unseen_s",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A ship at a berth. None: not measured.

    `minutes_low_wh` are the meter's minutes that lie wholly in the call, `minutes_high_wh` those that touch it;
    the call's energy lies between, unless `minutes_missing` of them are not in the store. `unseen_s`: by so much
    it may be longer at its ends, where no row told; None if that has no bound.
    """

    berth: str
    charger: str
    meter: str
    vessel: str
    start_ns: int
    end_ns: int
    energy_wh: int | None
    register_open_wh: int | None
    register_close_wh: int | None
    peak_power_w: float | None
    covered_s: float | None
    connected_s: float | None
    interruptions: int | None
    soc_start: float | None
    soc_end: float | None
    origin: str
    minutes_low_wh: int = 0
    minutes_high_wh: int = 0
    minutes_missing: int = 0
    peak_10min: Window | None = None
    begin_known: bool = True
    end_known: bool = True
    unseen_s: float | None = 0.0
    integrated_wh: float | None = None  # by power alone: to check the registers with
    use: str = "berth_supply"
    stay: "Stay | None" = None  # what the journal says of the ship's time at the berth

    @property
    def closes_ns(self) -> int:
        """The instant whose month the call belongs to: the ship's departure, else the end of the connection."""
        return self.end_ns if self.stay is None else self.stay.departure_ns

    @cached_property
    def covered(self) -> Fraction | None:
        """Share of the call in which the meter's power was seen; of an end that nobody saw, all of it was not."""
        if self.covered_s is None:
            return None
        seen, seen_by = self.covered_s.as_integer_ratio()
        unseen, unseen_by = (self.unseen_s or 0).as_integer_ratio()
        lasted = (self.end_ns - self.start_ns) * unseen_by + unseen * NS  # in ns / unseen_by
        if lasted <= 0:
            return None
        return min(Fraction(seen * NS * unseen_by, seen_by * lasted), Fraction(1))

    @property
    def agrees(self) -> bool | None:
        """Does the call's energy lie between its minutes? None if that cannot be told."""
        if self.energy_wh is None or (self.energy_wh > self.minutes_high_wh and self.minutes_missing):
            return None
        return self.minutes_low_wh <= self.energy_wh <= self.minutes_high_wh


@dataclass(frozen=True)
class Reconciliation:
    """A meter's minutes of the month beside the calls that end in it: minutes = calls + outside + edges."""

    meter: str
    minutes_wh: int
    calls_wh: int
    outside_wh: int  # minutes that touch no call

    @property
    def difference_wh(self) -> int:
        return self.minutes_wh - self.calls_wh

    @property
    def edges_wh(self) -> int:
        """What begins and ends of calls share with their minutes, and calls that reach into another month."""
        return self.difference_wh - self.outside_wh


def read_calls(
    store: Store, site: str, charger: str, month: Month, berths: Mapping[str, Any], since_ns: int
) -> list[Call]:
    """Calls at one charger that end after `since_ns` and begin before the month is over. Sorted by start."""
    rows = store.columns(
        "session", charger, (*CALL_FIELDS, "berth", "meter", "withdrawn"),
        since_ns - LONGEST_NS, month.stop_ns, site=site,
    )  # fmt: skip
    calls = []
    column = {name: _known(rows[name]) for name in CALL_FIELDS}
    vessels, origins = tag(rows, "vessel"), tag(rows, "origin")
    for i, end_ns in _ends(rows):
        if end_ns <= since_ns:
            continue
        berth, meter = rows.text["berth"][i] or "", rows.text["meter"][i] or ""
        number = {name: values[i] for name, values in column.items()}
        calls.append(
            Call(
                berth=berth, charger=charger, vessel=vessels[i] or "unknown",
                origin=origins[i],
                meter=meter or berths.get(berth, {}).get("meter", ""),
                start_ns=int(rows.t_ns[i]), end_ns=end_ns, energy_wh=_int(number["energy_wh"]),
                register_open_wh=_register(number["register_open_wh"]),
                register_close_wh=_register(number["register_close_wh"]),
                peak_power_w=number["peak_power_w"], covered_s=number["covered_s"],
                connected_s=number["connected_s"], interruptions=_int(number["interruptions"]),
                soc_start=number["soc_start"], soc_end=number["soc_end"],
                begin_known=number["begin_known"] != 0.0, end_known=number["end_known"] != 0.0,
                unseen_s=_unseen_s(number), integrated_wh=number["integrated_wh"],
                use=berths.get(berth, {}).get("use") or "berth_supply",
            )
        )  # fmt: skip
    return calls


def beside_minutes(calls: Sequence[Call], minutes: Minutes, found: Windows) -> list[Call]:
    """Calls of a meter with what its minutes and 10-minute windows say of them."""
    t_ns, before_wh = minutes.t_ns, np.concatenate(([0], np.cumsum(minutes.import_wh)))
    start_ns = np.array([c.start_ns for c in calls], np.int64)
    end_ns = np.array([c.end_ns for c in calls], np.int64)
    first_ns, last_ns = -(-start_ns // MINUTE_NS) * MINUTE_NS, end_ns // MINUTE_NS * MINUTE_NS
    edges_ns = (first_ns, np.maximum(first_ns, last_ns), start_ns - MINUTE_NS + 1, end_ns)
    inner, inner_stop, low, high = (np.searchsorted(t_ns, edge_ns) for edge_ns in edges_ns)
    expected = -(-end_ns // MINUTE_NS) - start_ns // MINUTE_NS
    wholly_wh = before_wh[inner_stop] - before_wh[inner]
    touched_wh = before_wh[np.maximum(low, high)] - before_wh[low]
    missing = expected - (high - low)
    peaks = peaks_between(found, start_ns, end_ns)
    return [
        replace(
            call, minutes_low_wh=wholly, minutes_high_wh=touched, minutes_missing=lack, peak_10min=peak,
        )
        for call, wholly, touched, lack, peak in zip(
            calls, wholly_wh.tolist(), touched_wh.tolist(), missing.tolist(), peaks, strict=True
        )
    ]  # fmt: skip


def reconcile(meter: str, minutes: Minutes, calls: Sequence[Call], month: Month) -> Reconciliation:
    """`calls`: those of the meter that touch the month; `minutes`: those of the month."""
    outside = np.ones(len(minutes), bool)
    t_ns, import_wh = minutes.t_ns, minutes.import_wh
    low = np.searchsorted(t_ns, [call.start_ns - MINUTE_NS + 1 for call in calls])
    high = np.searchsorted(t_ns, [call.end_ns for call in calls])
    for first, stop in zip(low.tolist(), high.tolist(), strict=True):
        outside[first:stop] = False
    return Reconciliation(
        meter=meter,
        minutes_wh=int(import_wh.sum()),
        calls_wh=sum(c.energy_wh or 0 for c in calls if ends_within(c.closes_ns, month)),
        outside_wh=int(import_wh[outside].sum()),
    )


def ends_within(end_ns: int, month: Month) -> bool:
    """Something that ends at midnight belongs to the day before."""
    return month.start_ns < end_ns <= month.stop_ns


def _ends(rows: Columns) -> list[tuple[int, int]]:
    """Row number and end of each row that has one; a call that late rows have denied is none."""
    end_ns = rows.whole("end_ns")
    there = np.isfinite(rows["end_ns"]) & (rows["withdrawn"] != 1)
    return [(int(i), int(end_ns[i])) for i in np.flatnonzero(there)]


def _known(column: NDArray[np.float64]) -> list[float | None]:
    values: list[float | None] = column.tolist()
    for i in np.flatnonzero(~np.isfinite(column)).tolist():
        values[i] = None
    return values


def _unseen_s(number: Mapping[str, float | None]) -> float | None:
    """By how much a call may be longer than what was seen of it; None if nobody can tell."""
    found = 0.0
    for end in ("begin", "end"):
        unseen_s = number[f"{end}_unseen_s"]
        if unseen_s is None and number[f"{end}_known"] == 0.0:
            return None
        found += unseen_s or 0.0
    return found


def _int(value: float | None) -> int | None:
    return None if value is None else round(value)


def _register(value: float | None) -> int | None:
    """The kernels write an unknown register as -1."""
    return None if value is None or value < 0 else round(value)
