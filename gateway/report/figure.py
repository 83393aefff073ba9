"""A figure of a report with all that an auditor asks of it: what it says, and what it stands on.

Everything a machine reads (JSON, CSV, XLSX), the trace and the verification are made from these; the document
prints the same figures by key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, order=True)
class RowRange:
    """Rows of the store: those of one kind and device that start within [start_ns, stop_ns)."""

    kind: str
    device: str
    start_ns: int
    stop_ns: int


@dataclass(frozen=True, slots=True)
class Shares:
    """How an energy was found; the three add up to 1.

    Measured: registers and power; integrated: power alone; estimated: a register difference across an outage.
    """

    measured: Fraction
    integrated: Fraction
    estimated: Fraction

    @classmethod
    def of(cls, measured_wh: int, integrated_wh: int, estimated_wh: int) -> "Shares | None":
        """None where there was no energy to share out."""
        total = measured_wh + integrated_wh + estimated_wh
        if total <= 0:
            return None
        return cls(Fraction(measured_wh, total), Fraction(integrated_wh, total), Fraction(estimated_wh, total))


@dataclass(frozen=True, slots=True)
class Figure:
    """One published number.

    Attributes:
        key: `<subject>.<quantity_unit>/<name>=<value>,…`, unique in a report.
        value: None: not measured.
        unit: As printed by a machine: Wh, W, s, kg, 1 (a share or ratio), count, …
        perimeter: What it counts: site, meter, call, lock, or a factor's perimeter.
        factors: Ids with their version (`id@version`), in the order of the formula.
        formula: A code; its sentence is `report.formula.<code>` of the texts.
        inputs: Keys of the figures it is reckoned from.
        rows: Rows of the store it is reckoned from.
        coverage: Share of its time that was measured; None where that has no meaning.
        open: May be published (open series); else for the site and its partners alone.
    """

    key: str
    value: int | Fraction | None
    unit: str
    perimeter: str
    formula: str
    factors: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    rows: tuple[RowRange, ...] = ()
    coverage: Fraction | None = None
    shares: Shares | None = None
    open: bool = False


def key_of(name: str, **where: object) -> str:
    """`key_of("energy.import_wh", meter="quai_1")` is `energy.import_wh/meter=quai_1`."""
    return f"{name}/{','.join(f'{part}={value}' for part, value in where.items())}" if where else name


def by_key(figures: tuple[Figure, ...]) -> Mapping[str, Figure]:
    """Raises: ValueError if two figures share a key: a trace would be ambiguous."""
    found = {f.key: f for f in figures}
    if len(found) != len(figures):
        keys = [f.key for f in figures]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"figures that share a key: {', '.join(twice)}")
    return found
