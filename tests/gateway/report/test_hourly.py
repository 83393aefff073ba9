"""The hourly indicator: files as they are published, clock changes, missing hours, bad rows."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from gateway.report.energy import Minutes
from gateway.report.errors import WrongInput
from gateway.report.hourly import Intensity, indicator, parse_intensity
from gateway.report.month import Month

NS = 1_000_000_000
MINUTE_NS, HOUR_NS = 60 * NS, 3600 * NS
PARIS = ZoneInfo("Europe/Paris")
OCTOBER = Month.parse("2026-10", "Europe/Paris")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp()) * NS


def local_file(start: str, rates: list[str], minutes: int = 30) -> str:
    """As RTE's own downloads: tabs, local times without their distance from UTC."""
    at = datetime.fromisoformat(start).replace(tzinfo=PARIS).astimezone(UTC)
    lines = ["Périmètre\tNature\tDate\tHeures\tConsommation\tTaux de Co2"]
    for i, rate in enumerate(rates):
        here = (at + timedelta(minutes=minutes * i)).astimezone(PARIS)
        lines.append(f"France\tDonnées définitives\t{here:%Y-%m-%d}\t{here:%H:%M}\t50000\t{rate}")
    return "\n".join(lines)


def minutes(start_ns: int, energies_wh: list[int]) -> Minutes:
    count = len(energies_wh)
    zeros = np.zeros(count, np.int64)
    energy = np.array(energies_wh, np.int64)
    columns = dict.fromkeys(Minutes.__annotations__, zeros) | {
        "t_ns": start_ns + np.arange(count, dtype=np.int64) * MINUTE_NS,
        "import_wh": energy, "measured_wh": energy, "covered_ns": zeros + MINUTE_NS,
    }  # fmt: skip
    return Minutes.of(np.full(count, "sim", object), **columns)


