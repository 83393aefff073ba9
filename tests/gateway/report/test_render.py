"""The report as Markdown and HTML: what an officer reads, and that its bytes hang on the rows alone."""

import re
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from gateway.book import Book
from gateway.report.document import Table
from gateway.report.html import render_html
from gateway.report.markdown import escape, render_markdown
from gateway.report.model import Report, build
from gateway.report.sections import compose
from gateway.store.sqlite import SqliteStore
from gateway.texts import load_texts

VOID = {"meta", "br", "hr", "img", "path", "rect"}
LANGUAGES = pytest.mark.parametrize("lang", ["fr", "en"])


def october(port: Any) -> Report:
    return build(port.store, port.book, "2026-10", "demo-port")


def tables(port: Any, lang: str) -> int:
    return sum(isinstance(block, Table) for block in compose(october(port), load_texts(lang)).blocks)


def plain(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u00a0", " ")


@LANGUAGES
def test_no_placeholder_is_left_open(demo: Any, lang: str) -> None:
    for text in (render_markdown(october(demo), lang), render_html(october(demo), lang).split("</style>")[1]):
        assert "{" not in text and "}" not in text and "None" not in text.replace("None between", "")


@LANGUAGES
def test_simulation_stands_on_every_heading_and_page(demo: Any, lang: str) -> None:
    lines = render_markdown(october(demo), lang).split("\n")
    headings = [line for line in lines if line.startswith("#")]
    assert len(headings) > 8 and all(line.endswith("SIMULATION") for line in headings)
    html = render_html(october(demo), lang)
    assert len(re.findall(r"<h[12]>[^<]*<span class=\"mark\">SIMULATION</span></h[12]>", html)) == len(headings)
    assert '@top-right { content: "SIMULATION"' in html  # on each printed page


@LANGUAGES
def test_a_real_report_carries_no_mark(port: Any, paris_ns: Any, lang: str) -> None:
    port.site()
    port.origin = "real"
    port.minutes(paris_ns("2026-10-05T12:00"), [100] * 10)
    assert "SIMULATION" not in render_markdown(october(port), lang)
    assert "SIMULATION" not in render_html(october(port), lang)


def test_the_figures_of_the_demo_are_there_in_french(demo: Any) -> None:
    text = plain(render_markdown(october(demo), "fr"))
    for expected in (
        "**Énergie soutirée** : 4 357,174 kWh",
        "**Escales** : 1, énergie délivrée 4 341,374 kWh",
        "**Couverture du mois** : 0,15 %",
        "meter-1 : 466,668 kWh viennent d'une différence d'index à travers une coupure",
        "745 h",
        "| 52,0 (elec.fr.ademe.2022.consumption)",
        "non mesuré",
    ):
        assert expected in text


@LANGUAGES
def test_markdown_tables_are_tables(demo: Any, lang: str) -> None:
    text = render_markdown(october(demo), lang)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == len(re.findall(r"^\| -", text, re.M))
    assert text.count("\n\n| ") == tables(demo, lang) > 9


def test_a_name_is_not_taken_for_markdown() -> None:
    assert escape("a|b *c* <d> [e]\n`f`") == r"a\|b \*c\* \<d> \[e] \`f\`"


class Outline(HTMLParser):
    """Checks that tags nest, and notes what a reader without eyes or network needs."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.lang, self.cells, self.outside = "", [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "html":
            self.lang = found["lang"] or ""
        if tag == "th":
            self.cells.append(found.get("scope"))
        self.outside += [v for k, v in attrs if k in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@LANGUAGES
def test_html_nests_stands_alone_and_names_its_cells(demo: Any, lang: str) -> None:
    html = render_html(october(demo), lang)
    outline = Outline()
    outline.feed(html)
    assert outline.open == [] and outline.lang == lang and outline.outside == []
    assert outline.cells and set(outline.cells) == {"col", "row"}
    assert html.count("<table>") == html.count("<caption>") == tables(demo, lang) > 9
    assert "<script" not in html and "url(" not in html and "@import" not in html
    assert 'role="img"' in html and 'aria-label="' in html


def test_text_from_a_plc_cannot_break_the_page(port: Any, paris_ns: Any) -> None:
    port.site()
    at_ns = paris_ns("2026-10-05T12:00")
    port.call(at_ns, at_ns + 600 * 10**9, 5, berth="<script>alert(1)</script>|x")
    html, text = render_html(october(port)), render_markdown(october(port))
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "\\|x" in text and "| <script" not in text


def test_days_are_drawn_where_the_data_span_several(port: Any, paris_ns: Any) -> None:
    port.site()
    port.minutes(paris_ns("2026-10-24T00:00"), [100] * (49 * 60 + 30))  # the 25th has 25 hours
    html = render_html(october(port), "en")
    assert "Imported energy per day, meter-1" in html and "Mean power over 10 min" not in html
    drawn = next(part for part in html.split("<figure>") if "Imported energy per day" in part)
    assert (
        drawn.count('fill="#1f4e79"') == 2 and drawn.count("stroke-dasharray") == 2
    )  # the third day, and its key


def test_the_same_rows_give_the_same_bytes_whatever_their_order(demo: Any, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "b.db")) as store, closing(Book(tmp_path / "b-book.db")) as book:
        other = type(demo)(store, book)
        other.site()
        assert store.write([*reversed(demo.written), *demo.written], {}) == []
        for render in (render_markdown, render_html):
            assert render(october(demo)) == render(october(demo)) == render(october(other))


def test_a_report_names_no_path_and_no_moment_of_its_making(demo: Any, tmp_path: Path) -> None:
    for text in (render_markdown(october(demo)), render_html(october(demo))):
        assert str(tmp_path) not in text and "sqlite" not in text.lower()
        assert set(re.findall(r"\d\d/\d\d/(\d{4})", text)) == {"2026"}
