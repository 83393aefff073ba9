"""Figures of the meters: energy, readings, peaks, coverage."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.report.energy import MINUTE_NS, WINDOW_NS, MeterMonth
from gateway.report.figure import Figure, RowRange, Shares, key_of

if TYPE_CHECKING:
    from gateway.report.model import Report


def energy_figures(report: "Report") -> Iterator[Figure]:
    """The site's totals, then each meter by name."""
    yield from _site(report)
    for meter in report.meters:
        yield from _meter(report, meter)


def _site(report: "Report") -> Iterator[Figure]:
    counted = report.counted
    shares = Shares.of(
        sum(m.measured_wh for m in counted),
        sum(m.integrated_wh for m in counted),
        sum(m.estimated_wh for m in counted),
    )
    exported = [m.known_export_wh for m in counted]
    totals = {"import": report.import_wh, "export": None if None in exported else sum(e or 0 for e in exported)}
    for direction, total_wh in totals.items():
        name = f"energy.{direction}_wh"
        yield Figure(
            key=name, value=total_wh if counted else None, unit="Wh", perimeter="site", formula="sum_of_meters",
            inputs=tuple(key_of(name, meter=m.device) for m in counted),
            coverage=report.coverage, shares=shares, open=True,
        )  # fmt: skip
    yield Figure(
        key="coverage.month", value=report.coverage if counted else None, unit="1", perimeter="site",
        formula="least_coverage",
        inputs=tuple(key_of("coverage.month", meter=m.device) for m in counted), open=True,
    )  # fmt: skip


def _meter(report: "Report", meter: MeterMonth) -> Iterator[Figure]:
    month, name = report.month, meter.device
    rows = (RowRange("energy_1m", name, month.start_ns, month.stop_ns),)
    shares = Shares.of(meter.measured_wh, meter.integrated_wh, meter.estimated_wh)
    for direction, energy_wh in (("import", meter.known_import_wh), ("export", meter.known_export_wh)):
        yield Figure(
            key=key_of(f"energy.{direction}_wh", meter=name), value=energy_wh, unit="Wh", perimeter="meter",
            formula="sum_of_minutes", rows=rows, coverage=meter.coverage_month, shares=shares,
        )  # fmt: skip
    yield Figure(
        key=key_of("coverage.month", meter=name), value=meter.coverage_month, unit="1", perimeter="meter",
        formula="covered_over_time", rows=rows,
    )  # fmt: skip
    peak = meter.peak
    yield Figure(
        key=key_of("peak.power_w", meter=name), value=peak.power_w, unit="W", perimeter="meter",
        formula="mean_of_window" if peak.complete else "mean_of_window_at_least",
        rows=(RowRange("energy_1m", name, peak.start_ns, peak.start_ns + WINDOW_NS),),
        coverage=meter.coverage_month,
    )  # fmt: skip
    yield from _registers(meter)


def _registers(meter: MeterMonth) -> Iterator[Figure]:
    """Readings are as the register shows them; the range holds the minutes that carry the first and the last."""
    for span in meter.registers:
        where = {"meter": meter.device, "direction": span.direction, "epoch": span.epoch}
        ends = {"opening": span.opening, "closing": span.closing}
        for end, reading in ends.items():
            row = RowRange("energy_1m", meter.device, reading.minute_ns, reading.minute_ns + MINUTE_NS)
            yield Figure(
                key=key_of(f"register.{end}_wh", **where), value=reading.wh, unit="Wh", perimeter="meter",
                formula="reading", rows=(row,),
            )  # fmt: skip
        yield Figure(
            key=key_of("register.difference_wh", **where), value=span.difference_wh, unit="Wh",
            perimeter="meter", formula="register_difference",
            inputs=tuple(key_of(f"register.{end}_wh", **where) for end in ends),
        )  # fmt: skip
