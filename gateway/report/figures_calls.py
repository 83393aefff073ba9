"""Figures of the calls: how many, how long, how much energy."""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.report.calls import Call
from gateway.report.energy import WINDOW_NS
from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.month import NS, utc

if TYPE_CHECKING:
    from gateway.report.model import Report


def call_key(name: str, call: Call) -> str:
    """Calls are told apart by berth and first instant, in UTC."""
    return f"call.{name}{_where(call.berth, call.start_ns // NS)}"


@lru_cache(maxsize=65_536)  # a call is named by each of its figures and of those made of them
def _where(berth: str, start_s: int) -> str:
    return key_of("", berth=berth, start=utc(start_s * NS))


def call_figures(report: "Report") -> Iterator[Figure]:
    month, calls = report.month, report.calls
    chargers = sorted({c.charger for c in calls})
    rows = tuple(RowRange("session", charger, month.start_ns, month.stop_ns) for charger in chargers)
    yield Figure(
        key="calls.count", value=len(calls), unit="count", perimeter="site", formula="count", rows=rows, open=True
    )
    known = [c for c in calls if c.energy_wh is not None]
    yield Figure(
        key="calls.energy_wh", value=sum(c.energy_wh or 0 for c in known) if known or not calls else None,
        unit="Wh", perimeter="site", formula="sum_of_calls",
        inputs=tuple(call_key("energy_wh", c) for c in known), open=True,
    )  # fmt: skip
    for call in calls:
        yield from _call(call)


def _call(call: Call) -> Iterator[Figure]:
    row = (RowRange("session", call.charger, call.start_ns, call.start_ns + 1),)
    yield Figure(
        key=call_key("energy_wh", call), value=call.energy_wh, unit="Wh", perimeter="call",
        formula="register_difference", rows=row, coverage=call.covered,
    )  # fmt: skip
    yield Figure(
        key=call_key("duration_s", call), value=Fraction(call.end_ns - call.start_ns, NS), unit="s",
        perimeter="call", formula="end_minus_start", rows=row,
    )  # fmt: skip
    peak = call.peak_10min
    if peak is not None:
        yield Figure(
            key=call_key("peak_10min_w", call), value=peak.power_w, unit="W", perimeter="call",
            formula="mean_of_window" if peak.complete else "mean_of_window_at_least",
            rows=(RowRange("energy_1m", call.meter, peak.start_ns, peak.start_ns + WINDOW_NS),),
        )  # fmt: skip
