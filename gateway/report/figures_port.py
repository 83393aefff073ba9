"""Figures of the port view: the balance of each delivery point, scope 2, tariff classes."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.report.co2 import gas_of, mass_kg
from gateway.report.energy import WINDOW_NS
from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.tariff import ClassMonth, TariffMonth
from gateway.report.tree import PointMonth

if TYPE_CHECKING:
    from gateway.report.factors import Factor
    from gateway.report.model import Report


def port_figures(report: "Report") -> Iterator[Figure]:
    for point in report.port.points:
        yield from _balance(point)
        yield from _scope2(report, point)
    for tariff in report.tariffs:
        for one in tariff.classes:
            yield from _class(report, tariff, one)


def _balance(point: PointMonth) -> Iterator[Figure]:
    meters = tuple(key_of("energy.import_wh", meter=m) for m in (point.meter, *point.below))
    exports = tuple(key_of("energy.export_wh", meter=m) for m in (point.meter, *point.below))
    for name, value, formula in (
        ("production_wh", point.production_wh, "net_of_meters"),
        ("ships_wh", point.ships_wh, "net_of_meters"),
        ("auxiliary_wh", point.auxiliary_wh, "net_of_meters"),
        ("losses_wh", point.losses_wh, "balance_of_point"),
        ("own_wh", point.own_wh, "auxiliary_and_losses"),
        ("scope2_wh", point.scope2_wh, f"scope2_{point.supply or 'undeclared'}"),
        ("resold_wh", point.resold_wh, "import_minus_scope2"),
    ):
        yield Figure(
            key=key_of(f"port.{name}", point=point.meter), value=value, unit="Wh", perimeter="delivery_point",
            formula=formula, inputs=(*meters, *exports), coverage=point.coverage, open=True,
        )  # fmt: skip


def _scope2(report: "Report", point: PointMonth) -> Iterator[Figure]:
    """Location-based, and market-based beside it where the contract has a factor; what was resold apart."""
    grid, market = report.carbon.grid, report.market.get(point.meter)
    lines: list[tuple[str, Fraction | None, str, Factor | None]] = [
        ("scope2_location", point.scope2_wh, "scope2_wh", grid),
        ("resold_location", point.resold_wh, "resold_wh", grid),
        ("scope2_market", point.scope2_wh, "scope2_wh", market),
    ]
    for name, energy_wh, of, factor in lines:
        if factor is None:
            continue
        yield Figure(
            key=key_of(f"co2.{name}_kg", point=point.meter),
            value=None if energy_wh is None else mass_kg_of(energy_wh, factor),
            unit=f"kg{gas_of(factor)}", perimeter=factor.perimeter, formula="energy_times_factors",
            factors=(factor.cited,), inputs=(key_of(f"port.{of}", point=point.meter),), coverage=point.coverage,
            open=True,
        )  # fmt: skip


def mass_kg_of(energy_wh: Fraction, factor: "Factor") -> Fraction:
    return energy_wh * mass_kg(1, (factor,))


def _class(report: "Report", tariff: TariffMonth, one: ClassMonth) -> Iterator[Figure]:
    month = report.month
    rows = (RowRange("energy_1m", tariff.meter, month.start_ns, month.stop_ns),)
    where = {"point": tariff.meter, "class": one.tariff}
    for name, value, unit, formula in (
        ("energy_wh", one.energy_wh, "Wh", "sum_of_minutes"),
        ("beyond", one.beyond, "count", "windows_beyond"),
        ("most_beyond_w", one.most_beyond_w, "W", "most_beyond"),
        ("exceedance_w", one.exceedance_w, "W", "root_of_squares"),
        ("constrained_h", one.constrained_h, "h", "time_constrained"),
    ):
        yield Figure(
            key=key_of(f"tariff.{name}", **where), value=value, unit=unit, perimeter="tariff_class",
            formula=formula, rows=rows,
        )  # fmt: skip
    if one.peak is not None:
        start_ns = one.peak.start_ns
        yield Figure(
            key=key_of("tariff.peak_w", **where), value=one.peak.power_w, unit="W", perimeter="tariff_class",
            formula="mean_of_window" if one.peak.complete else "mean_of_window_at_least",
            rows=(RowRange("energy_1m", tariff.meter, start_ns, start_ns + WINDOW_NS),),
        )  # fmt: skip
