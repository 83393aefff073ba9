"""Figures of the locks' month."""

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.report.figure import Figure, RowRange, key_of

if TYPE_CHECKING:
    from gateway.report.model import Report


def lock_figures(report: "Report") -> Iterator[Figure]:
    for lock in report.locks:
        rows = (RowRange("lock_cycle", lock.device, report.month.start_ns, report.month.stop_ns),)
        volume_m3 = None if lock.volume_m3 is None else Fraction(lock.volume_m3)
        found: tuple[tuple[str, int | Fraction | None, str, str], ...] = (
            ("up", lock.up, "count", "count"),
            ("down", lock.down, "count", "count"),
            ("unknown", lock.unknown, "count", "count"),
            ("empty", lock.empty, "count", "count"),
            ("incomplete", lock.incomplete, "count", "count"),
            ("mean_up_s", lock.mean_s.get("up"), "s", "mean_of_lockages"),
            ("mean_down_s", lock.mean_s.get("down"), "s", "mean_of_lockages"),
            ("volume_m3", volume_m3, "m3", "sum_of_lockages"),
            ("energy_wh", lock.energy_wh, "Wh", "sum_of_lockages"),
        )
        for name, value, unit, formula in found:
            yield Figure(
                key=key_of(f"lock.{name}", lock=lock.device), value=value, unit=unit, perimeter="lock",
                formula=formula, rows=rows, open=True,
            )  # fmt: skip
