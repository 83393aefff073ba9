"""The ship view: stays from the journal, what energy replaced on board, FuelEU's formulas by worked examples."""

import csv
from fractions import Fraction
from typing import Any

import pytest

from gateway.journal import NewEntry, encode, parse
from gateway.report.factors import load_factors
from gateway.report.figure import by_key
from gateway.report.fueleu import balance_g, intensity, limit, penalty_eur
from gateway.report.markdown import render_markdown
from gateway.report.model import Report, build
from gateway.report.options import Options
from gateway.report.ships import COLUMNS, ships_csv

MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
GRID = "elec.fr.ademe.2022.consumption"
FERRY = {"name": "ferry-aurelie", "plc_names": ["AURELIE"], "imo": "9074729"}


def october(port: Any, month: str = "2026-10", **options: Any) -> Report:
    return build(port.store, port.book, month, "demo-port", Options(grid_factor=GRID, **options))


def stay(
    port: Any, arrival: str, departure: str, imo: str = "9074729", replaces: int | None = None, **more: str
) -> None:
    table = {"imo": imo, "berth": "berth-1", "arrival": arrival, "departure": departure, **more}
    text = encode(parse("call", table, "Europe/Paris", "test"))
    port.book.write_journal([NewEntry("demo-port", "call", text, "A. Martin", "harbour log", replaces)], 1)


@pytest.fixture
def with_call(port: Any, paris_ns: Any) -> Any:
    """900 kWh in a connection from 12:00 to 12:30, while the ship lies from 11:50 to 12:40."""
    port.site(vessel=[FERRY])
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [30_000] * 30)
    port.call(at_ns, at_ns + 30 * MINUTE_NS, 900_000, connected_s=1800.0)
    stay(port, "2026-10-05T11:50", "2026-10-05T12:40")
    return port


def test_a_call_has_the_fields_of_fueleu_and_mrv_and_three_lines(with_call: Any) -> None:
    report = october(with_call, eua_eur_per_t="70", pollutants=True)
    (row,) = csv.DictReader(ships_csv(report.ships).decode().splitlines())
    assert tuple(row) == COLUMNS
    assert row["imo"] == "9074729" and row["arrival_utc"] == "2026-10-05T09:50:00Z"
    assert (row["energy_kwh"], row["energy_mj"], row["connected_h"]) == ("900", "3240", "0.5")
    assert (row["hours_at_berth"], row["under_two_hours"]) == ("0.833333", "yes")
    assert row["fuel_avoided_kg"] == "195.3"  # 900 x 217 g
    assert row["avoided_combustion_kgco2"] == "626.1318"  # x 3.206
    assert (row["grid_kgco2e"], row["avoided_kgco2e"], row["net_kgco2e"]) == ("46.8", "755.807094", "-709.007094")
    assert row["ets_value_eur"] == "43.829226"  # 0.6261318 t x 100 % x 100 % x 70
    assert (row["so2_kg"], row["pm10_kg"], row["pm25_kg"], row["nox_kg"]) == ("0.3816", "0.16974", "0.15615", "")
    found = by_key(report.figures())
    key = "vessel=ferry-aurelie,imo=9074729,baseline=aux.mgo.sfoc.epa"
    grid, avoided, net = (found[f"ship.{name}_kg/{key}"].value for name in ("grid", "avoided", "net"))
    assert net == grid - avoided  # type: ignore[operator]


def test_options_that_nobody_asked_for_leave_no_line(with_call: Any) -> None:
    (row,) = csv.DictReader(ships_csv(october(with_call).ships).decode().splitlines())
    assert (row["ets_value_eur"], row["so2_kg"]) == ("", "")


def test_nox_needs_the_ships_own_factor(with_call: Any) -> None:
    with_call.site(vessel=[{**FERRY, "nox": "aux.mgo.nox.medium.tier2"}])
    (row,) = csv.DictReader(ships_csv(october(with_call, pollutants=True).ships).decode().splitlines())
    assert row["nox_kg"] == "9.45"  # 900 x 10.5 g


def test_a_net_is_reckoned_between_equal_perimeters_only(with_call: Any) -> None:
    options = Options(grid_factor="elec.fr.rte.2024.production")
    report = build(with_call.store, with_call.book, "2026-10", "demo-port", options)
    assert not [k for k in by_key(report.figures()) if "net" in k]
    assert {line.subject for line in report.carbon.lines} >= {"grid_calls", "avoided", "avoided_combustion"}


def test_the_two_hour_rule_follows_from_the_time_at_the_berth(with_call: Any) -> None:
    stay(with_call, "2026-10-06T08:00", "2026-10-06T10:00")
    report = october(with_call)
    assert [s.under_two_hours for s in report.ships.stays] == [True, False]
    assert [s.departure_ns for s in report.ships.unconnected] == [report.ships.stays[1].departure_ns]
    text = render_markdown(report, "en")
    assert "2 stays end in the month, 1 of them under two hours" in text
    assert "not connected" in text
    rows = list(csv.DictReader(ships_csv(report.ships).decode().splitlines()))
    assert [(r["under_two_hours"], r["energy_kwh"]) for r in rows] == [("yes", "900"), ("no", "")]


def test_a_call_belongs_to_the_month_of_the_ships_departure(port: Any, paris_ns: Any) -> None:
    port.site(vessel=[FERRY])
    at_ns = paris_ns("2026-10-31T23:00")
    port.minutes(at_ns, [10_000] * 90)
    port.call(at_ns, at_ns + 30 * MINUTE_NS, 300_000)
    stay(port, "2026-10-31T22:50", "2026-11-01T00:10")
    assert [c.energy_wh for c in october(port).calls] == []
    assert [c.energy_wh for c in october(port, "2026-11").calls] == [300_000]
    assert october(port).import_wh == 600_000  # energy belongs to its minutes


