"""A report for machines: JSON by `gateway/schema/report.schema.json`, and its figures as CSV. No locale, UTC."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from gateway.report.factors import Factor
from gateway.report.figure import Figure, RowRange
from gateway.report.model import Report
from gateway.report.month import utc

SCHEMA = 1
CSV_COLUMNS = (
    "key", "value", "unit", "perimeter", "formula", "factors", "inputs",
    "coverage", "measured", "integrated", "estimated", "open",
)  # fmt: skip
SHARES = ("measured", "integrated", "estimated")
MOST_INPUTS = 20  # named in a CSV's cell; the JSON names all


def figure_lines(report: Report) -> list[str]:
    """Each figure as a line of JSON: what the report holds and its manifest hashes."""
    write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return [write(figure_json(figure)) for figure in report.figures()]


def lines_hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def render_json(report: Report, manifest: Mapping[str, Any], lines: Sequence[str]) -> bytes:
    """The whole report: what it is, its figures with what they stand on, its factors, its manifest.

    Args:
        lines: From `figure_lines`.
    """
    month = report.month
    data = {
        "schema": SCHEMA,
        "site": report.site,
        "month": str(month),
        "timezone": month.timezone,
        "start": utc(month.start_ns),
        "stop": utc(month.stop_ns),
        "status": manifest["status"],
        "origins": list(report.origins),
        "simulated": report.simulated,
        "complete": report.complete,
        "coverage": float(report.coverage),
        "factors": [factor_json(factor) for factor in report.factors],
        "manifest": manifest,
    }
    head = json.dumps(data, ensure_ascii=False, indent=1).removesuffix("\n}")
    figures = ",\n".join(lines)
    return f'{head},\n "figures": [\n{figures}\n ]\n}}\n'.encode()


def figure_json(figure: Figure) -> dict[str, Any]:
    """What the figure has nothing of is left out; the value stands there always, null where not measured.

    `exact` is the value as a fraction, where a decimal number might not be all of it.
    """
    found: dict[str, Any] = {"key": figure.key, "value": number(figure.value)}
    if isinstance(figure.value, Fraction):
        found["exact"] = str(figure.value)
    found |= {"unit": figure.unit, "perimeter": figure.perimeter, "formula": figure.formula}
    if figure.factors:
        found["factors"] = figure.factors
    if figure.inputs:
        found["inputs"] = figure.inputs
    if figure.rows:
        found["rows"] = [_rows_json(rows) for rows in figure.rows]
    if figure.coverage is not None:
        found["coverage"] = number(figure.coverage)
    if figure.shares is not None:
        found["shares"] = {name: number(getattr(figure.shares, name)) for name in SHARES}
    return found | {"open": figure.open}


def factor_json(factor: Factor) -> dict[str, Any]:
    return {
        "id": factor.id, "value": number(factor.value), "exact": str(factor.value), "unit": factor.unit,
        "perimeter": factor.perimeter, "region": factor.region, "year": factor.year, "source": factor.source,
        "certainty": factor.certainty,
    }  # fmt: skip


def render_csv(figures: tuple[Figure, ...]) -> bytes:
    """A line per figure. An empty cell: not measured, or it has no meaning there."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(CSV_COLUMNS)
    out.writerows([_csv_line(figure) for figure in figures])
    return file.getvalue().encode()


def _csv_line(figure: Figure) -> list[str]:
    shares = figure.shares
    inputs = figure.inputs
    named = " ".join(inputs) if len(inputs) <= MOST_INPUTS else f"{len(inputs)} figures: see the JSON"
    return [
        figure.key, text(figure.value), figure.unit, figure.perimeter, figure.formula, " ".join(figure.factors),
        named, text(figure.coverage), *(text(getattr(shares, n, None)) for n in CSV_COLUMNS[8:11]),
        "1" if figure.open else "0",
    ]  # fmt: skip


def number(value: int | Fraction | None) -> int | float | None:
    if type(value) is not int and isinstance(value, Fraction):  # which asks its abstract bases: slow
        return value.numerator if value.denominator == 1 else float(value)
    return value


def text(value: int | Fraction | None) -> str:
    found = number(value)
    return "" if found is None else repr(found)


def _rows_json(rows: RowRange) -> dict[str, str]:
    return {"kind": rows.kind, "device": rows.device, "start": utc(rows.start_ns), "stop": utc(rows.stop_ns)}
