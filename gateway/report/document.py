"""A report as a list of blocks, between the figures and the formats: every format shows the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Align = Literal["left", "right"]


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair a line."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it. `total`: the last row is a sum."""

    caption: str
    header: Sequence[tuple[str, Align]]
    rows: Sequence[Sequence[str]]
    total: bool = False


@dataclass(frozen=True)
class Bars:
    """A bar chart. A pale bar is a lower bound. `labels[i]` stands below bar i; `unit` and `caption` are texts."""

    caption: str
    unit: str
    labels: Sequence[str]
    values: Sequence[float]
    pale: Sequence[bool]
    pale_label: str
    ticks: Sequence[tuple[float, str]]  # value and text of each line of the scale


Block = Heading | Paragraph | Bullets | Facts | Table | Bars


@dataclass(frozen=True)
class Document:
    """`mark` (SIMULATION) belongs on every view: at the top, at each heading, on each printed page."""

    lang: str
    title: str
    mark: str | None
    warning: str | None  # what the mark means
    blocks: Sequence[Block]
    foot: str
