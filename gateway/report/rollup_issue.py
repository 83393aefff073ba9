"""A roll-up as files: the formats of a month's report, from the same renderers."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, cast

from gateway.report.data import factor_json, figure_json, render_csv
from gateway.report.document import Edition
from gateway.report.errors import WrongInput
from gateway.report.frozen import encoded
from gateway.report.html import html_of
from gateway.report.issue import MACHINE, MANIFEST, Format
from gateway.report.markdown import markdown_of
from gateway.report.model import Report
from gateway.report.month import utc
from gateway.report.pdf import Attachment, render_pdf
from gateway.report.rollup import Rollup
from gateway.report.sections_rollup import compose_rollup
from gateway.report.words import PeriodWords
from gateway.report.workbook import render_xlsx
from gateway.texts import load_texts

SCHEMA = 1  # of gateway/schema/rollup.schema.json


def given(r: Rollup) -> dict[str, Any]:
    """What it stands on besides its months: a verification takes it as it stands here."""
    return {
        "perimeter": r.perimeter.model_dump(mode="json", exclude={"groups"}),
        "targets": r.options.targets,
        "cycle_means_before_s": {
            lock.device: {way: None if c.mean_s is None else str(c.mean_s) for way, c in lock.before.items()}
            for lock in r.locks
        },
    }


@dataclass(frozen=True)
class RollupIssue:
    """A roll-up and its files. Final: the reports of all its months are, with these very rows and figures."""

    rollup: Rollup
    final: bool = False

    @property
    def edition(self) -> Edition:
        return Edition(self.final)

    @property
    def status(self) -> str:
        return "final" if self.final else "provisional"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What it stands on: the months' rows and figures, by the hashes of their own manifests."""
        r = self.rollup
        figures = [figure_json(figure) for figure in r.figures()]
        months = [
            {"site": s.site, "month": str(s.month), "rows_sha256": s.rows_sha256,
             "figures_sha256": s.figures_sha256}
            for s in r.slices
        ]  # fmt: skip
        return {
            "manifest": MANIFEST,
            "software": f"bollard {version('bollard')}",
            "name": r.name,
            "period": str(r.period),
            "status": self.status,
            "site_files": dict(r.gateways),
            "factors": {f.cited: str(f.value) for f in r.factors},
            "options": r.options.digest,
            "months": months,
            "given": given(r),
            "rows_sha256": hashlib.sha256(encoded(months)).hexdigest(),
            "figures_sha256": hashlib.sha256(encoded(figures)).hexdigest(),
        }

    def name(self, kind: Format, lang: str) -> str:
        """File name; machine formats have no language."""
        stem = f"rollup-{self.rollup.name.replace(', ', '+')}-{self.rollup.period}"
        return f"{stem}.{kind}" if kind in MACHINE else f"{stem}.{lang}.{kind}"

    @cached_property
    def json(self) -> bytes:
        r = self.rollup
        data = {
            "schema": SCHEMA,
            "name": r.name,
            "period": str(r.period),
            "timezone": r.period.timezone,
            "start": utc(r.period.start_ns),
            "stop": utc(r.period.stop_ns),
            "sites": list(r.sites),
            "missing": [{"site": s.site, "month": str(s.month)} for s in r.missing],
            "status": self.status,
            "origins": list(r.origins),
            "simulated": r.simulated,
            "complete": r.complete,
            "coverage": float(r.coverage),
            "figures": [figure_json(figure) for figure in r.figures()],
            "factors": [factor_json(factor) for factor in r.factors],
            "manifest": self.manifest,
        }
        return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()

    @cached_property
    def csv(self) -> bytes:
        return render_csv(self.rollup.figures())

    def render(self, kind: Format, lang: str) -> bytes:
        """Same rows and version: same bytes."""
        texts = load_texts(lang)
        words = PeriodWords(self.rollup, texts, self.edition)
        match kind:
            case Format.JSON:
                return self.json
            case Format.CSV:
                return self.csv
            case Format.SHIPS:
                raise WrongInput("a roll-up has no file of ships; its months have")
            case Format.XLSX:
                return render_xlsx(cast(Report, self.rollup), self.manifest, words)  # it has what is asked of it
            case Format.HTML:
                return html_of(compose_rollup(self.rollup, texts, self.edition)).encode()
            case Format.MD:
                return markdown_of(compose_rollup(self.rollup, texts, self.edition)).encode()
            case Format.PDF:
                attached = [
                    Attachment(self.name(Format.JSON, lang), self.json, "application/json", words("pdf.json")),
                    Attachment(self.name(Format.CSV, lang), self.csv, "text/csv", words("pdf.csv")),
                ]
                return render_pdf(compose_rollup(self.rollup, texts, self.edition), words, attached)
