"""A disk that is full, locked, worn out or damaged: told once, tried again, no row given up without need."""

import asyncio
import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from edge_rows import START_NS, load, row

from edge import disk as disk_module
from edge import flush as flush_module
from edge import wire
from edge.clock import WallClock
from edge.config import BrokerConfig, SpoolConfig
from edge.disk import SLOWEST_BYTES_S, Disk
from edge.flush import Flusher
from edge.pipeline import Pipeline
from edge.rounds import WORK_S
from edge.sending import Sender
from edge.spool import Committed, Entry, Salvaged, Spool, SpoolError, SpoolFullError, SpoolIoError
from edge.uplink import Uplink


class Watched:
    """A disk, and what was said about it."""

    def __init__(self, folder: Path) -> None:
        self.troubles: list[SpoolError] = []
        self.salvaged: list[Salvaged] = []
        self.excused_s: list[float] = []
        self.disk = Disk(
            Spool(folder / "spool.db", "port/gw"), self.troubles.append, self.salvaged.append,
            excuse=self.excused_s.append,
        )  # fmt: skip


NOISE = random.Random(1)


def entries(count: int, lane: wire.Lane = "live", size: int = 20) -> list[Entry]:
    return [Entry(lane, i, f'meter,device=m text="{NOISE.randbytes(size).hex()}" {i}', True) for i in range(count)]


def fails(error: SpoolError) -> object:
    def refuse(*_: object) -> None:
        raise error

    return refuse


async def test_what_the_disk_refuses_is_told_once_and_once_more_when_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    watched, left = Watched(tmp_path), 3

    def refuses(_: Spool) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise SpoolError("spool.db: another program holds it")

    for _ in range(3):
        with pytest.raises(SpoolError):
            await watched.disk(refuses)
        await watched.disk(Spool.tally)  # that one thing works does not mean that all does
    await watched.disk(refuses)
    await asyncio.sleep(0)
    assert [str(e) for e in watched.troubles] == ["spool.db: another program holds it"]
    assert sum("event=spool_refuses" in r.message for r in caplog.records) == 1
    assert sum("event=spool_works_again" in r.message for r in caplog.records) == 1


