"""The journal says of each way that a row can go what the spool's own books say of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from chaos import journal, oracle
from shore import GATEWAY, T, row

from edge import wire
from edge.spool import Entry, Held, Spool

OWNER = f"demo-port/{GATEWAY}"
ROWS = [row(T + n, power_w=float(n)) for n in range(1200)]
LINES = [wire.encode_row(made.kind, made.tags, made.fields, made.t_ns) for made in ROWS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal.install(tmp_path / "spool.db", OWNER)
    return tmp_path / "spool.db"


def waiting(lines: list[str]) -> list[Held]:
    """As they come after a boot whose clock nobody has set."""
    return [Held("live", "boot-1", n, line) for n, line in enumerate(lines)]


def timed(lines: list[str]) -> list[Entry]:
    return [Entry("live", wire.decode_row(line).t_ns, line, True) for line in lines]


def confirm_all(spool: Spool) -> dict[oracle.Key, Mapping[str, wire.Value]]:
    """What the store has after all that waits has been stored."""
    stored = {}
    while (batch := spool.seal("live", 500)) is not None:
        rows = map(wire.decode_row, batch.body.decode().splitlines())
        stored |= {oracle.key_of(found): found.fields for found in rows}
        spool.confirm(wire.Receipt(spool.id, batch.id, batch.crc32, batch.rows, []))
    return stored


def test_rows_that_are_dropped_while_they_wait_for_the_clock_are_sealed_and_dropped(path: Path) -> None:
    spool = Spool(path, OWNER)
    spool.commit([], held=waiting(LINES))
    assert spool.make_room(spool.used_bytes() - 1) == 500  # the disk is full before anybody knows what time it is
    assert spool.tally().dropped == 500
    rest = spool.held(1000)
    spool.commit(timed([held.line for held in rest]), released=rest[-1].seq)
    stored = confirm_all(spool)
    spool.close()

    told = journal.read(path, OWNER)
    assert (told.untimed, told.missing) == (500, 0)
    verdict = oracle.judge_ledger(GATEWAY, told, stored, [])
    assert (verdict.sealed, verdict.stored, verdict.dropped, verdict.complaints) == (1200, 700, 500, [])


def test_only_the_batch_that_went_is_dropped(path: Path) -> None:
    """A batch that a receipt has freed just before is not taken for it, nor by rows without a time."""
    spool = Spool(path, OWNER)
    spool.commit(timed(LINES[:10]))
    stored = confirm_all(spool)
    spool.commit(timed(LINES[10:30]), held=waiting(LINES[30:40]))
    while spool.make_room(spool.used_bytes() - 1):
        pass
    spool.close()

    told = journal.read(path, OWNER)
    assert [sealed.dropped for sealed in told.rows] == [False] * 10 + [True] * 20
    verdict = oracle.judge_ledger(GATEWAY, told, stored, [])
    assert (verdict.sealed, verdict.stored, verdict.dropped, verdict.complaints) == (40, 10, 30, [])
