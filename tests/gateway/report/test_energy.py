"""Sums, peaks, coverage, gaps and readings of a meter's month, against reckoning by hand."""

import random
from datetime import datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.report.energy import MINUTE_NS
from gateway.report.model import MeterMonth, Report, build
from gateway.texts import local

NS = 1_000_000_000


def october(port: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port")


def meter(port: Any) -> MeterMonth:
    (found,) = october(port).meters
    return found


def test_only_minutes_of_the_local_month_count(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-09-30T23:58"), [1, 2, 4, 8])
    port.minutes(paris_ns("2026-10-31T23:58"), [16, 32, 64, 128])
    assert meter(port).import_wh == 4 + 8 + 16 + 32


def test_a_later_revision_replaces_a_minute(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100, 100])
    port.minutes(at_ns, [70], rev="1000")
    assert meter(port).import_wh == 170


def test_the_highest_window_is_aligned_on_the_local_clock(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [0] * 5 + [60_000] * 10 + [0] * 5)
    peak = meter(port).peak
    # ten minutes at 3.6 MW, but they straddle two windows
    assert (peak.power_w, peak.start_ns, peak.complete) == (1_800_000, paris_ns("2026-10-05T12:00"), True)


def test_windows_follow_a_zone_that_is_45_minutes_off(port: Any) -> None:
    port.site(site={"name": "demo-port", "timezone": "Asia/Kathmandu"})  # UTC+5:45
    start_ns = 1_791_000_000 // 600 * 600 * NS + 5 * MINUTE_NS
    port.minutes(start_ns, [1000] * 10)
    peak = meter(port).peak
    assert (peak.start_ns, peak.power_w, peak.complete) == (start_ns, 60_000, True)


def test_both_passes_of_the_repeated_hour_are_windows_of_their_own(port: Any, paris_ns: Any) -> None:
    port.site()
    first_ns, second_ns = paris_ns("2026-10-25T02:30"), paris_ns("2026-10-25T02:30", fold=1)
    assert second_ns - first_ns == 3600 * NS
    port.minutes(first_ns, [100] * 60 + [300] * 10)
    found = meter(port)
    assert (found.peak.start_ns, found.peak.power_w) == (second_ns, 18_000)
    assert found.windows_expected == 7 and found.windows_incomplete == 0


def test_an_incomplete_window_counts_only_what_is_certain(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [1000] * 6)
    port.minutes(paris_ns("2026-10-05T12:06"), [5000] * 4, estimated=True)
    peak = meter(port).peak
    assert (peak.power_w, peak.complete) == (6 * 6000, False)
    assert meter(port).import_wh == 26_000


def test_a_window_without_any_minute_is_counted_as_incomplete(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [10] * 10)
    port.minutes(paris_ns("2026-10-05T12:30"), [10] * 10)
    assert (meter(port).windows_expected, meter(port).windows_incomplete) == (4, 2)


def test_coverage_is_of_the_month_and_since_the_first_minute(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [10] * 5)
    port.minutes(at_ns + 8 * MINUTE_NS, [10, 10], covered_s=30.0)
    found = meter(port)
    assert found.coverage_month == Fraction(5 * 60 + 60, 745 * 3600)
    assert found.coverage_span == Fraction(6, 10)
    gaps = [
        ((g.start_ns - at_ns) // MINUTE_NS, (g.stop_ns - at_ns) // MINUTE_NS, g.missing_ns) for g in found.gaps
    ]
    assert gaps == [(5, 10, (3 * 60 + 2 * 30) * NS)]


def test_a_minute_cannot_cover_more_than_itself(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [10] * 3, covered_s=61.0)
    assert meter(port).coverage_span == 1


def test_the_reading_before_the_month_opens_it(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-09-30T23:50"), [100] * 20)
    span = next(s for s in meter(port).registers if s.direction == "import")
    assert (span.opening.wh, span.opening.t_ns) == (1_001_000, paris_ns("2026-09-30T23:59") + 59 * NS)
    assert span.difference_wh == span.minutes_wh == 1000 == meter(port).import_wh


def test_each_epoch_of_a_meter_has_its_own_readings(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [100] * 3)
    port.register_wh["meter-1"] = 0
    port.minutes(paris_ns("2026-10-05T12:03"), [50] * 3, epoch=1)
    spans = [s for s in meter(port).registers if s.direction == "import"]
    assert [(s.epoch, s.opening.wh, s.closing.wh, s.minutes_wh) for s in spans] == [
        (0, 1_000_100, 1_000_300, 200),
        (1, 50, 150, 100),
    ]


def test_a_register_that_passed_zero_shows_no_difference(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-05T12:00"), [100] * 3)
    port.register_wh["meter-1"] = 0
    port.minutes(paris_ns("2026-10-05T12:03"), [100] * 3)
    span = next(s for s in meter(port).registers if s.direction == "import")
    assert span.wrapped and span.difference_wh is None and span.minutes_wh == 500


def test_a_meter_without_registers_has_no_readings(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(
        paris_ns("2026-10-05T12:00"),
        [100] * 3,
        register_import_wh=-1,
        register_export_wh=-1,
        register_t_ns=-1,
    )
    assert meter(port).registers == ()


@pytest.mark.parametrize(
    ("roles", "counted"),
    [
        ({"a": ("delivery", None), "b": ("berth", "a"), "c": ("auxiliary", None)}, ["a"]),
        ({"a": ("berth", None), "b": ("auxiliary", "a"), "c": ("check", None)}, ["a"]),
        ({"a": ("delivery", None), "b": ("delivery", None), "c": ("berth", "b")}, ["a", "b"]),
    ],
)
def test_a_kwh_counts_once_in_the_tree_of_meters(port: Any, paris_ns: Any, roles: Any, counted: Any) -> None:
    devices = [{"name": n, "meter": {"role": role, "parent": parent}} for n, (role, parent) in roles.items()]
    port.site(device=devices)
    for name in roles:
        port.minutes(paris_ns("2026-10-05T12:00"), [1000], device=name)
    report = october(port)
    assert [m.device for m in report.counted] == counted
    assert report.import_wh == 1000 * len(counted)


def test_a_ragged_month_agrees_with_reckoning_minute_by_minute(port: Any, paris_ns: Any) -> None:
    """Random minutes around the change of clocks, a third of them missing, some thin, some estimated."""
    port.site()
    chance = random.Random(20261025)
    start_ns = paris_ns("2026-10-24T22:03")
    kept: dict[int, tuple[int, float, bool]] = {}
    for i in range(9 * 60):
        if chance.random() < 0.3:
            continue
        t_ns, wh = start_ns + i * MINUTE_NS, chance.randrange(10**6)
        covered_s, estimated = chance.choice([60.0, 60.0, 59.5]), chance.random() < 0.1
        kept[t_ns] = (wh, covered_s, estimated)
        share = {"measured_wh": 0, "estimated_wh": wh} if estimated else {}
        port.minutes(t_ns, [wh], covered_s=covered_s, **share)

    by_window: dict[str, list[tuple[int, bool]]] = {}
    for t_ns, (wh, covered_s, estimated) in kept.items():
        at = datetime.fromtimestamp(t_ns // NS, ZoneInfo("Europe/Paris"))
        name = f"{at:%d %H:}{at.minute // 10}0 {at:%z}"
        by_window.setdefault(name, []).append((0 if estimated else wh, covered_s == 60 and not estimated))
    expected = {
        n: (6 * sum(w for w, _ in v), len(v) == 10 and all(ok for _, ok in v)) for n, v in by_window.items()
    }

    found = meter(port)
    seen = {
        f"{local(w.start_ns, ZoneInfo('Europe/Paris')):%d %H:%M %z}": (w.power_w, w.complete)
        for w in found.windows
    }
    assert seen == expected
    assert found.import_wh == sum(wh for wh, _, _ in kept.values())
    assert found.estimated_wh == sum(wh for wh, _, estimated in kept.values() if estimated)
    covered = sum(Fraction(covered_s) for _, covered_s, _ in kept.values())
    assert found.coverage_month == covered / (745 * 3600)
    span_s = (max(kept) - min(kept)) // NS + 60
    assert sum(g.missing_ns for g in found.gaps) == (span_s - covered) * NS
