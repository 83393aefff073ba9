"""Earlier issues of the same month, and what their totals have become."""

from fractions import Fraction

from gateway.report.blocks import columns
from gateway.report.document import Block, Heading, Paragraph, Table
from gateway.report.words import Words

HASH_SHOWN = 12  # characters
SHOWN = ("energy.import_wh", "calls.energy_wh")  # in kWh, with what they have changed by since


def issues(w: Words) -> list[Block]:
    """Nothing is said where no other issue came before."""
    if not w.edition.earlier:
        return []
    now = {figure.key: figure.value for figure in w.report.figures() if figure.key in SHOWN}
    rows = []
    for issue in w.edition.earlier:
        cells = [w.at(issue.filed_ns), w(f"header.{issue.status}"), issue.software]
        for key in SHOWN:
            then, value = issue.totals.get(key), now.get(key)
            known = then is not None and value is not None
            cells.append(w("not_measured") if then is None else w.kwh(int(Fraction(then))))
            cells.append(w.kwh(int(value - Fraction(then))) if known and then and value is not None else "")
        rows.append([*cells, issue.rows_sha256[:HASH_SHOWN]])
    header = columns(w, "issues", "filed status software energy> energy_since> calls> calls_since> rows")
    return [Heading(w("issues.heading")), Table(w("issues.caption"), header, rows), Paragraph(w("issues.note"))]
