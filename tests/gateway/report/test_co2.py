"""Carbon lines against the worked figures of the sources."""

from fractions import Fraction
from typing import Any

import pytest

from gateway.report.co2 import Line
from gateway.report.errors import WrongInput
from gateway.report.factors import load_factors
from gateway.report.markdown import render_markdown
from gateway.report.model import Report, build
from gateway.report.options import Options

MINUTE_NS = 60_000_000_000


@pytest.fixture
def with_call(port: Any, paris_ns: Any) -> Any:
    """1000 kWh at the meter, of which 900 kWh in a call."""
    at_ns = paris_ns("2026-10-05T12:00")
    port.minutes(at_ns, [100_000] * 10)
    port.call(at_ns, at_ns + 10 * MINUTE_NS, 900_000)
    return port


def october(port: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port")


def lines(port: Any) -> dict[str, Line]:
    return {line.subject: line for line in october(port).carbon.lines}


def test_lines_follow_the_published_figures(with_call: Any) -> None:
    with_call.site()
    found = lines(with_call)
    assert found["grid_site"].co2_kg == 52  # 1000 kWh x 52.0 g/kWh
    assert found["grid_calls"].co2_kg == Fraction("46.8")
    # EPA's test value for an auxiliary engine on MGO is 695.702 g/kWh
    assert found["avoided_combustion"].co2_kg / 900 == Fraction("0.695702")
    # Annex II of FuelEU at 217 g/kWh: 839.8 g/kWh from well to wake
    assert found["avoided"].co2_kg / 900 == Fraction("0.83978566")


def test_net_is_reckoned_between_equal_perimeters_only(with_call: Any) -> None:
    with_call.site()
    found = lines(with_call)
    assert found["net"].co2_kg == found["grid_calls"].co2_kg - found["avoided"].co2_kg
    assert {found[x].perimeter for x in ("grid_calls", "avoided", "net")} == {"life_cycle"}
    assert (found["avoided_combustion"].perimeter, found["avoided_combustion"].gas) == ("combustion", "CO2")


@pytest.mark.parametrize(
    ("use", "baseline", "reason"),
    [
        ("berth_supply", None, "no_baseline"),
        ("berth_supply", "aux.mgo.sfoc.mid", "unverified_baseline"),
        ("berth_supply", "mrv.mgo.cf_co2", "unknown_baseline"),
        ("traction", "aux.mgo.sfoc.epa", "wrong_use"),
    ],
)
def test_without_a_baseline_that_applies_there_is_no_avoided_line(
    with_call: Any, use: str, baseline: str | None, reason: str
) -> None:
    with_call.site(berth=[{"name": "berth-1", "meter": "meter-1", "use": use, "baseline": baseline}])
    carbon = october(with_call).carbon
    assert [line.subject for line in carbon.lines] == ["grid_site"]
    assert [(x.berth, x.reason) for x in carbon.refusals] == [("berth-1", reason)]


def test_every_shipped_factor_may_be_used_and_is_exact() -> None:
    factors = load_factors()
    assert factors["fueleu.mdo_mgo.wtw_per_g.ar5"].value == (
        Fraction("0.0427") * Fraction("14.4") + Fraction("3.206")
        + Fraction("0.00005") * 28 + Fraction("0.00018") * 265
    )  # fmt: skip
    assert all(f.source and f.unit and f.region for f in factors.values())


def test_a_factor_from_memory_is_used_only_if_allowed_and_is_printed_as_such(with_call: Any) -> None:
    memory = "aux.mgo.sfoc.mid"  # 210 g/kWh
    with_call.site(berth=[{"name": "berth-1", "meter": "meter-1", "use": "berth_supply", "baseline": memory}])
    assert memory not in load_factors()
    with pytest.raises(WrongInput, match="unverified; look it up at its source, or give --allow-unverified"):
        load_factors().named(memory)
    report = build(with_call.store, with_call.book, "2026-10", "demo-port", Options(allow_unverified=True))
    line = next(x for x in report.carbon.lines if x.subject == "avoided_combustion")
    assert line.co2_kg / 900 == Fraction("0.67326")  # 210 x 3.206
    french, english = (render_markdown(report, lang) for lang in ("fr", "en"))
    assert french.count("NON VÉRIFIÉ") >= 3
    assert "Factor aux.mgo.sfoc.mid: UNVERIFIED (common port-inventory assumption)" in english


@pytest.mark.parametrize(("gwp", "per_g"), [("ar4", "3.87577"), ("ar5", "3.86998"), ("ar6", "3.871415")])
def test_the_set_of_gwp_is_a_parameter(gwp: str, per_g: str) -> None:
    assert load_factors(gwp)[f"fueleu.mdo_mgo.wtw_per_g.{gwp}"].value == Fraction(per_g)
    assert load_factors(gwp)["aux.mgo.sfoc.epa"].emissions["life_cycle"].endswith(gwp)


OWN = """
[[factor]]
id = "elec.fr.ademe.2026.consumption"
value = 41.5
unit = "gCO2e/kWh"
perimeter = "life_cycle"
region = "FR continental"
year = "2026"
source = "ADEME Base Empreinte, read on 2027-01-12"
"""


def test_a_persons_own_factor_takes_the_place_of_an_older_year(with_call: Any) -> None:
    with_call.site()
    plain = october(with_call)
    assert [p.code for p in plain.problems] == ["factor_year"]
    assert not plain.complete
    own = build(with_call.store, with_call.book, "2026-10", "demo-port", Options(factors=OWN))
    assert own.problems == ()
    grid = next(x for x in own.carbon.lines if x.subject == "grid_site")
    assert (grid.co2_kg, grid.factors[0].cited) == (Fraction("41.5"), "elec.fr.ademe.2026.consumption@own")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("value = 41.5", "value = 0"), "value = 0: no grid emits nothing"),
        (("value = 41.5", "value = -3"), "value = -3 is negative"),
        (('source = "ADEME', 'note = "ADEME'), "source is missing; an auditor asks for all of"),
        (('perimeter = "life_cycle"', 'perimeter = "cradle"'), "perimeter 'cradle' is not one of life_cycle"),
        (("unit =", "units ="), "unit is missing"),
        (("[[factor]]", "[[factors]]"), "hold factors; give tables [[factor]]"),
    ],
)
def test_a_wrong_factor_is_named(change: tuple[str, str], told: str) -> None:
    with pytest.raises(WrongInput) as found:
        Options(factors=OWN.replace(*change)).load_factors()
    assert told in str(found.value)


def test_traction_has_its_own_baseline_and_efficiency(with_call: Any) -> None:
    """900 kWh x 0.85 x 205 g/kWh of a medium-speed main engine."""
    berth = {"name": "berth-1", "meter": "meter-1", "use": "traction", "baseline": "main.mgo.sfoc.medium.epa"}
    with_call.site(berth=[berth])
    assert [(x.berth, x.reason) for x in october(with_call).carbon.refusals] == [("berth-1", "no_efficiency")]
    with_call.site(berth=[{**berth, "efficiency": 0.85}])
    line = lines(with_call)["avoided_combustion"]
    assert line.co2_kg == 900 * Fraction("0.85") * 205 * Fraction("3.206") / 1000
    keys = [f.key for f in october(with_call).figures()]
    assert "co2.avoided_kg/baseline=main.mgo.sfoc.medium.epa,use=traction,efficiency=0.85" in keys
