"""A report as one HTML file: no script, nothing loaded from elsewhere, legible on a grey printer."""

from collections.abc import Sequence
from html import escape

from gateway.report.document import (
    PROVISIONAL,
    Block,
    Bullets,
    Document,
    Drawing,
    Edition,
    Facts,
    Heading,
    Paragraph,
    Table,
)
from gateway.report.model import Report
from gateway.report.sections import compose
from gateway.texts import load_texts

STYLE = """\
:root { color-scheme: light }
body { font: 15px/1.45 system-ui, "Segoe UI", "Liberation Sans", sans-serif; color: #1a1a1a; background: #fff;
  max-width: 76rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.55rem; line-height: 1.2; margin: 0 0 1rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 2px solid #1a1a1a;
  break-after: avoid }
p, ul, dl { max-width: 62rem }
.mark { border: 2px solid #1a1a1a; padding: 0 .4em; font-size: .72em; letter-spacing: .08em; margin-left: .6em;
  vertical-align: .12em; white-space: nowrap }
.banner { border: 3px double #1a1a1a; padding: .6rem .9rem; margin: 0 0 1.2rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .5rem 0 }
dt { font-weight: 600 } dd { margin: 0 }
.scroll { overflow-x: auto; margin: 1rem 0 1.4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: 0 0 .35rem; caption-side: top }
th, td { padding: .28rem .55rem; text-align: left; vertical-align: top; border-bottom: 1px solid #c4c4c4 }
:is(th, td):first-child { padding-left: 0 }
thead th { border-bottom: 1.5px solid #1a1a1a; vertical-align: bottom; font-size: .87em }
th[scope=row] { font-weight: 500 }
code { font: 400 .68rem/1.3 ui-monospace, "DejaVu Sans Mono", monospace; color: #555 }
:is(dd, th) code { white-space: normal; overflow-wrap: anywhere } th code { display: block }
.right { text-align: right } .short { white-space: nowrap }
tr.total > * { font-weight: 700; border-top: 1.5px solid #1a1a1a; border-bottom: 0 }
figure { margin: 1rem 0 1.4rem } figcaption { font-weight: 600; margin-bottom: .35rem }
svg { max-width: 100%; height: auto }
footer { margin-top: 2.5rem; border-top: 1px solid #767676; padding-top: .5rem; font-size: .87em; color: #444 }
@media print {
  @page { size: A4 landscape; margin: 16mm 12mm }
  body { font-size: 9.5pt; padding: 0; max-width: none } .scroll { overflow: visible }
  tr, figure, .banner { break-inside: avoid }
}"""

EVERY_PAGE = """
@page { @top-right { content: "MARK"; font: 700 11pt sans-serif; letter-spacing: .1em } }"""
SHORT = 20  # characters that stay on one line: dates and names do not break at a hyphen


def render_html(report: Report, lang: str = "fr", edition: Edition = PROVISIONAL) -> str:
    """The report as one page. Raises: ValueError if the language is unknown."""
    return html_of(compose(report, load_texts(lang), edition))


def html_of(document: Document) -> str:
    """Any document as one page."""
    mark = f'<span class="mark">{escape(document.mark)}</span>' if document.mark else ""
    name = f"{document.title} — {document.mark}" if document.mark else document.title
    body = [f"<h1>{escape(document.title)}{mark}</h1>"]
    if document.mark and document.warning:
        warning = f"<strong>{escape(document.mark)}.</strong> {escape(document.warning)}"
        body.append(f'<p class="banner" role="note">{warning}</p>')
    style = STYLE + (EVERY_PAGE.replace("MARK", document.mark) if document.mark else "")
    body += [_block(block, mark) for block in document.blocks]
    return "\n".join(
        [
            "<!doctype html>", f'<html lang="{document.lang}">', "<head>", '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(name)}</title>", f"<style>\n{style}\n</style>", "</head>", "<body>", "<main>",
            *body, "</main>", f"<footer>{escape(document.foot)}</footer>", "</body>", "</html>", "",
        ]
    )  # fmt: skip


def _block(block: Block, mark: str) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}{mark}</h2>"
        case Paragraph(text):
            return f"<p>{escape(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{escape(item)}</li>" for item in items) + "\n</ul>"
        case Facts(pairs, keys):
            lines = (
                f"<dt>{escape(name)}</dt><dd>{escape(value)}{_key(keys[i] if keys else '')}</dd>"
                for i, (name, value) in enumerate(pairs)
            )
            return "<dl>\n" + "\n".join(lines) + "\n</dl>"
        case Table():
            return _table(block)
        case Drawing(caption, _, svg):
            return f"<figure><figcaption>{escape(caption)}</figcaption>\n{svg}</figure>"
    raise TypeError(block)


def _key(key: str) -> str:
    return f" <code>{escape(key)}</code>" if key else ""


def at(texts: Sequence[str], i: int) -> str:
    """Keys may be left out from the end on."""
    return texts[i] if i < len(texts) else ""


def _table(table: Table) -> str:
    right = [align == "right" for _, align in table.header]

    def classes(i: int, text: str, wraps: bool = False) -> str:
        names = ["right"] * right[i] + ["short"] * (not wraps and (right[i] or len(text) <= SHORT))
        return f' class="{" ".join(names)}"' if names else ""

    head = "".join(
        f'<th scope="col"{classes(i, name, wraps=True)}>{escape(name)}{_key(at(table.names, i))}</th>'
        for i, (name, _) in enumerate(table.header)
    )
    lines = []
    for number, row in enumerate(table.rows, 1):
        total = " class=total" if table.total and number == len(table.rows) else ""
        cells = "".join(f"<td{classes(i, cell)}>{escape(cell)}</td>" for i, cell in enumerate(row) if i)
        name = f"{escape(row[0])}{_key(at(table.where, number - 1))}"
        lines.append(f'<tr{total}><th scope="row"{classes(0, row[0])}>{name}</th>{cells}</tr>')
    caption = f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>'
    return "\n".join([caption, f"<thead><tr>{head}</tr></thead>", "<tbody>", *lines, "</tbody></table></div>"])
