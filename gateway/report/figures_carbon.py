"""Figures of the carbon lines: grid, avoided and net are three, never one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.report.co2 import Line, Replaced
from gateway.report.figure import Figure, key_of
from gateway.report.figures_calls import call_key

if TYPE_CHECKING:
    from gateway.report.model import Report


def carbon_figures(report: "Report") -> Iterator[Figure]:
    for line in report.carbon.lines:
        yield Figure(
            key=carbon_key(line), value=line.co2_kg, unit=f"kg{line.gas}",
            perimeter=line.perimeter,
            formula="grid_minus_avoided" if line.subject == "net" else "energy_times_factors",
            factors=tuple(f.cited for f in line.factors),
            inputs=_inputs(report, line),
            coverage=report.coverage if line.subject == "grid_site" else None,
            open=True,
        )  # fmt: skip


def carbon_key(line: Line, subject: str = "") -> str:
    """Of a line, or of another `subject` with the same baseline."""
    return key_of(f"co2.{subject or line.subject}_kg", **where_of(line.replaced))


def where_of(replaced: Replaced | None) -> dict[str, object]:
    """What tells the engines apart that calls stand for; berth supply at full efficiency is not named."""
    if replaced is None:
        return {}
    where: dict[str, object] = {"baseline": replaced.baseline}
    if replaced.use != "berth_supply":
        where["use"] = replaced.use
    if replaced.efficiency != 1:
        where["efficiency"] = f"{float(replaced.efficiency):g}"
    return where


def _inputs(report: "Report", line: Line) -> tuple[str, ...]:
    if line.subject == "grid_site":
        return ("energy.import_wh",)
    if line.subject == "net":
        return carbon_key(line, "grid_calls"), carbon_key(line, "avoided")
    return tuple(
        call_key("energy_wh", c)
        for c in report.calls
        if c.berth in line.berths and line.replaced and c.use == line.replaced.use and c.energy_wh is not None
    )
