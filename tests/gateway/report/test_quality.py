"""Quality: uncertainty after the GUM, replaced meters, outages and their reasons, corrections, comparisons."""

from datetime import datetime
from fractions import Fraction
from typing import Any

import pytest

from gateway.journal import NewEntry, encode, parse
from gateway.report.figure import by_key
from gateway.report.markdown import render_markdown
from gateway.report.model import Report, build
from gateway.report.options import Options
from gateway.report.quality import class_percent, combined, root_up, uncertainty_of

MINUTE_NS = 60_000_000_000
GRID = "elec.fr.ademe.2022.consumption"
METER = {"role": "delivery", "supply": "consumer"}


def october(port: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port", Options(grid_factor=GRID))


def write(port: Any, **table: str) -> None:
    text = encode(parse("meter_replacement", table, "Europe/Paris", "test"))
    port.book.write_journal([NewEntry("demo-port", "meter_replacement", text, "A. Martin", "verification")], 1)


@pytest.mark.parametrize(
    ("name", "percent"),
    [("0.2S", "0.2"), (" 0.5 ", "0.5"), ("C", "0.7"), ("b", "2"), ("A", "3.5"), ("", None), ("good", None)],
)
def test_a_class_means_a_limit_of_error(name: str, percent: str | None) -> None:
    assert class_percent(name) == (None if percent is None else Fraction(percent))


def test_uncertainty_combines_meter_and_transformers() -> None:
    """2 x root((0.2^2 + 0.5^2 + 0.5^2) / 3) = 0.8485 %, rounded up to 0.849 %."""
    meter = {"accuracy_class": "0.2S", "ct_class": "0.5", "ct_ratio": 800, "vt_class": "0.5", "vt_ratio": 200}
    assert uncertainty_of(meter).expanded == Fraction("0.00849")
    direct = {"accuracy_class": "C", "ct_ratio": 1, "vt_ratio": 1}  # no transformers: no error of theirs
    assert uncertainty_of(direct).expanded == Fraction("0.00809")  # 2 x 0.7 / root 3 = 0.8083 %
    assert uncertainty_of({**meter, "vt_class": ""}).expanded is None
    assert uncertainty_of({}).expanded is None


def test_a_sum_errs_less_than_its_parts() -> None:
    """Two equal meters of 0.4 %: 0.4 / root 2 = 0.2828 %."""
    assert combined([(100, Fraction("0.004")), (100, Fraction("0.004"))]) == Fraction("0.00283")
    assert combined([(100, Fraction("0.004")), (100, None)]) is None
    assert root_up(Fraction(9, 10**10)) == Fraction(3, 10**5)


def test_a_meter_replaced_without_indices_has_no_number(port: Any, paris_ns: Any) -> None:
    port.site(device=[{"name": "meter-1", "meter": METER, "lock": None}])
    port.minutes(paris_ns("2026-10-05T12:00"), [1000] * 10)
    write(port, meter="meter-1", at="2026-10-05T12:05")
    report = october(port)
    assert [p.code for p in report.problems] == ["no_indices"]
    figures = by_key(report.figures())
    for key in ("energy.import_wh", "energy.import_wh/meter=meter-1", "energy.export_wh"):
        assert figures[key].value is None
    assert not [k for k in figures if k.startswith("co2.grid_site")]
    assert figures["co2.scope2_location_kg/point=meter-1"].value is None
    text = render_markdown(report, "fr")
    assert "compteur remplacé le 05/10/2026 12:05 sans index" in text
    assert "**Énergie soutirée** : non mesuré" in text


def test_a_replacement_of_the_journal_waits_for_its_recomputation(port: Any, paris_ns: Any) -> None:
    port.site(device=[{"name": "meter-1", "meter": METER, "lock": None}])
    start_ns = paris_ns("2026-10-05T12:00")
    port.minutes(start_ns, [1000] * 10)
    write(port, meter="meter-1", at="2026-10-05T12:05", closing_import_wh="1005000", opening_import_wh="0")
    assert [p.code for p in october(port).problems] == ["not_recomputed"]
    port.minutes(start_ns, [1000] * 10, rev="1000")
    report = october(port)
    assert report.problems == ()
    (change,) = report.quality.replacements
    assert (change.closing_import_wh, change.opening_import_wh, change.source) == (1_005_000, 0, "1")


def test_a_register_that_starts_afresh_unannounced_is_told(port: Any, paris_ns: Any) -> None:
    port.site(device=[{"name": "meter-1", "meter": METER, "lock": None}])
    start_ns = paris_ns("2026-10-05T12:00")
    port.minutes(start_ns, [1000] * 10)
    port.minutes(start_ns + 10 * MINUTE_NS, [1000] * 10, epoch=1)
    assert [p.code for p in october(port).problems] == ["epoch_unexplained"]


def test_a_replacement_in_the_site_file_is_no_surprise(port: Any, paris_ns: Any) -> None:
    change = {"at": "2026-10-05T12:10:00+02:00", "closing_import_wh": 1_010_000.0, "opening_import_wh": 0.0}
    port.site(device=[{"name": "meter-1", "meter": METER | {"replacement": [change]}, "lock": None}])
    start_ns = paris_ns("2026-10-05T12:00")
    port.minutes(start_ns, [1000] * 10)
    port.minutes(start_ns + 10 * MINUTE_NS, [1000] * 10, epoch=1)
    report = october(port)
    assert report.problems == () and report.quality.replacements[0].source == "site_file"
    assert datetime.fromisoformat(change["at"]).timestamp() * 10**9 == report.quality.replacements[0].at_ns  # type: ignore[arg-type]


def test_an_outage_has_its_reason(port: Any, paris_ns: Any) -> None:
    """One meter alone, all at once, and a gateway that was started again."""
    port.site()
    start_ns = paris_ns("2026-10-05T12:00")
    silent = {"meter-1": {5, 6, 20, 40}, "meter-2": {20, 40}}
    for device, gone in silent.items():
        for minute in range(60):
            if minute not in gone:
                port.minutes(start_ns + minute * MINUTE_NS, [100], device)
    port.row("event", "meter-1", start_ns + 41 * MINUTE_NS, {"value": 1.0}, code="agent_started")
    found = {(o.meter, (o.gap.start_ns - start_ns) // MINUTE_NS): o.reason for o in october(port).quality.outages}
    assert found == {
        ("meter-1", 5): "meter_silent", ("meter-1", 20): "all_silent", ("meter-1", 40): "agent_started",
        ("meter-2", 20): "all_silent", ("meter-2", 40): "all_silent",
    }  # fmt: skip


def test_corrections_are_told_with_what_was_sent_first(port: Any, paris_ns: Any) -> None:
    port.site()
    start_ns = paris_ns("2026-10-05T12:00")
    port.minutes(start_ns, [1000] * 10)
    port.minutes(start_ns + 2 * MINUTE_NS, [1500, 900], rev="1")
    (correction,) = october(port).quality.corrections
    assert (correction.minutes, correction.first_wh, correction.now_wh, correction.newest) == (2, 2000, 2400, 1)
    assert "meter-1: 2 minutes were corrected" in render_markdown(october(port), "en")


def test_calls_are_checked_by_integrated_power(port: Any, paris_ns: Any) -> None:
    port.site()
    start_ns = paris_ns("2026-10-05T12:00")
    port.minutes(start_ns, [1000] * 10)
    port.call(start_ns, start_ns + 10 * MINUTE_NS, 10_000, integrated_wh=9_905.0)
    (check,) = october(port).quality.checks
    assert (check.difference, check.agrees) == (Fraction(-95, 10_000), True)
    port.call(start_ns, start_ns + 10 * MINUTE_NS, 10_000, integrated_wh=9_800.0)
    assert october(port).quality.checks[0].agrees is False


def test_the_month_and_the_year_before_stand_beside_it(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2025-10-05T12:00"), [700] * 10)
    port.minutes(paris_ns("2026-10-05T12:00"), [1000] * 10)
    before, year = october(port).quality.earlier
    assert (str(before.month), before.import_wh) == ("2026-09", None)
    assert (str(year.month), year.import_wh, year.coverage) == ("2025-10", 7000, Fraction(600, 745 * 3600))
    figures = by_key(october(port).figures())
    assert figures["earlier.import_wh/what=year,month=2025-10"].value == 7000
    row = next(x for x in render_markdown(october(port), "en").splitlines() if x.startswith("| October 2025"))
    assert row.rstrip("| ").endswith("—")  # a change against a month that was hardly covered says nothing
