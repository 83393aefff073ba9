"""What sections build their blocks with."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.report.document import Align, Drawing, Table
from gateway.report.words import Words


def columns(w: Words, table: str, names: str) -> list[tuple[str, Align]]:
    """Column heads of a table; a name that ends in > is a column of numbers, set to the right."""

    def align(name: str) -> Align:
        return "right" if name.endswith(">") else "left"

    return [(w(f"column.{table}.{name.rstrip('>')}"), align(name)) for name in names.split()]


def drawn(*drawings: Drawing | None) -> list[Drawing]:
    return [drawing for drawing in drawings if drawing is not None]


def without_unmeasured(w: Words, table: Table) -> tuple[Table, list[str]]:
    """The table without columns in which nothing was measured, and the names of those."""
    data = table.rows[:-1] if table.total else table.rows
    nothing = w("not_measured")
    gone = [i for i in range(len(table.header)) if data and all(row[i] == nothing for row in data)]
    kept = [i for i in range(len(table.header)) if i not in gone]

    def some(cells: Sequence[str]) -> list[str]:
        return [cells[i] for i in kept if i < len(cells)]

    thin = replace(
        table, header=[table.header[i] for i in kept], rows=[some(row) for row in table.rows],
        names=some(table.names),
    )  # fmt: skip
    return thin, [table.header[i][0] for i in gone]