async def test_after_an_error_of_the_disk_the_file_is_opened_anew(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    await watched.disk(Spool.commit, entries(3))
    before = watched.disk.spool._db
    with pytest.raises(SpoolIoError):
        await watched.disk(fails(SpoolIoError("disk I/O error")))  # type: ignore[arg-type]
    assert (await watched.disk(Spool.tally)).sealed == 3
    assert watched.disk.spool._db is not before
    with pytest.raises(sqlite3.ProgrammingError):
        before.execute("SELECT 1")


async def test_damage_that_shows_while_it_runs_is_mended_with_the_next_call(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    await watched.disk(Spool.commit, entries(2000))
    spool = watched.disk.spool
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    old, size = spool.id, spool.path.stat().st_size
    with spool.path.open("r+b") as file:
        file.seek(size // 2)
        file.write(random.Random(1).randbytes(size // 4))
    other = sqlite3.connect(spool.path)  # has the first one drop what it remembers of the file
    other.execute("PRAGMA user_version=2").connection.close()
    with pytest.raises(SpoolError, match="is damaged"):
        await watched.disk(Spool.seal, "live", 10**6, 10**9)
    assert (await watched.disk(Spool.tally)).dropped > 0
    await asyncio.sleep(0)
    (found,) = watched.salvaged
    assert found.rows > 500 and found.lost and spool.id != old
    assert watched.excused_s == [WORK_S + size / SLOWEST_BYTES_S, WORK_S]  # no watchdog takes it for a hang
    assert await watched.disk.insist(Spool.seal, "live", 10**6, 10**9)


async def test_whoever_insists_gets_an_answer_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "AGAIN_S", 0.0)
    left = 3

    def answers_at_last(_: Spool) -> str:
        nonlocal left
        left -= 1
        if left:
            raise SpoolFullError("full")
        return "done"

    assert await Watched(tmp_path).disk.insist(answers_at_last) == "done"


class Site:
    """Pipeline and flusher over a real spool."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.watched = Watched(folder)
        self.disk, self.loaded = self.watched.disk, load(folder)
        self.pipeline = Pipeline(self.loaded)
        config = SpoolConfig(**{"min_free_mib": 0} | settings)  # type: ignore[arg-type]
        broker = BrokerConfig(host="b")
        uplink = Uplink(broker, folder, "port", "gw", b"", lambda _: None, lambda: None)
        sender = Sender(self.disk, uplink, broker)
        self.flusher = Flusher(self.disk, self.pipeline, WallClock(), config, sender, asyncio.Lock(), lambda: True)

    def take(self, count: int) -> None:
        for i in range(count):
            self.pipeline.take("meter", row(self.loaded, "meter", START_NS + i, power_w=float(i)))

    async def tally(self) -> tuple[int, int, int]:
        tally = await self.disk(Spool.tally)
        return tally.sealed, tally.waiting, tally.dropped


def limit_pages(spool: Spool, more: int) -> None:
    """SQLite then answers as on a full disk."""
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count={pages + more}")


@pytest.mark.usefixtures("kernels")
async def test_a_full_disk_recovers_by_itself_and_loses_nothing_in_memory(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.take(10)
    assert await site.flusher.flush()
    limit_pages(site.disk.spool, 0)
    site.take(2000)
    assert not await site.flusher.flush()
    assert not await site.flusher.flush()
    assert [type(e) for e in site.watched.troubles] == [SpoolFullError]
    limit_pages(site.disk.spool, 10_000)
    assert await site.flusher.flush()
    sealed, waiting, dropped = await site.tally()
    assert sealed >= 2010 and dropped == 10 and waiting == sealed - 10, "the older live rows made way"
    assert site.pipeline.entries == []


@pytest.mark.usefixtures("kernels")
async def test_what_a_commit_has_sealed_is_handed_on_even_if_a_stop_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, begun, goes_on, told = Site(tmp_path), threading.Event(), threading.Event(), list[Committed]()
    site.take(10)
    monkeypatch.setattr(Sender, "committed", lambda _, done, __: told.append(done))
    commit = Spool.commit

    def slow(*args: Any) -> Committed:
        begun.set()
        goes_on.wait(30)
        return commit(*args)

    monkeypatch.setattr(Spool, "commit", slow)
    flush = asyncio.create_task(site.flusher.flush())
    await asyncio.to_thread(begun.wait, 30)
    flush.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await flush
    assert len(told) == 1 and site.pipeline.entries == []


@pytest.mark.usefixtures("kernels")
async def test_a_small_spool_lives_on_a_disk_that_others_have_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    site = Site(tmp_path, min_free_mib=100)
    for _ in range(3):
        site.take(100)
        assert await site.flusher.flush(checkpoint=True)
    assert (await site.tally())[2] == 0


@pytest.mark.usefixtures("kernels")
async def test_what_has_gathered_in_memory_goes_in_parts_and_its_state_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module, "MOST_ROWS_PER_COMMIT", 40)
    site = Site(tmp_path)
    site.take(100)
    states = []
    for _ in range(3):
        await site.flusher.flush(checkpoint=True)
        states.append((await site.disk(Spool.replay))[0])
    assert states[:2] == [None, None] and states[2] is not None
    assert site.pipeline.entries == []


@pytest.mark.usefixtures("kernels")
async def test_a_disk_that_stays_full_costs_the_oldest_detail(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for _ in range(8):
        await site.disk(Spool.commit, entries(2000, "detail"), b"state")
        await site.disk(Spool.seal, "detail", 2000)
    limit_pages(site.disk.spool, 0)
    site.take(2000)
    while not await site.flusher.flush():
        pass
    sealed, waiting, dropped = await site.tally()
    assert 0 < dropped <= 16_000 and sealed == waiting + dropped
    await site.flusher.flush()
    lines = [line for (line,) in site.disk.spool._db.execute("SELECT line FROM row WHERE lane = 0")]
    told = [wire.decode_row(line) for line in lines]
    assert [r.fields["rows"] for r in told if r.tags["code"] == "rows_dropped"] == [dropped]


@pytest.mark.usefixtures("kernels")
async def test_what_was_dropped_is_told_once_however_often_the_disk_refuses(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for _ in range(2):
        await site.disk(Spool.commit, entries(500, "detail"), b"state")
        await site.disk(Spool.seal, "detail", 500)
    await site.disk(Spool.make_room, 0)
    limit_pages(site.disk.spool, 0)
    site.take(3000)
    for _ in range(5):
        await site.flusher.flush()
    limit_pages(site.disk.spool, 10_000)
    assert await site.flusher.flush() and await site.disk(Spool.untold) == []
    lines = [line for (line,) in site.disk.spool._db.execute("SELECT line FROM row WHERE lane = 0")]
    told = [r.fields["rows"] for r in map(wire.decode_row, lines) if r.tags["code"] == "rows_dropped"]
    assert told == [1000]


@pytest.mark.usefixtures("kernels")
async def test_a_disk_that_others_fill_stops_the_spool_from_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, min_free_mib=100)
    free = 10**12
    monkeypatch.setattr(flush_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(flush_module, "RESERVE", 2**16)
    monkeypatch.setattr(flush_module, "LEAST_BYTES", 2**16)

    async def fill(times: int) -> int:
        for _ in range(times):
            await site.disk(Spool.commit, entries(500, "detail"), b"state")
            await site.disk(Spool.seal, "detail", 500)
            site.take(1)
            await site.flusher.flush(checkpoint=True)
        return await site.disk(Spool.file_bytes)

    grown = await fill(20)
    assert (await site.tally())[2] == 0
    free = 10**6
    assert await fill(40) <= grown + 2**16
    assert (await site.tally())[2] > 10_000
    assert await site.disk(Spool.used_bytes) > grown // 2, "it keeps what it has"
    dropped = (await site.tally())[2]
    free = 10**12
    assert await fill(20) > grown
    assert (await site.tally())[2] == dropped


@pytest.mark.usefixtures("kernels")
async def test_the_files_bound_holds_between_two_checkpoints(tmp_path: Path) -> None:
    site = Site(tmp_path, max_mib=8)
    for _ in range(40):
        await site.disk(Spool.commit, entries(800, "detail", 500), b"state")
        await site.disk(Spool.seal, "detail", 800, 10**9)
        site.take(1)
        await site.flusher.flush()
        assert await site.disk(Spool.used_bytes) <= 8 * 2**20
    sealed, waiting, dropped = await site.tally()
    assert dropped > 8_000 and sealed == waiting + dropped


async def test_beyond_its_bound_memory_gives_up_the_oldest_detail_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_module, "MOST_ROWS_IN_MEMORY", 10)
    site = Site(tmp_path)
    made = [Entry(lane, i, f"{lane} a=1 {i}", False) for i, lane in enumerate(wire.LANES * 4)]
    site.flusher._keep(made, [])
    assert [(e.lane, e.t_ns) for e in site.pipeline.entries if e.lane != "events"] == [
        ("minutes", 1), ("minutes", 5), ("minutes", 9), ("live", 10), ("minutes", 13), ("live", 14),
    ]  # fmt: skip
    assert site.flusher.lost_rows == 6
