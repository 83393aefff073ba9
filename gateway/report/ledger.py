"""The figures of a report in one stable order, subject by subject.

A subject has a function from the report to its figures, in the module of that subject; it is registered here.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.report.figure import Figure
from gateway.report.figures_calls import call_figures
from gateway.report.figures_carbon import carbon_figures
from gateway.report.figures_energy import energy_figures
from gateway.report.figures_hourly import hourly_figures
from gateway.report.figures_locks import lock_figures
from gateway.report.figures_port import port_figures
from gateway.report.figures_quality import quality_figures
from gateway.report.figures_ships import ship_figures
from gateway.report.period import Period
from gateway.report.targets import Deviation, deviations, target_figures

if TYPE_CHECKING:
    from gateway.report.model import Report

SUBJECTS: tuple[Callable[["Report"], Iterator[Figure]], ...] = (
    energy_figures, call_figures, lock_figures, carbon_figures, port_figures, ship_figures, quality_figures,
    hourly_figures,
)  # fmt: skip


def figures_of(report: "Report") -> tuple[Figure, ...]:
    found = tuple(figure for subject in SUBJECTS for figure in subject(report))
    return (*found, *target_figures(deviations_of(report, found)))


def deviations_of(report: "Report", figures: Sequence[Figure]) -> tuple[Deviation, ...]:
    """How far the site's figures are from the targets of the month's year."""
    if not report.targets:
        return ()
    period = Period(report.month, "month")
    return deviations(report.targets, (report.site,), period, {figure.key: figure for figure in figures})
