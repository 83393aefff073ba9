"""The report as PDF/A-3a: tagged, its fonts inside, its data attached. Laid out by typst from `report.typ`."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import typst

from gateway.report.attach import filled, stand_in
from gateway.report.document import Block, Bullets, Document, Drawing, Facts, Heading, Paragraph, Table
from gateway.report.memory import give_back
from gateway.report.words import Words

STANDARDS = ["a-3a", "ua-1"]  # archived with its data inside, and readable by those who listen
LONG = 26  # characters of a text before it may be broken into lines
KEY_WIDTH, GUTTER = 0.85, 1.6  # of a key's character and between columns, in characters of a cell


@dataclass(frozen=True)
class Attachment:
    """A file inside the PDF. `relationship`: what it is to the document, in the terms of PDF/A-3."""

    name: str
    data: bytes
    type: str
    description: str
    relationship: Literal["source", "data", "alternative", "supplement"] = "data"


def render_pdf(document: Document, words: Words, attachments: Sequence[Attachment] = ()) -> bytes:
    """Lay out a document. Same document and attachments, same bytes: nothing of the system is read."""
    report = words.report
    last = report.month.last_day
    data = {
        "lang": document.lang, "title": document.title, "site": document.site, "month": document.month,
        "kind": words("pdf.kind"), "description": words("pdf.description"), "made": words("pdf.made"),
        "status": document.status, "coverage": document.coverage, "coverage_name": words("essentials.coverage"),
        "mark": document.mark or "", "warning": document.warning or "", "foot": document.foot,
        "date": [last.year, last.month, last.day],
        "blocks": [_block(block) for block in document.blocks],
        "attached": [
            {"name": a.name, "type": a.type, "description": a.description, "relationship": a.relationship}
            for a in attachments
        ],
    }  # fmt: skip
    files = {
        "main": resources.files("gateway.report").joinpath("report.typ").read_bytes(),
        "document.json": json.dumps(data, ensure_ascii=False).encode(),
        **{a.name: stand_in(a.data) for a in attachments},
    }
    give_back()
    compile_: Any = typst.compile  # its types do not know of files from memory
    pdf = bytes(compile_(files, format="pdf", ignore_system_fonts=True, pdf_standards=STANDARDS))
    give_back()  # the layout
    return filled(pdf, {stand_in(a.data): a.data for a in attachments})


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Heading(text):
            return {"kind": "heading", "text": text}
        case Paragraph(text):
            return {"kind": "paragraph", "text": text}
        case Bullets(items):
            return {"kind": "bullets", "items": list(items)}
        case Facts(pairs, keys):
            return {"kind": "facts", "pairs": [list(pair) for pair in pairs], "keys": list(keys)}
        case Drawing(caption, alt, svg):
            return {"kind": "drawing", "caption": caption, "alt": alt, "svg": svg}
        case Table():
            return {
                "kind": "table", "caption": block.caption, "header": [list(column) for column in block.header],
                "rows": [list(row) for row in block.rows], "total": block.total, "names": list(block.names),
                "where": list(block.where), "widths": _widths(block),
            }  # fmt: skip
    raise TypeError(block)


def _widths(table: Table) -> list[float]:
    """What each column needs, in characters: its longest number, a good part of its longest text, its words."""
    needs = []
    for i, (name, align) in enumerate(table.header):
        cells = [row[i] for row in table.rows]
        longest = max((len(cell) for cell in cells), default=0)
        words = [word for text in (name, *cells) for word in re.split(r"[ \n]", text)]
        key = table.names[i] if i < len(table.names) else ""
        parts = [len(part) * KEY_WIDTH for part in re.split(r"(?<=[._=,/])", key)]
        text = longest if align == "right" else min(longest, LONG)
        needs.append(max(text, *(len(word) for word in words), *parts) + GUTTER)
    return needs
