"""Figures of quality: uncertainty, checks of registers against power, and the month and year before."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange, key_of
from gateway.report.quality import combined

if TYPE_CHECKING:
    from gateway.report.model import Report


def quality_figures(report: "Report") -> Iterator[Figure]:
    quality, month = report.quality, report.month
    for meter in report.meters:
        yield Figure(
            key=key_of("uncertainty.expanded", meter=meter.device),
            value=quality.uncertainties[meter.device].expanded, unit="1", perimeter="meter", formula="gum_chain",
            inputs=(key_of("energy.import_wh", meter=meter.device),),
        )  # fmt: skip
    counted = report.counted
    if counted:
        parts = [(m.import_wh, quality.uncertainties[m.device].expanded) for m in counted]
        yield Figure(
            key="uncertainty.expanded", value=combined(parts), unit="1", perimeter="site", formula="gum_sum",
            inputs=tuple(key_of("uncertainty.expanded", meter=m.device) for m in counted), open=True,
        )  # fmt: skip
    chargers: dict[str, set[str]] = {}
    for call in report.calls:
        chargers.setdefault(call.meter, set()).add(call.charger)
    for check in quality.checks:
        rows = tuple(
            RowRange("session", charger, month.start_ns, month.stop_ns)
            for charger in sorted(chargers.get(check.meter, ()))
        )
        yield Figure(
            key=key_of("check.integrated_wh", meter=check.meter), value=check.integrated_wh, unit="Wh",
            perimeter="meter", formula="integrated_power", rows=rows,
        )  # fmt: skip
        yield Figure(
            key=key_of("check.difference", meter=check.meter), value=check.difference, unit="1", perimeter="meter",
            formula="integrated_minus_register", rows=rows,
            inputs=(key_of("check.integrated_wh", meter=check.meter),),
        )  # fmt: skip
    for then in quality.earlier:
        yield Figure(
            key=key_of("earlier.import_wh", what=then.what, month=then.month), value=then.import_wh, unit="Wh",
            perimeter="site", formula="sum_of_meters", coverage=then.coverage, open=True,
            rows=tuple(
                RowRange("energy_1m", m.device, then.month.start_ns, then.month.stop_ns) for m in counted
            ),
        )  # fmt: skip
