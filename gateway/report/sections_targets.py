"""Targets and trajectories in words: a figure, what it was meant to be, and how far it is from that."""

from collections.abc import Sequence
from fractions import Fraction

from gateway.report.document import Align, Block, Heading, Paragraph, Table
from gateway.report.targets import Deviation
from gateway.report.words import Words

COLUMNS = ("figure", "value", "target", "deviation", "relative", "how", "source")
TEXTS = ("figure", "how", "source")
SHOWN = {"Wh": ("kWh", Fraction(1, 1000), 1), "W": ("kW", Fraction(1, 1000), 1), "kg": ("kg", Fraction(1), 1),
         "1": ("%", Fraction(100), 2), "s": ("s", Fraction(1), 0), "m3": ("m³", Fraction(1), 0),
         "count": ("", Fraction(1), 0)}  # fmt: skip


def target_section(w: Words, found: Sequence[Deviation]) -> list[Block]:
    """Nothing where no target speaks of this perimeter and year."""
    if not found:
        return []
    header: list[tuple[str, Align]] = [
        (w(f"column.target.{name}"), "left" if name in TEXTS else "right") for name in COLUMNS
    ]
    rows = [_row(w, d) for d in found]
    names = ("", "", "target.value", "target.deviation", "target.relative")
    where = [f"line={d.line}" for d in found]
    table = Table(w("targets.caption"), header, rows, names=names, where=where)
    return [Heading(w("targets.heading")), table, Paragraph(w("targets.note"))]


def _row(w: Words, d: Deviation) -> list[str]:
    unit, factor, digits = SHOWN[d.unit]

    def written(value: Fraction | None, signed: bool = False) -> str:
        if value is None:
            return w("not_measured")
        text = w.t.number(value * factor, digits)
        return ("+" if signed and value > 0 else "") + (f"{text}\u00a0{unit}" if unit else text)

    relative = w("none") if d.relative is None else w.t.number(d.relative * 100, 1) + "\u00a0%"
    notes = [d.how, *(["part"] if d.part != 1 else []), *(["thin"] if d.thin else [])]
    how = "; ".join(w(f"targets.{note}") for note in notes)
    return [
        d.figure, written(d.value), written(d.target), written(d.difference, signed=True),
        f"+{relative}" if d.relative is not None and d.relative > 0 else relative, how, d.source,
    ]  # fmt: skip
