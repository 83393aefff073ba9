"""Calls of a month, and how they agree with the meter's minutes."""

from fractions import Fraction
from typing import Any

import pytest

from gateway.report.markdown import render_markdown
from gateway.report.model import Report, build

NS = 1_000_000_000
MINUTE_NS = 60 * NS


def october(port: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port")


def test_a_call_belongs_to_the_month_in_which_it_ends(port: Any, paris_ns: Any) -> None:
    port.site()
    port.call(paris_ns("2026-09-30T23:40"), paris_ns("2026-10-01T00:20"), 1000)
    port.call(paris_ns("2026-10-31T23:40"), paris_ns("2026-11-01T00:20"), 2000)
    port.call(paris_ns("2026-10-31T20:00"), paris_ns("2026-11-01T00:00"), 4000)
    assert [c.energy_wh for c in october(port).calls] == [1000, 4000]


def test_a_call_lies_between_its_whole_minutes_and_those_it_touches(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100] * 10)
    port.call(at_ns + 90 * NS, at_ns + 5 * MINUTE_NS + NS, 372)
    (call,) = october(port).calls
    assert (call.minutes_low_wh, call.minutes_high_wh, call.agrees) == (300, 500, True)


@pytest.mark.parametrize(("energy_wh", "agrees"), [(299, False), (501, False), (None, None)])
def test_a_call_that_does_not_fit_its_minutes_is_told(
    port: Any, paris_ns: Any, energy_wh: Any, agrees: Any
) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100] * 10)
    port.call(at_ns + 90 * NS, at_ns + 5 * MINUTE_NS + NS, energy_wh)
    assert october(port).calls[0].agrees is agrees


def test_a_call_whose_last_minute_is_not_there_yet_is_undecided(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100] * 3)
    port.call(at_ns, at_ns + 3 * MINUTE_NS + 30 * NS, 350)
    (call,) = october(port).calls
    assert (call.agrees, call.minutes_missing) == (None, 1)


def test_minutes_are_calls_plus_what_lies_outside_plus_edges(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100] * 10)
    port.call(at_ns + 90 * NS, at_ns + 5 * MINUTE_NS + NS, 372)
    (sums,) = october(port).reconciliations
    assert (sums.minutes_wh, sums.calls_wh, sums.outside_wh, sums.edges_wh) == (1000, 372, 500, 128)
    assert sums.difference_wh == sums.outside_wh + sums.edges_wh


def test_a_call_that_goes_on_after_the_month_is_not_outside(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-31T23:30"), [100] * 30)
    port.call(paris_ns("2026-10-31T23:40"), paris_ns("2026-11-01T00:20"), 5000)
    (sums,) = october(port).reconciliations
    assert (sums.calls_wh, sums.outside_wh, sums.edges_wh) == (0, 1000, 2000)


def test_the_peak_of_a_call_may_lie_in_the_month_before(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-09-30T20:00"), [9000] * 10 + [100] * 290)
    port.call(paris_ns("2026-09-30T20:02"), paris_ns("2026-10-01T00:30"), 1000)
    report = october(port)
    assert report.calls[0].peak_10min.power_w == 540_000
    assert report.meters[0].peak.power_w == 6000


def test_what_a_call_did_not_measure_stays_unknown(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.call(at_ns, at_ns + MINUTE_NS, 5, soc_start=None, soc_end=None, register_open_wh=-1)
    (call,) = october(port).calls
    assert (call.soc_start, call.soc_end, call.register_open_wh, call.peak_10min) == (None, None, None, None)


def test_a_call_whose_ends_nobody_saw_is_not_covered_and_says_so(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100] * 20)
    ends = {"begin_known": 0, "end_known": 1, "begin_unseen_s": 300.0, "end_unseen_s": 0.0}
    port.call(at_ns + 5 * MINUTE_NS, at_ns + 10 * MINUTE_NS, 500, **ends)
    ends = {"begin_known": 1, "end_known": 1, "begin_unseen_s": 0.0, "end_unseen_s": 0.0}
    port.call(at_ns + 11 * MINUTE_NS, at_ns + 13 * MINUTE_NS, 200, **ends)
    port.call(at_ns + 14 * MINUTE_NS, at_ns + 16 * MINUTE_NS, 200, begin_known=0, end_known=1, end_unseen_s=0.0)
    half, whole, unbounded = october(port).calls
    assert (half.covered, half.begin_known, half.end_known, half.unseen_s) == (Fraction(1, 2), False, True, 300.0)
    assert (whole.covered, whole.unseen_s) == (1, 0.0)
    assert (unbounded.begin_known, unbounded.unseen_s) == (False, None)
    text = render_markdown(october(port), "en")
    assert "nobody saw it begin (5\u00a0min 0\u00a0s earlier at most)" in text
    assert "nobody saw it begin (any time earlier at most)" in text
    assert "≤\u00a0100.0%" in text
