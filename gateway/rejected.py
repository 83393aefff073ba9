"""Rows that were refused: their only copy is in the book. Look, try again after the cause is gone, or give up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from edge.wire import RowLine, WireError, decode_row
from gateway.book import Book, Refused
from gateway.intake import check_row
from gateway.store.base import Store

AT_ONCE = 5000  # rows of one write


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of trying again."""

    stored: int
    refused: int


def reasons(rows: Sequence[Refused]) -> list[tuple[str, str, str, int]]:
    """(site, gateway, reason, rows), the most frequent first."""
    counted = Counter((row.site, row.gateway, row.reason) for row in rows)
    return [(*key, count) for key, count in counted.most_common()]


def replay(rows: Sequence[Refused], store: Store, book: Book, production: bool) -> Replayed:
    """Try to store refused rows by the catalogue of today; what is stored leaves the book.

    May be killed at any instant: a row leaves the book after it is durable, and storing twice is harmless.

    Raises: StoreUnavailable, StoreError.
    """
    stored = 0
    origins = ("real",) if production else None
    for (site, gateway), owned in groupby(rows, lambda row: (row.site, row.gateway)):
        mine = list(owned)
        types = book.field_types(site, gateway)
        for k in range(0, len(mine), AT_ONCE):
            part = mine[k : k + AT_ONCE]
            lines: list[RowLine] = []
            owners: list[Refused] = []
            still: dict[Refused, str] = {}
            for row in part:
                try:
                    line = decode_row(row.text)
                    check_row(line, (site, gateway), origins)
                except WireError as error:
                    still[row] = str(error)
                else:
                    lines.append(line)
                    owners.append(row)
            if types is None:
                still = dict.fromkeys(part, "the gateway has no catalogue in this book")
            elif lines:
                still |= {owners[i]: reason for i, reason in store.write(lines, types)}
            book.forget_refused([row for row in part if row not in still])
            book.keep_refused([replace(row, reason=reason) for row, reason in still.items()])
            stored += len(part) - len(still)
    return Replayed(stored, len(rows) - stored)