def test_energy_is_multiplied_by_the_rate_of_its_own_half_hour() -> None:
    intensity = parse_intensity({"a.csv": local_file("2026-10-05T00:00", [str(20 + i) for i in range(48)])})
    energies = [1000 + 7 * i for i in range(24 * 60)]
    found = indicator(
        intensity, [minutes(ns("2026-10-05T00:00+02:00"), energies)], OCTOBER.start_ns, OCTOBER.stop_ns
    )
    expected = sum(Fraction(wh, 1000) * (20 + i // 30) for i, wh in enumerate(energies)) / 1000
    assert (found.co2_kg, found.coverage) == (expected, 1)
    assert found.g_per_kwh == expected * 10**6 / sum(energies)
    assert found.missing_ns == (745 - 24) * HOUR_NS


def test_the_day_of_25_hours_has_a_rate_for_each_of_them() -> None:
    rates = [str(10 + i) for i in range(50)]
    intensity = parse_intensity({"a.csv": local_file("2026-10-25T00:00", rates)})
    assert len(intensity.t_ns) == 50 and intensity.bad == ()
    assert (np.diff(intensity.t_ns) == 30 * MINUTE_NS).all()
    start_ns = ns("2026-10-25T00:00+02:00")
    found = indicator(intensity, [minutes(start_ns, [60_000] * 25 * 60)], start_ns, start_ns + 25 * HOUR_NS)
    assert found.co2_kg == sum(Fraction(10 + i) * 1800 for i in range(50)) / 1000
    assert (found.coverage, found.missing_ns) == (1, 0)


def test_where_the_repeated_hour_stands_once_the_second_pass_is_missing() -> None:
    lines = local_file("2026-10-25T00:00", ["10"] * 50, 30).splitlines()
    once = lines[:7] + lines[9:]  # 02:00 and 02:30 only once
    start_ns = ns("2026-10-25T00:00+02:00")
    intensity = parse_intensity({"a.csv": "\n".join(once)})
    assert intensity.bad == ()
    assert intensity.missing_ns(start_ns, start_ns + 25 * HOUR_NS) == HOUR_NS
    assert intensity.at(np.array([ns("2026-10-25T02:10+01:00")])).tolist() == [-1]
    assert intensity.at(np.array([ns("2026-10-25T02:10+02:00")])).tolist() == [10_000]


def test_the_hour_that_march_leaves_out_is_told() -> None:
    text = "Date;Heures;Taux de Co2\n" + "\n".join(f"2026-03-29;{h:02d}:00;30" for h in range(24))
    intensity = parse_intensity({"a.csv": text})
    assert [(row.line, row.code, row.seen) for row in intensity.bad] == [(4, "time", "2026-03-29 02:00")]
    start_ns = ns("2026-03-29T00:00+01:00")
    assert intensity.missing_ns(start_ns, start_ns + 23 * HOUR_NS) == 0


def test_instants_with_their_distance_from_utc_need_no_guess() -> None:
    text = (
        "perimetre;nature;date;heure;date_heure;taux_co2\n"
        "France;x;2026-10-25;02:30;2026-10-25T02:30:00+02:00;31\n"
        "France;x;2026-10-25;02:30;2026-10-25T02:30:00+01:00;33\n"
    )
    intensity = parse_intensity({"a.csv": text})
    assert intensity.t_ns.tolist() == [ns("2026-10-25T00:30+00:00"), ns("2026-10-25T01:30+00:00")]
    assert intensity.mg_per_kwh.tolist() == [31_000, 33_000]


def test_a_missing_hour_is_not_bridged_and_its_energy_is_told() -> None:
    rates = ["20", "", "40", "40"]
    intensity = parse_intensity({"a.csv": local_file("2026-10-05T00:00", rates, 60)})
    start_ns = ns("2026-10-05T00:00+02:00")
    found = indicator(intensity, [minutes(start_ns, [1000] * 240)], start_ns, start_ns + 4 * HOUR_NS)
    assert (found.seen_wh, found.total_wh, found.missing_ns) == (180_000, 240_000, HOUR_NS)
    assert found.coverage == Fraction(3, 4)
    assert found.co2_kg == Fraction(60 * 20 + 120 * 40, 1000)


def test_bad_rows_are_told_with_their_line() -> None:
    text = (
        "Date;Heures;Taux de Co2\n2026-10-05;00:00;20\n2026-10-05;01:00;ND\n2026-10-05;25:00;20\n"
        "05/10/2026;02:00;21,5\n2026-10-05;03:00;99999\n2026-10-05;02:00;22\n2026-10-05;04:00;-3\n"
        "RTE ne garantit pas ces données;;\n"
    )
    intensity = parse_intensity({"eco2mix.csv": text})
    assert intensity.mg_per_kwh.tolist() == [20_000, 21_500]
    assert [(row.line, row.code, row.seen) for row in intensity.bad] == [
        (3, "rate", "ND"), (4, "time", "2026-10-05 25:00"), (6, "rate", "99999"), (7, "twice", "21.5, 22"),
        (8, "rate", "-3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 names nothing; give date_heure"),
        ("Date;Heures;Prix\n", "line 1 names date, heures, prix; give date_heure"),
        ("Date;Heures;Taux de Co2\n2026-10-05;00:00;\n", "no row has a rate"),
    ],
)
def test_a_file_of_another_kind_is_refused(text: str, message: str) -> None:
    with pytest.raises(WrongInput, match=rf"prix\.csv: {message}"):
        parse_intensity({"prix.csv": text})


def test_no_energy_and_no_rate_are_not_measured() -> None:
    intensity = Intensity(np.empty(0, np.int64), np.empty(0, np.int64), HOUR_NS, ())
    found = indicator(intensity, [minutes(OCTOBER.start_ns, [5])], OCTOBER.start_ns, OCTOBER.stop_ns)
    assert (found.co2_kg, found.coverage, found.g_per_kwh) == (None, 0, None)
    assert found.missing_ns == 745 * HOUR_NS


def test_files_of_two_months_are_one_series() -> None:
    files = {f"{m}.csv": local_file(f"2026-{m}-01T00:00", ["20"] * 4, 15) for m in ("09", "10")}
    found: Any = parse_intensity(files)
    assert len(found.t_ns) == 8 and found.step_ns == 15 * MINUTE_NS
