"""What a report is made of as a whole, and when there is none."""

from typing import Any

import pytest

from gateway.report.errors import NoData, WrongInput
from gateway.report.model import build
from gateway.report.options import Options


def test_an_unknown_site_is_named_with_those_there_are(demo: Any) -> None:
    with pytest.raises(WrongInput, match="'calais' has no rows in the store; sites there: demo-port"):
        build(demo.store, demo.book, "2026-10", "calais")


def test_a_month_without_rows_tells_which_there_are(demo: Any) -> None:
    with pytest.raises(
        NoData, match="no minute, call or lockage in 2026-09; its rows run from 2026-10-14 to 2026-10-14"
    ):
        build(demo.store, demo.book, "2026-09", "demo-port")


def test_a_site_that_has_sent_nothing_yet_has_no_report(port: Any) -> None:
    port.site()
    with pytest.raises(NoData, match="has no rows yet"):
        build(port.store, port.book, "2026-10", "demo-port")


def test_what_is_no_month_is_wrong_input(demo: Any) -> None:
    with pytest.raises(WrongInput, match="'2026-1o' is not a month"):
        build(demo.store, demo.book, "2026-1o", "demo-port")


def test_one_row_that_is_not_real_marks_the_whole_report(port: Any, paris_ns: Any) -> None:
    port.site()
    port.origin = "real"
    port.minutes(paris_ns("2026-10-05T12:00"), [100] * 9)
    assert not build(port.store, port.book, "2026-10", "demo-port").simulated
    port.origin = "replay"
    port.minutes(paris_ns("2026-10-05T12:09"), [100])
    report = build(port.store, port.book, "2026-10", "demo-port")
    assert report.simulated and report.origins == ("real", "replay")


def test_an_origin_outside_the_month_marks_nothing(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-09-30T23:55"), [100] * 5)
    port.origin = "real"
    port.minutes(paris_ns("2026-10-01T00:00"), [100] * 5)
    port.lockage(paris_ns("2026-10-05T12:00"), paris_ns("2026-10-05T12:20"), "up")
    assert build(port.store, port.book, "2026-10", "demo-port").origins == ("real",)


def test_a_month_covered_to_99_percent_is_complete(port: Any, paris_ns: Any) -> None:
    port.site()
    minutes = 745 * 60
    port.minutes(paris_ns("2026-10-01T00:00"), [100] * (minutes * 99 // 100))
    chosen = Options(grid_factor="elec.fr.ademe.2022.consumption")  # else its year would be missing
    assert build(port.store, port.book, "2026-10", "demo-port", chosen).complete
    port.minutes(paris_ns("2026-10-02T00:00"), [100] * 2, rev="1000", covered_s=0.0)
    assert not build(port.store, port.book, "2026-10", "demo-port").complete


def test_a_lock_without_a_meter_still_has_a_report(port: Any, paris_ns: Any) -> None:
    port.site()
    port.lockage(paris_ns("2026-10-05T12:00"), paris_ns("2026-10-05T12:20"), "up")
    report = build(port.store, port.book, "2026-10", "demo-port")
    assert (report.meters, report.coverage, report.locks[0].lockages.by_way["up"]) == ((), 0, 1)


def test_rows_are_read_even_where_no_catalogue_came(port: Any, paris_ns: Any) -> None:
    port.minutes(paris_ns("2026-10-05T12:00"), [100] * 10)
    assert build(port.store, port.book, "2026-10", "demo-port").import_wh == 1000
