"""Ships at berths as people wrote them down, and which connection to the shore belongs to which stay."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from gateway.journal import CallEntry, Entry, in_force
from gateway.report.calls import Call
from gateway.report.month import NS
from gateway.report.problems import Problem

TWO_HOURS_S = 2 * 3600


@dataclass(frozen=True)
class Stay:
    """From all fast to last line. `vessel`: its name in the site file, "" if the file has no such IMO number."""

    number: int  # of the journal's entry
    berth: str
    imo: str
    vessel: str
    said: str  # the name that was written down
    arrival_ns: int
    departure_ns: int
    use: str

    @property
    def lasted_s(self) -> Fraction:
        return Fraction(self.departure_ns - self.arrival_ns, NS)

    @property
    def under_two_hours(self) -> bool:
        """Exempt from the duty to connect, which counts from two hours at the berth."""
        return self.lasted_s < TWO_HOURS_S

    @property
    def name(self) -> str:
        return self.vessel or self.said or f"IMO {self.imo}"


def read_stays(entries: Iterable[Entry], vessels: Mapping[str, Any]) -> tuple[Stay, ...]:
    """All stays in force, by arrival. `vessels`: of the site file, by name."""
    by_imo = {v["imo"]: name for name, v in vessels.items() if v.get("imo")}
    found = []
    for entry in in_force(entries):
        body = entry.body
        if isinstance(body, CallEntry):
            vessel = by_imo.get(body.imo, "")
            times = instant_ns(body.arrival), instant_ns(body.departure)
            found.append(Stay(entry.number, body.berth, body.imo, vessel, body.vessel, *times, body.use))
    return tuple(sorted(found, key=lambda s: (s.arrival_ns, s.berth, s.number)))


def instant_ns(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def by_berth(stays: Sequence[Stay]) -> Mapping[str, list[Stay]]:
    """Sorted by arrival."""
    found: dict[str, list[Stay]] = {}
    for stay in stays:
        found.setdefault(stay.berth, []).append(stay)
    return found


def with_stay(call: Call, stays: Mapping[str, list[Stay]]) -> Call:
    """The call with the stay that it shares most time with, and what is known from there."""
    here, best, most_ns = stays.get(call.berth, []), None, 0
    for stay in reversed(here[: bisect_left(here, call.end_ns, key=lambda s: s.arrival_ns)]):
        shared_ns = min(call.end_ns, stay.departure_ns) - max(call.start_ns, stay.arrival_ns)
        if shared_ns <= 0:
            break  # those before it were gone as well
        if shared_ns > most_ns:
            best, most_ns = stay, shared_ns
    if best is None:
        return call
    vessel = best.vessel or call.vessel if call.vessel == "unknown" else call.vessel
    return replace(call, stay=best, vessel=vessel, use=best.use or call.use)


def _overlapping(stays: Sequence[Stay]) -> Iterator[tuple[Stay, Stay]]:
    """Pairs that share time."""
    for i, first in enumerate(stays):
        for second in stays[i + 1 :]:
            if second.arrival_ns >= first.departure_ns:
                break  # they are in order of arrival
            yield first, second


def problems_of(stays: Sequence[Stay], calls: Sequence[Call]) -> list[Problem]:
    """What does not fit: stays of the month, and the calls that end in it."""
    found = []
    for a, b in _overlapping(stays):
        pair = {"first": a.number, "second": b.number, "at_ns": b.arrival_ns}
        if a.berth == b.berth:
            found.append(Problem("stays_overlap", {**pair, "berth": a.berth}))
        elif a.imo == b.imo:
            found.append(Problem("ship_twice", {**pair, "imo": a.imo, "berth": a.berth, "other": b.berth}))
    found += [
        Problem("unknown_imo", {"imo": s.imo, "berth": s.berth, "at_ns": s.arrival_ns})
        for s in stays
        if not s.vessel
    ]
    for call in calls:
        where: dict[str, object] = {"berth": call.berth, "at_ns": call.start_ns}
        if call.vessel == "unknown" and call.stay is None:
            found.append(Problem("unknown_vessel", where))
        elif call.stay is not None and call.stay.vessel and call.vessel != call.stay.vessel:
            found.append(Problem("vessel_differs", {**where, "plc": call.vessel, "journal": call.stay.vessel}))
    return found
