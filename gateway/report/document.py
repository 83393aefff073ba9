"""A report as a list of blocks, between the figures and the formats: every format shows the same."""

from collections.abc import Mapping, Sequence
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
    """Names and values, one pair a line. `keys[i]`: key of the figure of line i, "" where it has none."""

    pairs: Sequence[tuple[str, str]]
    keys: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it. `total`: the last row is a sum.

    A cell's figure has the key `names[column]/where[row]`, or `names[column]` where the row says nothing;
    columns without a name hold no figure. So a key costs a word per row and column, not one per cell.
    """

    caption: str
    header: Sequence[tuple[str, Align]]
    rows: Sequence[Sequence[str]]
    total: bool = False
    names: Sequence[str] = ()
    where: Sequence[str] = ()


@dataclass(frozen=True)
class Drawing:
    """A chart as SVG. `alt` tells in a sentence or two what it shows, to whoever does not see it."""

    caption: str
    alt: str
    svg: str


Block = Heading | Paragraph | Bullets | Facts | Table | Drawing


@dataclass(frozen=True)
class Earlier:
    """An issue that was made of other rows or by other software, before this one was first made."""

    filed_ns: int
    status: str
    software: str
    rows_sha256: str
    totals: Mapping[str, str]  # the site's figures then: key -> exact value


@dataclass(frozen=True)
class Edition:
    """What an issue is besides its figures."""

    final: bool = False  # filed, its rows are frozen
    earlier: Sequence[Earlier] = ()


PROVISIONAL = Edition()


@dataclass(frozen=True)
class Document:
    """`mark` (SIMULATION) belongs on every view: at the top, at each heading, on each printed page.

    `site`, `month`, `status` and `coverage` are what a cover and the head of each page say.
    """

    lang: str
    title: str
    site: str
    month: str
    status: str
    coverage: str
    mark: str | None
    warning: str | None  # what the mark means
    blocks: Sequence[Block]
    foot: str
