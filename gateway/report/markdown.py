"""A report as Markdown (CommonMark with tables), readable as it is."""

import re

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


def render_markdown(report: Report, lang: str = "fr", edition: Edition = PROVISIONAL) -> str:
    """The report as one text. Raises: ValueError if the language is unknown."""
    return markdown_of(compose(report, load_texts(lang), edition))


def markdown_of(document: Document) -> str:
    """Any document as one text."""
    mark = f" — {document.mark}" if document.mark else ""
    parts = [f"# {escape(document.title)}{mark}"]
    if document.mark and document.warning:
        parts.append(f"> **{document.mark}.** {escape(document.warning)}")
    parts += [text for block in document.blocks if (text := _block(block, mark, document))]
    parts += ["---", escape(document.foot)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, mark: str, document: Document) -> str:
    match block:
        case Heading(text):
            return f"## {escape(text)}{mark}"
        case Paragraph(text):
            return escape(text)
        case Bullets(items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Facts(pairs, _):
            return "\n".join(
                f"- **{escape(name)}** : {escape(value)}"
                if document.lang == "fr"
                else f"- **{escape(name)}:** {escape(value)}"
                for name, value in pairs
            )
        case Table():
            return _table(block)
        case Drawing():
            return ""  # its values are in the tables
    raise TypeError(block)


def _table(table: Table) -> str:
    """Padded so that it lines up where it is read as plain text."""
    cells = [[name for name, _ in table.header], *table.rows]
    lines = [[escape(cell) for cell in row] for row in cells]
    if table.total:
        lines[-1] = [f"**{cell}**" if cell else "" for cell in lines[-1]]
    widths = [max(3, *(len(row[i]) for row in lines)) for i in range(len(table.header))]
    right = [align == "right" for _, align in table.header]
    rule = [("-" * (w - 1) + ":") if r else "-" * w for w, r in zip(widths, right, strict=True)]

    def line(row: list[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    return "\n".join([f"**{escape(table.caption)}**", "", line(lines[0]), line(rule), *map(line, lines[1:])])


def escape(text: str) -> str:
    """Keep a name from being taken for Markdown. An underscore inside a word is none."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", text).replace("\n", " ")