def test_the_journal_names_a_ship_that_the_plc_does_not(port: Any, paris_ns: Any) -> None:
    port.site(vessel=[FERRY])
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [30_000] * 30)
    port.call(at_ns, at_ns + 30 * MINUTE_NS, 900_000, vessel="unknown")
    report = october(port)
    assert [p.code for p in report.problems] == ["unknown_vessel"]
    assert "neither the PLC nor the journal names it" in render_markdown(report, "en")
    stay(port, "2026-10-05T11:50", "2026-10-05T12:40")
    report = october(port)
    assert (report.problems, report.calls[0].vessel) == ((), "ferry-aurelie")


@pytest.mark.parametrize(
    ("entries", "codes"),
    [
        ([("12:30", "13:00", "9074729")], ["stays_overlap"]),
        ([("15:00", "16:00", "9000003")], ["unknown_imo"]),
        ([("13:00", "14:00", "9074729")], []),
    ],
)
def test_what_does_not_fit_in_the_journal_is_told(
    with_call: Any, entries: list[tuple[str, str, str]], codes: list[str]
) -> None:
    for arrival, departure, imo in entries:
        stay(with_call, f"2026-10-05T{arrival}", f"2026-10-05T{departure}", imo)
    report = october(with_call)
    assert [p.code for p in report.problems] == codes
    assert "report.problem" not in render_markdown(report, "fr")


def test_many_alike_are_counted(port: Any, paris_ns: Any) -> None:
    port.site(vessel=[FERRY])
    port.minutes(paris_ns("2026-10-05T00:00"), [1000] * 600)
    for i in range(13):
        start_ns = paris_ns("2026-10-05T00:00") + i * 30 * MINUTE_NS
        port.call(start_ns, start_ns + 10 * MINUTE_NS, 10_000, vessel="unknown")
    report = october(port)
    assert len(report.problems) == 13
    text = render_markdown(report, "en")
    assert text.count("neither the PLC nor the journal names it") == 10
    assert "And 3 more like the one before" in text


def test_plc_and_journal_that_name_two_ships_are_told(with_call: Any) -> None:
    with_call.site(vessel=[FERRY, {"name": "belle", "plc_names": [], "imo": "9000015"}])
    entry = with_call.book.journal()[0]
    table = {"imo": "9000015", "berth": "berth-1", "arrival": "2026-10-05T11:50", "departure": "2026-10-05T12:40"}
    text = encode(parse("call", table, "Europe/Paris", "test"))
    with_call.book.write_journal([NewEntry("demo-port", "call", text, "B. Duval", "misread", entry.number)], 2)
    assert [p.code for p in october(with_call).problems] == ["vessel_differs"]


def test_a_call_can_have_another_use_than_its_berth(with_call: Any) -> None:
    """The baseline is an auxiliary engine's: it does not stand for traction."""
    stay(with_call, "2026-10-05T11:40", "2026-10-05T12:45", use="traction", replaces=1)
    report = october(with_call)
    assert [(x.reason, x.use) for x in report.carbon.refusals] == [("wrong_use", "traction")]
    (ship,) = report.ships.ships
    assert ship.effect is not None and ship.effect.avoided_kg is None and ship.effect.grid_kg == Fraction("46.8")


# FuelEU: the regulation's formulas by hand.


def test_the_limit_falls_in_steps() -> None:
    """91.16 less 2 % is 89.3368, less 6 % 85.6904, less 80 % 18.232 g/MJ."""
    assert [limit(y) for y in (2024, 2025, 2029, 2030, 2050)] == [
        Fraction(x) for x in ("91.16", "89.3368", "89.3368", "85.6904", "18.232")
    ]


def test_shore_power_stands_in_the_denominator_alone() -> None:
    """100 t of MGO: 4 270 000 MJ at 90.632 g/MJ (AR5); with 1 000 000 kWh from the quay, 3 600 000 MJ more."""
    factors, fuel = load_factors("ar5"), {"mdo_mgo": Fraction(100 * 10**6)}
    assert intensity(fuel, Fraction(0), factors) == Fraction(386_998_000, 4_270_000)
    assert float(intensity(fuel, Fraction(0), factors)) == pytest.approx(90.632, abs=5e-4)
    assert intensity(fuel, Fraction(3_600_000), factors) == Fraction(386_998_000, 7_870_000)
    assert float(intensity(fuel, Fraction(0), load_factors("ar4"))) == pytest.approx(90.767, abs=5e-4)
    assert float(intensity({"lng_otto_ms": Fraction(1)}, Fraction(0), factors)) == pytest.approx(91.03, abs=5e-3)


def test_a_deficit_costs_2400_eur_per_tonne_of_fuel_oil() -> None:
    """100 t of HFO in 2030: 91.601 g/MJ against 85.6904, 4 050 000 MJ: 23.9 t too much, 15 297.83 EUR."""
    factors = load_factors("ar5")
    actual = intensity({"hfo": Fraction(100 * 10**6)}, Fraction(0), factors)
    assert float(actual) == pytest.approx(91.601, abs=5e-4)
    balance = balance_g(actual, 2030, Fraction(4_050_000))
    assert balance == Fraction("85.6904") * 4_050_000 - Fraction("3.70985") * 10**8
    assert float(penalty_eur(balance, actual)) == pytest.approx(15_297.83, abs=5e-3)
    assert penalty_eur(balance, actual, periods=2) == penalty_eur(balance, actual) * Fraction(11, 10)
    assert penalty_eur(Fraction(5), actual) == 0
