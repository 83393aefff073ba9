"""An issue of a report: the figures, the manifest that says what they stand on, and every format of it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from gateway.book import Book, Filed
from gateway.report.data import figure_lines, lines_hash, render_csv, render_json
from gateway.report.document import Document, Earlier, Edition
from gateway.report.errors import WrongInput
from gateway.report.frozen import Answer, Archive, FrozenStore, Recorder, report_stem, rows_hash
from gateway.report.html import html_of
from gateway.report.markdown import markdown_of
from gateway.report.memory import give_back
from gateway.report.model import Report, build
from gateway.report.options import PLAIN, Options
from gateway.report.pdf import Attachment, render_pdf
from gateway.report.sections import compose
from gateway.report.ships import ships_csv
from gateway.report.words import Words
from gateway.report.workbook import render_xlsx
from gateway.store.base import Store
from gateway.texts import load_texts

MANIFEST = 1  # version of the manifest's form


class Format(StrEnum):
    PDF = "pdf"
    XLSX = "xlsx"
    CSV = "csv"
    SHIPS = "ships.csv"
    JSON = "json"
    HTML = "html"
    MD = "md"


MACHINE = (Format.CSV, Format.SHIPS, Format.JSON)  # the same in every language


def rows_name(site: str, month: str) -> str:
    """Of the file that holds a final issue's frozen rows."""
    return f"{report_stem(site, month)}.rows.zip"


@dataclass(frozen=True)
class Issue:
    """A report with its status and its manifest; `render` gives its files."""

    report: Report
    manifest: Mapping[str, Any]
    json: bytes

    @property
    def edition(self) -> Edition:
        earlier = tuple(Earlier(**issue) for issue in self.manifest["earlier"])
        return Edition(self.manifest["status"] == "final", earlier)

    def name(self, kind: Format, lang: str) -> str:
        """File name; machine formats have no language."""
        stem = report_stem(self.report.site, str(self.report.month))
        return f"{stem}.{kind}" if kind in MACHINE else f"{stem}.{lang}.{kind}"

    @cached_property
    def csv(self) -> bytes:
        return render_csv(self.report.figures())

    @cached_property
    def ships(self) -> bytes:
        return ships_csv(self.report.ships)

    def render(self, kind: Format, lang: str) -> bytes:
        """Same rows, factors, version and status: same bytes."""
        match kind:
            case Format.JSON:
                return self.json
            case Format.CSV:
                return self.csv
            case Format.SHIPS:
                return self.ships
            case Format.XLSX:
                return render_xlsx(self.report, self.manifest, Words(self.report, load_texts(lang), self.edition))
            case Format.HTML:
                return html_of(self._document(lang)).encode()
            case Format.MD:
                return markdown_of(self._document(lang)).encode()
            case Format.PDF:
                return self._pdf(lang)

    def _document(self, lang: str) -> Document:
        """Composed once for the three formats that show it."""
        if lang not in self._documents:
            self._documents[lang] = compose(self.report, load_texts(lang), self.edition)
        return self._documents[lang]

    @cached_property
    def _documents(self) -> dict[str, Document]:
        return {}

    def _pdf(self, lang: str) -> bytes:
        words = Words(self.report, load_texts(lang), self.edition)
        attached = [
            Attachment(self.name(Format.JSON, lang), self.json, "application/json", words("pdf.json")),
            Attachment(self.name(Format.CSV, lang), self.csv, "text/csv", words("pdf.csv")),
            Attachment(self.name(Format.SHIPS, lang), self.ships, "text/csv", words("pdf.ships")),
        ]
        return render_pdf(self._document(lang), words, attached)


def issue(
    store: Store, book: Book, month: str, site: str, archive: Path | None = None, options: Options = PLAIN
) -> Issue:
    """Reckon a month and say what it stands on. With `archive` it is final, and its rows are frozen there.

    Raises: WrongInput, NoData, OSError.
    """
    with _archive(archive) as frozen:
        recorder = Recorder(store, book, site, month, options, frozen)
        report = build(cast(Store, recorder), cast(Book, recorder), month, site, options)  # it only reads
        if frozen is not None and archive is not None:
            frozen.close(recorder.index())
            _keep_what_was_frozen(archive, recorder.answers)
    give_back()  # the minutes were read; typesetting needs the room
    status = "provisional" if archive is None else "final"
    lines = figure_lines(report)
    manifest = manifest_of(report, recorder, status, lines)
    manifest["earlier"] = [_earlier(found) for found in before(book.filed(site, str(report.month)), manifest)]
    return Issue(report, manifest, render_json(report, manifest, lines))


def again(store: FrozenStore, filed: Mapping[str, Any]) -> Issue:
    """The issue of a manifest once more, from its frozen rows, by the software of today."""
    report = build(cast(Store, store), cast(Book, store), filed["month"], filed["site"], store.options)
    lines = figure_lines(report)
    manifest = manifest_of(report, store, filed["status"], lines)
    manifest["earlier"] = filed["earlier"]
    return Issue(report, manifest, render_json(report, manifest, lines))


def _keep_what_was_frozen(archive: Path, answers: Sequence[Answer]) -> None:
    if archive.exists() and rows_hash(FrozenStore(archive).answers) != rows_hash(answers):
        raise WrongInput(
            f"{archive}: this month was frozen with other rows, and a filed report stands on them;"
            " give another folder with --out to file it anew"
        )


@contextmanager
def _archive(path: Path | None) -> Iterator[Archive | None]:
    """The file appears under its name only when it is whole."""
    if path is None:
        yield None
        return
    part = path.with_name(path.name + ".part")
    try:
        yield Archive(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def manifest_of(
    report: Report, source: Recorder | FrozenStore, status: str, lines: Sequence[str]
) -> dict[str, Any]:
    """What an auditor needs to find the same figures again, or to see that something is not the same."""
    return {
        "manifest": MANIFEST,
        "software": f"bollard {version('bollard')}",
        "site": report.site,
        "month": str(report.month),
        "status": status,
        "site_files": dict(report.gateways),
        "factors": {f.cited: str(f.value) for f in report.factors},
        "journal": source.journal_digest,
        "options": source.options.digest,
        "rows_sha256": rows_hash(source.answers),
        "figures_sha256": lines_hash(lines),
        "rows": [
            {"kind": a.kind, "device": a.device, "rows": a.rows, "sha256": a.sha256}
            for a in source.answers
            if a.rows
        ],
        "earlier": [],
    }


def entry(made: Issue, now_ns: int) -> Filed:
    """The issue as the book keeps it."""
    m = made.manifest
    totals = {f.key: str(f.value) for f in made.report.figures() if "/" not in f.key and f.value is not None}
    return Filed(
        m["site"], m["month"], m["status"], m["rows_sha256"], m["figures_sha256"], m["software"],
        json.dumps(totals, sort_keys=True), now_ns,
    )  # fmt: skip


def before(issues: Sequence[Filed], manifest: Mapping[str, Any]) -> list[Filed]:
    """Issues of other rows or software, made before this one was made for the first time."""
    names = ("rows_sha256", "figures_sha256", "software")

    def same(issue: Filed) -> bool:
        return all(getattr(issue, name) == manifest[name] for name in names)

    first_ns = min((i.filed_ns for i in issues if same(i)), default=None)
    return [i for i in issues if not same(i) and (first_ns is None or i.filed_ns < first_ns)]


def _earlier(found: Filed) -> dict[str, Any]:
    return {
        "filed_ns": found.filed_ns, "status": found.status, "software": found.software,
        "rows_sha256": found.rows_sha256, "totals": json.loads(found.totals),
    }  # fmt: skip
