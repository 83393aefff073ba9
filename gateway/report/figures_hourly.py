"""Figures of the hourly indicator: apart from the carbon lines, under names of their own."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange
from gateway.report.month import NS

if TYPE_CHECKING:
    from gateway.report.model import Report


def hourly_figures(report: "Report") -> Iterator[Figure]:
    found = report.hourly
    if found is None:
        return
    rows = tuple(
        RowRange("energy_1m", m.device, report.month.start_ns, report.month.stop_ns) for m in report.counted
    )
    for name, value, unit, coverage in (
        ("co2_kg", found.co2_kg, "kgCO2", found.coverage),
        ("mean_g_per_kwh", found.g_per_kwh, "gCO2/kWh", found.coverage),
        ("missing_s", Fraction(found.missing_ns, NS), "s", None),
    ):
        yield Figure(
            key=f"hourly.{name}", value=value, unit=unit, perimeter="hourly", formula=f"hourly.{name}", rows=rows,
            coverage=coverage, open=True,
        )  # fmt: skip
