"""Carbon lines against the worked figures of the sources."""

import json
from fractions import Fraction
from typing import Any

import pytest

from gateway.report.co2 import Line
from gateway.report.factors import load_factors, parse_factors
from gateway.report.model import Report, build

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
        ("berth_supply", "aux.mgo.sfoc.mid", "unknown_baseline"),
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


def test_a_factor_from_memory_is_refused() -> None:
    item = {
        "id": "aux.mgo.sfoc.mid", "value": 210, "unit": "gFuel/kWh", "perimeter": "parameter", "region": "generic",
        "year": "", "source": "?", "certainty": "from-memory-to-verify",
    }  # fmt: skip
    with pytest.raises(ValueError, match="look the value up at its source first"):
        parse_factors(json.dumps([item]))
