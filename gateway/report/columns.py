"""Heads of a table's columns."""

from gateway.report.document import Align
from gateway.report.words import Words


def columns(w: Words, table: str, names: str) -> list[tuple[str, Align]]:
    """From `report.column.<table>.<name>`; a name that ends in > is a column of numbers, set to the right."""

    def align(name: str) -> Align:
        return "right" if name.endswith(">") else "left"

    return [(w(f"column.{table}.{name.rstrip('>')}"), align(name)) for name in names.split()]
