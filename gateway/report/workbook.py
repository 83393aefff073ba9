"""A report as XLSX: a sheet per subject with numbers that a spreadsheet can add, and what they stand on.

A figure's key is `<subject>.<quantity_unit>/<name>=<value>,…`; a subject's sheet has a column per quantity and a
row per place, so every subject that has figures has its sheet.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import xlsxwriter  # type: ignore[import-untyped]

from gateway.report.data import number
from gateway.report.figure import Figure
from gateway.report.model import Report
from gateway.report.words import Words

MOST_CHARACTERS = 32_000  # of a cell; Excel ends at 32 767
WIDEST = 60
PARTS = ("coverage", "measured", "integrated", "estimated")


def render_xlsx(report: Report, manifest: Mapping[str, Any], w: Words) -> bytes:
    """Same report and language, same bytes: its dates are the month's."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True, "strings_to_urls": False, "strings_to_formulas": False})
    last = report.month.last_day
    book.set_properties(
        {"title": w("title", site=report.site, month=w.month), "author": "bollard", "status": w.status,
         "created": datetime(last.year, last.month, last.day)}
    )  # fmt: skip
    looks = {
        "": book.add_format(),
        "head": book.add_format({"bold": True, "bottom": 2, "text_wrap": True, "valign": "bottom"}),
        "mark": book.add_format({"bold": True, "bg_color": "#000000", "font_color": "#ffffff"}),
        "share": book.add_format({"num_format": "0.00%"}),
        "whole": book.add_format({"num_format": "#,##0"}),
        "part": book.add_format({"num_format": "#,##0.0##"}),
    }
    for sheet in _sheets(report, manifest, w):
        _write(book, looks, sheet, w("mark") if report.simulated else "")
    book.close()
    return file.getvalue()


@dataclass
class Sheet:
    """`rows` are cells as they come; a column named in `shares` is a share of 1."""

    name: str
    header: list[str]
    rows: list[list[str | int | float | None]] = field(default_factory=list)
    shares: frozenset[int] = frozenset()


def _sheets(report: Report, manifest: Mapping[str, Any], w: Words) -> Iterable[Sheet]:
    figures = report.figures()
    cover: list[tuple[str, str]] = [
        (w("header.site"), report.site),
        (w("header.month"), str(report.month)),
        (w("header.status"), w.status),
        (w("xlsx.zone"), report.month.timezone),
        (w("xlsx.origins"), ", ".join(report.origins)),
        (w("essentials.coverage"), w.t.percent(report.coverage, 2)),
        (w("xlsx.software"), manifest["software"]),
        (w("xlsx.rows_hash"), manifest["rows_sha256"]),
        *((w("xlsx.site_file", gateway=name), digest) for name, digest in report.gateways),
    ]
    yield Sheet(w("xlsx.cover"), [w("xlsx.item"), w("xlsx.value")], [list(pair) for pair in cover])
    subjects: dict[str, list[Figure]] = {}
    for figure in figures:
        subjects.setdefault(figure.key.partition(".")[0], []).append(figure)
    for subject, found in subjects.items():
        yield _pivot(subject, found, w)
    yield Sheet(
        w("xlsx.figures"), [*(w(f"xlsx.{n}") for n in ("key", "value", "unit", "formula", "factors")),
                            *(w(f"xlsx.{n}") for n in PARTS)],
        [_line(figure, w) for figure in figures if figure.perimeter != "call"], frozenset(range(5, 9)),
    )  # fmt: skip
    names = ("id", "value", "unit", "perimeter", "region", "year", "certainty", "source")
    yield Sheet(
        w("xlsx.factor_sheet"), [w(f"column.factors.{n}") for n in names],
        [
            [f.id, number(f.value), f.unit, w(f"perimeter.{f.perimeter}"), f.region, f.year,
             w(f"certainty.{f.certainty}"), f.source]
            for f in report.factors
        ],
    )  # fmt: skip


def _pivot(subject: str, figures: list[Figure], w: Words) -> Sheet:
    """A row per place, a column per quantity."""
    places: dict[str, dict[str, Figure]] = {}
    parts: dict[str, None] = {}
    quantities: dict[str, None] = {}
    for figure in figures:
        name, _, where = figure.key.partition("/")
        quantity = name.partition(".")[2]
        places.setdefault(where, {})[quantity] = figure
        quantities[quantity] = None
        parts |= dict.fromkeys(part.partition("=")[0] for part in where.split(",") if part)
    rows: list[list[str | int | float | None]] = []
    for where, found in places.items():
        named = dict(part.partition("=")[::2] for part in where.split(",") if part)
        values = [number(found[q].value) if q in found else None for q in quantities]
        rows.append([*(named.get(part, "") for part in parts), *values])
    title = w.t.template(f"report.subject.{subject}") or subject
    return Sheet(title, [*parts, *quantities], rows)


def _line(figure: Figure, w: Words) -> list[str | int | float | None]:
    formula = w.t.template(f"report.formula.{figure.formula}") or figure.formula
    shares = [number(getattr(figure.shares, name, None)) for name in PARTS[1:]]
    return [
        figure.key, number(figure.value), figure.unit, formula, " ".join(figure.factors),
        number(figure.coverage), *shares,
    ]  # fmt: skip


def _write(book: Any, looks: Mapping[str, Any], sheet: Sheet, mark: str) -> None:
    page = book.add_worksheet(sheet.name[:31])
    top = 0
    if mark:
        page.write_string(0, 0, mark, looks["mark"])
        page.set_header(f'&C&"-,Bold"{mark}')
        top = 1
    page.set_landscape()
    page.set_paper(9)
    page.fit_to_pages(1, 0)
    page.repeat_rows(top)
    page.freeze_panes(top + 1, 1)
    for x, name in enumerate(sheet.header):
        longest = max((len(str(row[x])) for row in sheet.rows), default=0)
        page.set_column(x, x, min(max(longest, 8) + 2, WIDEST))
        page.write_string(top, x, name, looks["head"])
    for y, row in enumerate(sheet.rows, top + 1):
        for x, value in enumerate(row):
            if isinstance(value, str):
                page.write_string(y, x, value[:MOST_CHARACTERS])
            elif value is not None:
                look = "share" if x in sheet.shares else "whole" if isinstance(value, int) else "part"
                page.write_number(y, x, value, looks[look])
    if sheet.rows:
        page.autofilter(top, 0, top + len(sheet.rows), len(sheet.header) - 1)
