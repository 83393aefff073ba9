"""What goes first: the new before what has waited, each within its bounds, nothing twice on one connection."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edge import wire
from edge.config import BrokerConfig
from edge.disk import Disk
from edge.sending import MOST_BACKLOG, Pace, Sender
from edge.spool import ROWS_IN_BATCH, Batch, Entry, Spool
from edge.uplink import Uplink


class Line(Uplink):
    """An uplink whose other end is this test: what was sent, and receipts when it says so."""

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config, Path(), "s", "g", b"", lambda _: None, lambda: None)
        self.up, self.sent = True, list[Batch]()

    @property
    def connected(self) -> bool:
        return self.up

    def send(self, batch: Batch, spool: str) -> int:
        self.sent.append(batch)
        self._sent_s[batch.id] = time.monotonic()
        return len(batch.body)

    def take(self) -> list[str]:
        """Lane and first row of what was sent since the last call."""
        told = [f"{b.lane} {b.t_first_ns}" for b in self.sent]
        self.sent = []
        return told


class Site:
    def __init__(self, folder: Path, **broker: object) -> None:
        config = BrokerConfig(host="b", **broker)  # type: ignore[arg-type]
        self.line = Line(config)
        self.disk = Disk(Spool(folder / "spool.db"), lambda _: None, lambda _: None)
        self.sender = Sender(self.disk, self.line, config)
        self.now = 0

    async def rows(self, count: int, lane: wire.Lane = "live") -> None:
        entries = [Entry(lane, self.now + i, f"meter,device=m a=1 {self.now + i}", True) for i in range(count)]
        self.now += count
        lanes, receipts = self.sender.lanes(), self.sender.take_receipts()
        done = await self.disk(Spool.commit, entries, b"state", (), 0, 0, receipts, lanes)
        self.sender.committed(done, receipts)

    async def confirm(self, most: int = 10**6) -> None:
        under_way = [b for n in list(self.line._sent_s)[:most] if (b := await self.disk(Spool.batch, n))]
        for b in under_way:
            self.sender.receive(wire.Receipt(self.disk.spool.id, b.id, b.crc32, b.rows))
        await self.rows(0)

    async def waiting(self) -> int:
        return (await self.disk(Spool.tally)).waiting

    def reconnect(self) -> None:
        self.line.forget()
        self.line.up = True
        self.sender.begin_again()


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path, window=16)
    yield made
    await made.disk.close()


async def after_an_outage(site: Site, batches: int) -> None:
    site.line.up = False
    for _ in range(batches):
        await site.rows(ROWS_IN_BATCH)
        await site.sender.turn()
    site.reconnect()


async def test_what_waits_is_sealed_while_nobody_listens(site: Site) -> None:
    await after_an_outage(site, 5)
    assert await site.disk(Spool.batches_waiting) == 5
    assert site.line.sent == []
    site.line.up = False
    await site.rows(ROWS_IN_BATCH - 1)  # too few for a whole batch: more will come
    await site.sender.turn()
    assert await site.disk(Spool.batches_waiting) == 5


async def test_new_rows_go_before_those_that_waited(site: Site) -> None:
    await after_an_outage(site, 40)
    first_new = site.now
    order = []
    for _ in range(30):
        await site.rows(3)
        await site.rows(1, "events")
        await site.sender.turn()
        sent = site.line.take()
        assert sorted(s.split()[0] for s in sent[:2]) == ["events", "live"], sent
        assert all(int(s.split()[1]) >= first_new for s in sent[:2]), "the rows of this very turn"
        order += [int(s.split()[1]) for s in sent[2:]]
        await site.confirm()
    assert order == list(range(0, 40 * ROWS_IN_BATCH, ROWS_IN_BATCH)), "each once, oldest first"
    assert await site.waiting() == 0


async def test_a_backlog_never_fills_the_window(site: Site) -> None:
    await after_an_outage(site, 40)
    await site.sender.turn()
    await site.sender.turn()
    assert len(site.line.take()) == MOST_BACKLOG
    await site.rows(5)
    await site.sender.turn()
    assert site.line.take() == [f"live {40 * ROWS_IN_BATCH}"]
    await site.confirm(1)
    await site.sender.turn()
    assert len(site.line.take()) == 1, "one went, one follows"


@pytest.mark.parametrize("window", [1, 2, 3])
async def test_a_narrow_window_lets_everything_through(tmp_path: Path, window: int) -> None:
    site = Site(tmp_path, window=window)
    await after_an_outage(site, 6)
    for _ in range(40):
        await site.sender.turn()
        assert len(site.line._sent_s) <= window
        await site.confirm()
    assert await site.waiting() == 0
    await site.disk.close()


async def test_a_new_connection_sends_all_that_has_no_receipt(site: Site) -> None:
    await after_an_outage(site, 4)
    await site.sender.turn()
    first = site.line.take()
    assert len(first) == 4
    await site.sender.turn()
    assert site.line.take() == [], "under way"
    await site.confirm(2)
    site.reconnect()
    await site.sender.turn()
    assert site.line.take() == first[2:]


async def test_without_a_receipt_it_is_sent_again_when_due(site: Site) -> None:
    await site.rows(3)
    await site.sender.turn()
    (sent,) = site.line.take()
    site.line._sent_s = dict.fromkeys(site.line._sent_s, time.monotonic() - 31.0)
    await site.sender.turn()
    assert site.line.take() == [sent]


async def test_a_shore_that_is_slow_makes_a_backlog_of_what_is_new(site: Site) -> None:
    for _ in range(16):  # the window
        await site.rows(1)
        await site.sender.turn()
    for _ in range(3):
        await site.rows(ROWS_IN_BATCH)
        await site.sender.turn()
    assert len(site.line.take()) == 16
    assert await site.disk(Spool.batches_waiting) == 19
    for _ in range(10):
        await site.confirm()
        await site.sender.turn()
    assert await site.waiting() == 0


async def test_a_damaged_batch_stops_nothing(site: Site) -> None:
    await after_an_outage(site, 3)
    site.disk.spool._db.execute("UPDATE batch SET body = x'01' WHERE id = 2")
    for _ in range(3):
        await site.sender.turn()
        await site.confirm()
    tally = await site.disk(Spool.tally)
    assert (tally.waiting, tally.dropped, tally.stored) == (0, ROWS_IN_BATCH, 2 * ROWS_IN_BATCH)


def test_a_pace_is_kept_in_the_long_run() -> None:
    now_s = 0.0
    pace, sent = Pace(1000.0, lambda: now_s), 0
    for _ in range(10_000):
        if pace.allows():
            pace.spent(300)
            sent += 300
        now_s += 0.01
    assert sent == pytest.approx(100 * 1000, rel=0.02)
    assert Pace(0.0).allows() and Pace(0.0).wait_s() == 0.0


async def test_the_backlog_keeps_its_pace_and_new_rows_do_not_wait(tmp_path: Path) -> None:
    site = Site(tmp_path, window=16, drain_kib_s=1.0)
    await after_an_outage(site, 5)
    wait_s = await site.sender.turn()
    assert len(site.line.take()) == 1, "a batch is ten seconds' worth"
    assert wait_s > 5.0
    await site.rows(3)
    await site.sender.turn()
    assert site.line.take() == [f"live {5 * ROWS_IN_BATCH}"]
    await site.disk.close()


async def test_a_stop_sends_what_would_have_been_collected_for_a_fuller_batch(tmp_path: Path) -> None:
    site = Site(tmp_path, window=16, collect_s=60.0)
    await site.rows(1)  # goes at once; the next batch is due in a minute
    await site.sender.turn()
    await site.rows(5)
    await site.rows(2, "detail")
    await site.sender.turn()
    await site.confirm()
    assert await site.waiting() > 0
    site.sender.hurry()
    await site.sender.turn()
    await site.confirm()
    assert await site.waiting() == 0
    await site.disk.close()
