"""Does a filed roll-up still follow from the frozen rows of its months? They lie beside it, as they were filed."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from gateway.book import Book
from gateway.perimeter import Perimeter
from gateway.report.data import figure_json
from gateway.report.errors import WrongInput
from gateway.report.frozen import FrozenStore, rows_hash
from gateway.report.issue import rows_name
from gateway.report.month import Month
from gateway.report.period import Period
from gateway.report.rollup import Rollup, Slice, month_of
from gateway.report.source import site_settings
from gateway.report.verify import Finding
from gateway.store.base import Store

ADDED = "rollup.sum"  # formula of the figures that are sums of the months'


def verify_rollup(file: Path, data: Mapping[str, Any]) -> list[Finding]:
    """Reckon each month from its frozen rows, and add up again. Raises: WrongInput, OSError."""
    findings, slices = [], []
    for month in data["manifest"]["months"]:
        where = {"site": month["site"], "month": month["month"]}
        rows = file.with_name(rows_name(**where))
        if not rows.exists():
            findings.append(Finding(False, "month_missing", {"file": rows.name, **where}))
            continue
        try:
            frozen = FrozenStore(rows)
            zone = site_settings(frozen.catalogues(month["site"]))["timezone"]
            when = Month.parse(month["month"], zone)
            found = month_of(cast(Store, frozen), cast(Book, frozen), month["site"], when, frozen.options)
        except WrongInput as error:
            findings.append(Finding(False, "column_broken", {"why": error}))
            continue
        said = {"rows_sha256": rows_hash(frozen.answers)}
        if data["manifest"]["software"] == f"bollard {version('bollard')}":  # another one may have other figures
            said["figures_sha256"] = found.figures_sha256
        odd = next((name for name, digest in said.items() if digest != month[name]), None)
        code = "month_same" if odd is None else "month_differs"
        findings.append(Finding(odd is None, code, {**where, "name": odd}))
        slices.append(found)
    if len(slices) == len(data["manifest"]["months"]):
        findings += _sums(data, slices)
    return findings


def _sums(data: Mapping[str, Any], slices: list[Slice]) -> Iterator[Finding]:
    """Over all, by site and by month; ports and operators are known to the shore file alone."""
    period = Period.parse(data["period"], data["timezone"])
    again = Rollup(data["name"], period, Perimeter(), tuple(slices), ())
    now = {figure.key: figure_json(figure) for figure in again.figures()}
    filed = [f for f in data["figures"] if f["formula"] == ADDED and f["key"] in now]
    for figure in filed:
        seen = now[figure["key"]]
        odd = next((n for n in ("exact", "value", "unit") if figure.get(n) != seen.get(n)), None)
        if odd is not None:
            told = {"key": figure["key"], "name": odd, "filed": figure.get(odd), "now": seen.get(odd)}
            yield Finding(False, "figure_differs", told)
            return
    yield Finding(True, "sums_same", {"n": len(filed)})
