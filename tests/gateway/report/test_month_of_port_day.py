"""A month of the simulated port, reckoned once more from what its plants did, in exact integers."""

from fractions import Fraction

import pytest
from month_store import MONTH, NS, OPENING_WH, REPLACED_NS, SCAN_S, SITE, START_NS, STOP_NS, MonthStore

from gateway.report.figure import by_key
from gateway.report.model import Report, build

METERS = ("delivery-1", "meter-1", "meter-2", "meter-3", "aux-1")


@pytest.fixture(scope="module")
def report(month: MonthStore) -> Report:
    return build(month.store, month.book, MONTH, SITE)


@pytest.mark.parametrize("meter", METERS)
def test_energy_is_that_of_the_register_differences(month: MonthStore, report: Report, meter: str) -> None:
    """Across outages, a roll-over (meter-2), a replacement (meter-3) and the change of clocks: 745 hours."""
    figures = by_key(report.figures())
    energy = figures[f"energy.import_wh/meter={meter}"]
    truth = month.truth
    assert energy.value == truth.energy_wh(meter)
    assert energy.coverage == 1 - Fraction(truth.lost_ns(meter), STOP_NS - START_NS)
    assert energy.shares is not None
    assert energy.shares.estimated == Fraction(truth.lost_wh(meter), truth.energy_wh(meter))
    assert energy.shares.integrated == 0
    assert energy.shares.measured + energy.shares.estimated == 1


def test_the_site_is_its_delivery_point(month: MonthStore, report: Report) -> None:
    assert report.import_wh == month.truth.energy_wh("delivery-1")
    assert report.month.seconds == 745 * 3600


def test_a_replaced_meter_has_two_epochs_that_add_up(month: MonthStore, report: Report) -> None:
    meter = next(m for m in report.meters if m.device == "meter-3")
    old, new = (s for s in meter.registers if s.direction == "import")
    before = int((REPLACED_NS - month.truth.t_ns[0]) // (SCAN_S * NS))
    assert old.closing.wh == month.truth.count_wh["meter-3"][before]  # last one read; the rest a person wrote down
    assert (new.opening.t_ns, new.opening.wh) == (REPLACED_NS, OPENING_WH)


def test_calls_are_those_of_the_plugs(month: MonthStore, report: Report) -> None:
    """Two calls cannot be: one reaches into an outage of its meter, in the other its register goes over.

    Both are told apart from the rest: they do not agree with their minutes.
    """
    planted = {(c.berth, c.first_ns // 10**9): c for c in month.truth.calls if START_NS < c.last_ns <= STOP_NS}
    assert len(report.calls) == len(planted)
    wrong = []
    for call in report.calls:
        truth = planted[call.berth, call.start_ns // 10**9]
        assert (call.vessel, call.end_ns // 10**9) == (truth.vessel, truth.last_ns // 10**9)
        if call.energy_wh != truth.energy_wh:
            wrong.append(call)
    assert [call.agrees for call in wrong] == [False, False]
    assert sum(call.agrees is True for call in report.calls) == len(planted) - 2
