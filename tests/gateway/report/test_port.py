"""The port view: the balance of the tree, scope 2 by who buys, peaks against dated subscribed power, invoices."""

from fractions import Fraction
from typing import Any

import pytest

from gateway.report.contracts import parse_contracts
from gateway.report.errors import WrongInput
from gateway.report.figure import Figure, by_key
from gateway.report.markdown import render_markdown
from gateway.report.model import Report, build
from gateway.report.options import Options

MINUTE_NS = 60_000_000_000
GRID = "elec.fr.ademe.2022.consumption"


def tree(supply: str | None, **more: Any) -> list[dict[str, Any]]:
    """A delivery point over a berth and the port's own supply; `more`: other meters."""
    meters = {
        "point": {"role": "delivery", "supply": supply},
        "meter-1": {"role": "berth", "parent": "point"},
        "aux": {"role": "auxiliary", "parent": "point"},
        **more,
    }
    return [{"name": name, "meter": meter, "lock": None} for name, meter in meters.items()]


def october(port: Any, **options: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port", Options(grid_factor=GRID, **options))


def figures(report: Report) -> dict[str, Figure]:
    return dict(by_key(report.figures()))


@pytest.fixture
def hour(port: Any, paris_ns: Any) -> Any:
    """An hour: 100 kWh at the point, of which 70 for ships, 20 for auxiliaries and 10 lost."""
    at_ns = paris_ns("2026-10-05T12:00")
    for device, per_minute in (("point", 10_000), ("meter-1", 7_000), ("aux", 2_000)):
        port.minutes(at_ns, [per_minute] * 10, device)
    return port


@pytest.mark.parametrize(
    ("supply", "scope2_wh", "resold_wh"),
    [("reseller", 30_000, 70_000), ("consumer", 100_000, None), ("owner", 0, None), (None, None, None)],
)
def test_scope_2_follows_who_buys(
    hour: Any, supply: str | None, scope2_wh: int | None, resold_wh: int | None
) -> None:
    hour.site(device=tree(supply))
    found = figures(october(hour))
    assert found["port.losses_wh/point=point"].value == 10_000
    assert found["port.own_wh/point=point"].value == 30_000
    assert found["port.scope2_wh/point=point"].value == scope2_wh
    assert found["port.resold_wh/point=point"].value == resold_wh
    location = found["co2.scope2_location_kg/point=point"]
    assert location.value == (None if scope2_wh is None else Fraction(scope2_wh, 1000) * 52 / 1000)
    assert "co2.scope2_market_kg/point=point" not in found  # no contract has a factor


def test_the_market_based_line_stands_beside_the_location_based_one(hour: Any) -> None:
    hour.site(device=tree("reseller"))
    own = (
        '[[factor]]\nid = "contract.2026"\nvalue = 11.5\nunit = "gCO2e/kWh"\nperimeter = "market"\nregion = "FR"\n'
        'year = "2026"\nsource = "supplier, letter of 2026-02-01"\n'
    )
    contract = '[[contract]]\nsite = "demo-port"\nmeter = "point"\nmarket_factor = "contract.2026"\n'
    report = october(hour, factors=own, contracts=contract)
    found = figures(report)
    assert found["co2.scope2_location_kg/point=point"].value == Fraction("1.56")
    assert found["co2.scope2_market_kg/point=point"].value == Fraction("0.345")
    assert found["co2.resold_location_kg/point=point"].value == Fraction("3.64")
    assert "contract.2026@own" in {f.cited for f in report.factors}
    text = render_markdown(report, "en")
    for part in ("PCAET", "SGPE", "Scope 2, market-based", "Resold electricity, outside scope 2"):
        assert part in text


def test_what_a_site_produces_shares_out_what_it_bought(hour: Any, paris_ns: Any) -> None:
    """20 kWh from the roof: 120 kWh used, of them 50 by the port; of 100 bought kWh 5/12 are its own."""
    pv = {"role": "production", "parent": "point"}
    hour.site(device=tree("reseller", pv=pv))
    hour.minutes(paris_ns("2026-10-05T12:00"), [0] * 10, "pv", export_wh=2_000)
    found = figures(october(hour))
    assert found["port.production_wh/point=point"].value == 20_000
    assert found["port.losses_wh/point=point"].value == 30_000
    assert found["port.scope2_wh/point=point"].value == Fraction(100_000 * 50, 120)
    assert found["port.resold_wh/point=point"].value == Fraction(100_000 * 70, 120)


def test_a_meter_without_rows_leaves_no_number_behind(hour: Any) -> None:
    hour.site(device=tree("reseller", **{"meter-2": {"role": "berth", "parent": "point"}}))
    report = october(hour)
    assert [(p.code, p.values["meter"]) for p in report.problems] == [("no_rows", "meter-2")]
    found = figures(report)
    for name in ("port.ships_wh", "port.losses_wh", "port.scope2_wh", "co2.scope2_location_kg"):
        assert found[f"{name}/point=point"].value is None
    assert "meter-2, below point, has no minute in this month" in render_markdown(report, "en")


def test_a_check_meter_is_looked_through_and_never_counts(hour: Any, paris_ns: Any) -> None:
    hour.site(device=[
        *tree("reseller")[:1], {"name": "check", "meter": {"role": "check", "parent": "point"}, "lock": None},
        {"name": "meter-1", "meter": {"role": "berth", "parent": "check"}, "lock": None},
        {"name": "aux", "meter": {"role": "auxiliary", "parent": "check"}, "lock": None},
    ])  # fmt: skip
    hour.minutes(paris_ns("2026-10-05T12:00"), [9_100] * 10, "check")
    point = october(hour).port.points[0]
    assert (point.below, point.losses_wh) == (("aux", "meter-1"), 10_000)


def test_meters_below_that_count_more_than_the_point_are_told(port: Any, paris_ns: Any) -> None:
    port.site(device=tree("reseller"))
    for device, per_minute in (("point", 1_000), ("meter-1", 1_100), ("aux", 0)):
        port.minutes(paris_ns("2026-10-05T12:00"), [per_minute] * 10, device)
    assert [p.code for p in october(port).problems] == ["losses_negative"]


CONTRACT = """
[[contract]]
site = "demo-port"
meter = "point"
[[contract.tariff]]
name = "HP"
weekdays = ["mon", "tue", "wed", "thu", "fri"]
start = 06:00:00
stop = 22:00:00
[[contract.tariff]]
name = "HC"
[[contract.subscribed]]
since = 2026-01-01
tariff = "HP"
power_kw = 500
[[contract.subscribed]]
since = 2026-10-06
tariff = "HP"
power_kw = 580.5
[[contract.subscribed]]
since = 2026-01-01
tariff = "HC"
power_kw = 900
"""


@pytest.fixture
def week(port: Any, paris_ns: Any) -> Any:
    """600 kW in one window of Monday, of Tuesday and of Tuesday's night; 540 kW in another of Monday."""
    port.site(device=[{"name": "point", "meter": METER, "lock": None}])
    for at, wh in (
        ("2026-10-05T12:00", 10_000), ("2026-10-05T14:00", 9_000), ("2026-10-06T12:00", 10_000),
        ("2026-10-06T22:00", 10_000),
    ):  # fmt: skip
        port.minutes(paris_ns(at), [wh] * 10, "point")
    return port


METER = {
    "role": "delivery", "supply": "consumer", "accuracy_class": "0.2S", "ct_class": "0.2S", "ct_ratio": 800,
    "vt_class": "0.2", "vt_ratio": 900,
}  # fmt: skip


def test_exceedance_is_the_root_of_squares_beyond_the_power_of_the_day(week: Any) -> None:
    found = figures(october(week, contracts=CONTRACT))
    hp, hc = "point=point,class=HP", "point=point,class=HC"
    assert found[f"tariff.beyond/{hp}"].value == 3
    assert found[f"tariff.most_beyond_w/{hp}"].value == 100_000
    assert found[f"tariff.exceedance_w/{hp}"].value == 109_454  # root of 100 000^2 + 40 000^2 + 19 500^2, cut
    assert found[f"tariff.peak_w/{hp}"].value == 600_000
    assert found[f"tariff.energy_wh/{hp}"].value == 290_000
    assert found[f"tariff.energy_wh/{hc}"].value == 100_000  # from 22:00 on
    assert found[f"tariff.beyond/{hc}"].value == 0
    assert found[f"tariff.constrained_h/{hp}"].value == Fraction(3, 6)  # at 90 % of the subscribed power or more


def test_an_invoice_agrees_within_what_the_meter_may_be_off(week: Any) -> None:
    """U = 0.4 %: of 390 kWh it is 1.56 kWh, and 1 kWh of rounding."""
    for energy, verdict in ((390, True), (392, True), (393, False)):
        invoice = f'[[contract.invoice]]\nmonth = "2026-10"\nenergy_kwh = {energy}\npeak_kw = 600\n'
        found = october(week, contracts=CONTRACT + invoice).tariffs[0].invoice
        assert [(c.quantity, c.ours, c.agrees) for c in found] == [
            ("energy", Fraction(390), verdict), ("peak", Fraction(600), True),
        ]  # fmt: skip


CURVE = (
    '[contract.load_curve]\nfile = "curve.csv"\ntime = "Horodate"\nvalue = "Valeur"\nunit = "W"\nstamp = "end"\n'
)


def test_a_load_curve_stands_in_for_the_meter(week: Any) -> None:
    """Two 5-minute values make a window; they name the end of their interval."""
    text = (
        "\ufeffHorodate;Valeur\n2026-10-05T12:05:00+02:00;700000\n2026-10-05T12:10:00+02:00;500000,5\n"
        "2026-10-05T12:15:00+02:00;100\n"
    )
    head, rest = CONTRACT.split("[[contract.tariff]]", 1)
    contracts = f"{head}{CURVE}[[contract.tariff]]{rest}"
    report = october(week, contracts=contracts, load_curves={"curve.csv": text})
    tariff = report.tariffs[0]
    assert (tariff.source, tariff.curve_wh) == ("curve.csv", Fraction(2_400_201, 24))
    high = next(c for c in tariff.classes if c.tariff == "HP")
    assert (high.peak and high.peak.power_w, high.windows, high.incomplete) == (600_000, 2, 1)
    assert [p.code for p in tariff.problems] == ["curve_lacks"]
    for broken, told in (
        (
            text.replace("+02:00;700000", ";700000"),
            "curve.csv: line 2: 2026-10-05T12:05:00 says no distance",
        ),
        (text.replace("Valeur", "kW"), "no column 'Valeur'; there are Horodate, kW"),
        (text.replace("12:15", "12:14"), "its step is 240 s"),
        (text.replace("500000,5", "n/a"), "line 3"),
    ):
        with pytest.raises(WrongInput) as found:
            october(week, contracts=contracts, load_curves={"curve.csv": broken})
        assert told in str(found.value)
    with pytest.raises(WrongInput, match=r"curve\.csv: is not there"):
        october(week, contracts=contracts)


def test_hours_without_a_class_or_a_subscribed_power_are_told(week: Any) -> None:
    gap = CONTRACT.replace('[[contract.tariff]]\nname = "HC"\n', "")
    gap = gap[: gap.index('[[contract.subscribed]]\nsince = 2026-01-01\ntariff = "HC"')]
    report = october(week, contracts=gap.replace("2026-01-01", "2027-01-01").replace("2026-10-06", "2027-02-01"))
    assert [p.code for p in report.problems] == ["no_tariff", "no_subscribed"]
    assert not report.complete


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("power_kw = 500", "power_kw = -1"), "contracts: contract[0].subscribed[0].power_kw = -1: "),
        (('tariff = "HC"', 'tariff = "HX"'), "tariff 'HX' has no [[contract.tariff]]; use HP, HC"),
        (("[[contract]]", "[[contracts]]"), "contracts: contract: Input should be a valid tuple"),
        (("since = 2026-10-06", "since = tomorrow"), "contracts: not TOML"),
        (("weekdays", "days"), "contract[0].tariff[0].days"),
    ],
)
def test_a_wrong_contract_is_named(change: tuple[str, str], told: str) -> None:
    with pytest.raises(WrongInput) as found:
        parse_contracts(CONTRACT.replace(*change), "demo-port")
    assert told in str(found.value)
