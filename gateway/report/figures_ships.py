"""Figures of the ship view: each ship's energy and what it replaced on board, one line each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.figures_calls import call_key
from gateway.report.figures_carbon import where_of
from gateway.report.ships import MJ_PER_KWH, ShipMonth

if TYPE_CHECKING:
    from gateway.report.model import Report


def ship_figures(report: "Report") -> Iterator[Figure]:
    for ship in report.ships.ships:
        yield from _ship(report, ship)


def ship_key(name: str, ship: ShipMonth) -> str:
    where = {"vessel": ship.vessel}
    where |= {"imo": ship.imo} if ship.imo else {}
    return key_of(f"ship.{name}", **where, **where_of(ship.replaced))


def _ship(report: "Report", ship: ShipMonth) -> Iterator[Figure]:
    calls = tuple(call_key("energy_wh", c) for c in ship.calls if c.energy_wh is not None)
    month = report.month
    rows = tuple(
        RowRange("session", charger, month.start_ns, month.stop_ns)
        for charger in sorted({c.charger for c in ship.calls})
    )
    yield Figure(
        key=ship_key("calls", ship),
        value=len(ship.calls),
        unit="count",
        perimeter="ship",
        formula="count",
        rows=rows,
    )
    yield Figure(
        key=ship_key("energy_wh", ship), value=ship.energy_wh, unit="Wh", perimeter="ship", formula="sum_of_calls",
        inputs=calls, rows=() if calls else rows,
    )  # fmt: skip
    if ship.energy_wh is None or ship.effect is None:
        return
    yield Figure(
        key=ship_key("energy_mj", ship), value=ship.energy_wh * MJ_PER_KWH / 1000, unit="MJ", perimeter="ship",
        formula="kwh_times_3_6", inputs=(ship_key("energy_wh", ship),),
    )  # fmt: skip
    effect, cited = ship.effect, {f.id: f.cited for f in ship.factors}
    grid = (report.carbon.grid.cited,)
    engine = tuple(c for c in cited.values() if c not in grid)
    amounts = (
        ("grid_kg", effect.grid_kg, "kg", "energy_times_factors", grid),
        ("fuel_avoided_kg", effect.fuel_kg, "kg", "energy_times_factors", engine[:1]),
        ("avoided_kg", effect.avoided_kg, "kg", "energy_times_factors", engine[:2]),
        ("net_kg", effect.net_kg, "kg", "grid_minus_avoided", grid + engine[:2]),
        ("avoided_combustion_kg", effect.combustion_kg, "kg", "energy_times_factors", (*engine[:1], *engine[2:3])),
        ("ets_eur", effect.ets_eur, "EUR", "allowance_value", (*engine[:1], *engine[2:3], *engine[-1:])),
        *((f"{name}_kg", kg, "kg", "energy_times_factors", ()) for name, kg in effect.pollutants),
    )
    for name, value, unit, formula, factors in amounts:
        if value is not None:
            yield Figure(
                key=ship_key(name, ship), value=value, unit=unit, perimeter="ship", formula=formula,
                factors=factors or _pollutant(report, ship, name), inputs=(ship_key("energy_wh", ship),),
            )  # fmt: skip


def _pollutant(report: "Report", ship: ShipMonth, name: str) -> tuple[str, ...]:
    found = report.ships.method.pollutant_factors(ship.replaced, ship.vessel)
    return tuple(f.cited for pollutant, f in found if name == f"{pollutant}_kg")
