"""A month of the simulated port, reckoned once more from what its plants did, in exact integers."""

from datetime import datetime
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from month_store import MONTH, NS, OPENING_WH, OUTAGES, REPLACED_NS, SCAN_S, SITE, START_NS, STOP_NS, MonthStore

from gateway.report.figure import by_key
from gateway.report.model import Report, build
from gateway.report.options import Options

METERS = ("delivery-1", "meter-1", "meter-2", "meter-3", "aux-1")


CONTRACT = """
[[contract]]
site = "port-day"
meter = "delivery-1"
[[contract.tariff]]
name = "HP"
start = 06:00:00
stop = 22:00:00
[[contract.tariff]]
name = "HC"
[[contract.subscribed]]
since = 2026-01-01
tariff = "HP"
power_kw = 60_000
"""


@pytest.fixture(scope="module")
def report(month: MonthStore) -> Report:
    return build(month.store, month.book, MONTH, SITE, Options(contracts=CONTRACT))


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


def test_the_port_view_is_the_plants_own_balance(month: MonthStore, report: Report) -> None:
    """What ships took, what the port used and what was lost, from the plants' registers alone."""
    truth, figures = month.truth, by_key(report.figures())
    ships_wh = sum(truth.energy_wh(f"meter-{n}") for n in (1, 2, 3))
    own_wh = truth.energy_wh("delivery-1") - ships_wh
    assert figures["port.ships_wh/point=delivery-1"].value == ships_wh
    assert figures["port.auxiliary_wh/point=delivery-1"].value == truth.energy_wh("aux-1")
    assert figures["port.losses_wh/point=delivery-1"].value == own_wh - truth.energy_wh("aux-1")
    assert figures["port.scope2_wh/point=delivery-1"].value == own_wh  # the port resells what ships take
    assert figures["co2.scope2_location_kg/point=delivery-1"].value == Fraction(own_wh * 52, 10**6)
    assert figures["co2.resold_location_kg/point=delivery-1"].value == Fraction(ships_wh * 52, 10**6)


def test_tariff_classes_follow_the_local_clock_across_its_change(month: MonthStore, report: Report) -> None:
    """Readings are five minutes apart, so each lies in one class: from 6 to 22 h by the clock on the wall."""
    t_ns, zone = month.truth.t_ns, report.month.zone
    inside = (t_ns >= START_NS) & (t_ns < STOP_NS)
    steps_wh = np.diff(month.truth.count_wh["delivery-1"], append=0)[inside]
    hours = [datetime.fromtimestamp(t // NS, zone).hour for t in t_ns[inside].tolist()]
    high = np.array([6 <= hour < 22 for hour in hours])
    figures = by_key(report.figures())
    found = {name: figures[f"tariff.energy_wh/point=delivery-1,class={name}"].value for name in ("HP", "HC")}
    assert found == {"HP": int(steps_wh[high].sum()), "HC": int(steps_wh[~high].sum())}
    whole_wh = np.add.reduceat(steps_wh, np.arange(0, len(steps_wh), 2))  # of 10-minute windows
    start_ns = t_ns[inside][::2]
    seen = np.ones(len(start_ns), bool)  # of a window in an outage only what is certain counts
    for before_ns, after_ns in OUTAGES["delivery-1"]:
        seen &= (start_ns >= after_ns) | (start_ns + 600 * NS <= before_ns)
    beyond_w = [int(wh) * 6 - 60_000_000 for wh in whole_wh[high[::2] & seen]]
    beyond_w = [w for w in beyond_w if w > 0]
    assert figures["tariff.beyond/point=delivery-1,class=HP"].value == len(beyond_w)
    assert figures["tariff.exceedance_w/point=delivery-1,class=HP"].value == isqrt(sum(w * w for w in beyond_w))


def test_a_replaced_meter_has_two_epochs_that_add_up(month: MonthStore, report: Report) -> None:
    meter = next(m for m in report.meters if m.device == "meter-3")
    old, new = (s for s in meter.registers if s.direction == "import")
    before = int((REPLACED_NS - month.truth.t_ns[0]) // (SCAN_S * NS))
    assert old.closing.wh == month.truth.count_wh["meter-3"][before]  # last one read; the rest a person wrote down
    assert (new.opening.t_ns, new.opening.wh) == (REPLACED_NS, OPENING_WH)


def test_calls_are_those_of_the_plugs(month: MonthStore, report: Report) -> None:
    """One call cannot be: it reaches into an outage of its meter. It does not agree with its minutes, and says so.

    The call in which the register goes over is like the others.
    """
    planted = {(c.berth, c.first_ns // 10**9): c for c in month.truth.calls if START_NS < c.last_ns <= STOP_NS}
    assert len(report.calls) == len(planted)
    wrong = []
    for call in report.calls:
        truth = planted[call.berth, call.start_ns // 10**9]
        assert (call.vessel, call.end_ns // 10**9) == (truth.vessel, truth.last_ns // 10**9)
        if call.energy_wh != truth.energy_wh:
            wrong.append(call)
    assert [call.agrees for call in wrong] == [False]
    assert sum(call.agrees is True for call in report.calls) == len(planted) - 1
