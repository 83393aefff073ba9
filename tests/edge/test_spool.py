"""The ledger on disk: what went in comes out once, whatever happens in between."""

import hashlib
import os
import shutil
import sqlite3
import zlib
from pathlib import Path

import pytest

from edge import spool_base, spool_file, wire
from edge.spool import Entry, Held, HeldBoot, Spool, SpoolError


def entry(i: int, lane: wire.Lane = "live", replay: bool = True) -> Entry:
    noise = hashlib.sha256(str(i).encode()).hexdigest()  # compresses as badly as measurements do
    return Entry(lane, 1000 + i, f'meter,device=m text="{noise}" {1000 + i}', replay)


def receipt(spool: Spool, number: int, refused: tuple[tuple[int, str], ...] = ()) -> wire.Receipt:
    batch = spool.batch(number)
    assert batch is not None
    return wire.Receipt(spool.id, number, batch.crc32, batch.rows - len(refused), refused)


def waiting(spool: Spool) -> list[tuple[int, str]]:
    """Batches without a receipt, lane by lane, oldest first."""
    found: list[tuple[int, str]] = []
    for lane in wire.LANES:
        number = 0
        while number := spool.next_waiting(lane, number) or 0:
            found.append((number, lane))
    return found


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db")


def test_a_batch_keeps_its_bytes_over_a_restart(spool: Spool) -> None:
    spool.commit([entry(i) for i in range(5)])
    sealed = spool.seal("live", 3)
    assert sealed is not None
    spool.close()
    again = Spool(spool.path)
    assert again.id == spool.id
    assert again.batch(sealed.id) == sealed
    assert waiting(again) == [(sealed.id, "live")]
    rest = again.seal("live", 10)
    assert rest is not None
    assert rest.body == wire.body_of([entry(3).line, entry(4).line])


def test_only_the_right_receipt_frees_a_batch(spool: Spool) -> None:
    spool.commit([entry(i) for i in range(3)])
    sealed = spool.seal("live", 10)
    assert sealed is not None
    right = receipt(spool, sealed.id)
    for wrong in (
        wire.Receipt("another-spool", sealed.id, sealed.crc32, 3),
        wire.Receipt(spool.id, sealed.id + 1, sealed.crc32, 3),
        wire.Receipt(spool.id, sealed.id, "00000000", 3),
        wire.Receipt(spool.id, sealed.id, sealed.crc32, 2),
    ):
        assert not spool.confirm(wrong)
    assert spool.tally().waiting == 3
    assert spool.confirm(right)
    assert not spool.confirm(right)  # a doubled receipt counts once
    assert (spool.tally().stored, spool.tally().waiting) == (3, 0)


def test_refused_rows_are_counted_apart(spool: Spool) -> None:
    spool.commit([entry(i) for i in range(3)])
    sealed = spool.seal("live", 10)
    assert sealed is not None
    assert spool.confirm(receipt(spool, sealed.id, ((1, "no such field"),)))
    tally = spool.tally()
    assert (tally.sealed, tally.stored, tally.refused, tally.dropped) == (3, 2, 1, 0)


def test_a_start_replays_what_came_after_the_checkpoint_and_nothing_else(spool: Spool) -> None:
    spool.commit([entry(0), entry(1)], b"state after 1")
    spool.commit([entry(2), entry(3, "minutes", replay=False), entry(4, "detail")])
    while (sealed := spool.seal("live", 10)) is not None:  # sent and confirmed: still replayed
        spool.confirm(receipt(spool, sealed.id))
    spool.close()
    spool = Spool(spool.path)
    state, lines = spool.replay()
    assert state == b"state after 1"
    assert lines == [entry(2).line, entry(4).line]
    spool.commit([], b"state after 4")
    assert spool.replay() == (b"state after 4", [])


def test_rows_leave_the_disk_once_sealed_and_checkpointed(spool: Spool) -> None:
    for i in range(50):
        spool.commit([entry(100 * i + j) for j in range(100)], b"state")
        sealed = spool.seal("live", 1000)
        assert sealed is not None
        spool.confirm(receipt(spool, sealed.id))
    left = sqlite3.connect(spool.path).execute("SELECT (SELECT count(*) FROM row), (SELECT count(*) FROM batch)")
    assert left.fetchone() == (0, 0)


def test_a_full_spool_drops_detail_before_live_and_never_minutes_or_events(spool: Spool) -> None:
    for lane in wire.LANES:
        for i in range(20):
            spool.commit([entry(1000 * i + j, lane) for j in range(100)])
            spool.seal(lane, 100)
    spool.commit([], b"state")  # rows that a replay might need would stay
    size = spool.used_bytes()
    rows = spool.make_room(size * 7 // 8)
    assert [d.lane for d in spool.untold()] == ["detail"]
    rows += spool.make_room(0)
    assert [lane for _, lane in waiting(spool)] == ["events"] * 20 + ["minutes"] * 20
    tally = spool.tally()
    assert tally.dropped == rows == sum(d.rows for d in spool.untold()) == 4000
    assert tally.sealed == 8000 == tally.dropped + tally.waiting


def test_the_oldest_waiting_row_is_known(spool: Spool) -> None:
    assert spool.oldest_waiting_ns() is None
    spool.commit([entry(5), entry(9)])
    sealed = spool.seal("live", 1)
    assert sealed is not None
    assert spool.oldest_waiting_ns() == 1005
    spool.confirm(receipt(spool, sealed.id))
    assert spool.oldest_waiting_ns() == 1009


def test_a_failed_commit_leaves_nothing_behind(spool: Spool) -> None:
    with pytest.raises(SpoolError):
        spool.commit([entry(1), Entry("live", None, "x", True)])  # type: ignore[arg-type]
    assert spool.tally().sealed == 0
    spool.commit([entry(1)])
    assert spool.tally().sealed == 1


def test_a_spool_with_rows_does_not_change_hands(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool.db", "calais/gw-1")
    first.commit([entry(1)], b"state")
    first.close()
    with pytest.raises(SpoolError, match="holds 1 rows of calais/gw-1 that wait to be sent, this is dover/gw-9"):
        Spool(tmp_path / "spool.db", "dover/gw-9")
    again = Spool(tmp_path / "spool.db", "calais/gw-1")
    sealed = again.seal("live", 10)
    assert sealed is not None
    again.confirm(receipt(again, sealed.id))
    again.close()
    other = Spool(tmp_path / "spool.db", "dover/gw-9")
    assert other.replay() == (None, [])


def test_the_first_version_of_the_file_is_brought_up(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "spool.db")
    old.executescript(spool_file._STEPS[0])
    old.executescript(
        "INSERT INTO meta VALUES ('id', '00000000-0000-4000-8000-000000000001'), ('owner', 's/g');"
        "INSERT INTO meta VALUES ('checkpoint', CAST('{\"a\": 1}' AS BLOB)), ('checkpoint_seq', 0);"
        "INSERT INTO tally VALUES (0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (2, 3, 1, 0, 0), (3, 0, 0, 0, 0);"
        "INSERT INTO row VALUES (3, 2, NULL, 1, 1003, 'meter,device=m a=3 1003');"
        "PRAGMA user_version=1;"
    )
    body = zlib.compress(b"meter,device=m a=2 1002\n")
    query = "INSERT INTO batch VALUES (7, 2, 1, 1002, 1002, ?, ?)"
    old.execute(query, (wire.crc32(zlib.decompress(body)), body)).connection.commit()
    old.close()
    spool = Spool(tmp_path / "spool.db", "s/g")
    assert spool.id.endswith("01") and waiting(spool) == [(7, "live")]
    assert spool.replay() == (b'{"a": 1}', ["meter,device=m a=3 1003"])
    assert spool.oldest_by_device() == ({"m": 1003}, 1002)  # nobody kept whose rows an old batch holds
    assert spool.confirm(receipt(spool, 7)) and spool.tally().waiting == 1


def test_a_newer_file_is_refused(spool: Spool) -> None:
    spool.close()
    sqlite3.connect(spool.path).execute("PRAGMA user_version=99")
    with pytest.raises(SpoolError, match="made by a newer bollard"):
        Spool(spool.path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(SpoolError, match="is damaged"):
        Spool(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"the folder .*nowhere is not there"):
        Spool(tmp_path / "nowhere" / "spool.db")


def test_a_full_disk_is_told_and_what_was_there_stays(spool: Spool) -> None:
    spool.commit([entry(i) for i in range(10)])
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count={pages}")  # SQLite then answers as on a full disk
    with pytest.raises(SpoolError, match="the disk is full; make room"):
        spool.commit([entry(i) for i in range(5000)])
    assert spool.tally().sealed == 10
    spool._db.execute("PRAGMA max_page_count=1000000")
    spool.commit([entry(10)])
    assert spool.tally().sealed == 11


def test_a_receipt_that_comes_after_all_makes_dropped_rows_stored(spool: Spool) -> None:
    spool.commit([entry(i, "detail") for i in range(10)], b"state")
    sealed = spool.seal("detail", 10)
    assert sealed is not None
    right = receipt(spool, sealed.id)
    assert spool.make_room(0) == 10
    assert (spool.tally().dropped, spool.tally().waiting) == (10, 0)
    assert spool.confirm(right) and not spool.confirm(right)
    assert (spool.tally().stored, spool.tally().dropped, spool.tally().waiting) == (10, 0, 0)


def test_what_was_dropped_is_told_in_the_commit_that_tells_it(spool: Spool) -> None:
    spool.commit([entry(i, "detail") for i in range(10)], b"state")
    spool.make_room(0)
    spool.close()
    spool = Spool(spool.path)  # a kill before it was told
    (gone,) = spool.untold()
    assert (gone.lane, gone.rows, gone.t_first_ns, gone.t_last_ns) == ("detail", 10, 1000, 1009)
    spool.commit([entry(99, "events")], told=gone.last)
    assert spool.untold() == []
    assert spool.tally().sealed == 11


def test_rows_that_wait_for_the_clock_are_counted_once(spool: Spool) -> None:
    held = [Held("live", "boot-1", 10 + i, entry(i).line) for i in range(6)]
    spool.commit([], held=held[:3])
    spool.commit([], held=held[3:])
    assert (spool.tally().waiting, spool.held_count()) == (6, 6)
    assert spool.held_boots() == [HeldBoot("boot-1", 6, 10, 15, 990)]
    first = spool.held(4)
    assert [h.mono_ns for h in first] == [10, 11, 12, 13]
    spool.commit([entry(i) for i in range(4)], b"state", released=first[-1].seq)
    assert (spool.tally().waiting, spool.held_count()) == (6, 2)
    assert spool.make_room(0) == 6  # sealed, loose and held ones alike
    assert spool.tally().waiting == spool.held_count() == 0


def test_each_device_is_confirmed_until_its_own_oldest_row(spool: Spool) -> None:
    def of(device: str, t_ns: int, lane: wire.Lane = "live") -> Entry:
        return Entry(lane, t_ns, f"meter,gateway=g,device={device},origin=sim a=1 {t_ns}", True)

    spool.commit([of("a", 10), of("b", 11), of("a", 12, "detail")])
    sealed = spool.seal("live", 10)
    spool.commit([of("b", 20), Entry("live", 21, "gateway,gateway=g up=1 21", False)])
    assert spool.oldest_by_device() == ({"a": 10, "b": 11, "": 21}, None)
    assert sealed is not None and spool.confirm(receipt(spool, sealed.id))
    assert spool.oldest_by_device() == ({"a": 12, "b": 20, "": 21}, None)


def test_a_file_that_has_drained_gives_its_room_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_base, "KEEP_PAGES", 10)
    spool.commit([entry(i) for i in range(5000)], b"state")
    while sealed := spool.seal("live", 500):
        spool.confirm(receipt(spool, sealed.id))
    before = spool.file_bytes()
    for _ in range(100):
        spool.trim(20)
    assert spool.file_bytes() < before // 2
    assert spool.file_bytes() - spool.used_bytes() >= 10 * 1024  # what the next minutes need stays


def test_a_reserve_on_the_disk_is_spent_when_it_is_full_and_made_again(spool: Spool) -> None:
    reserve = spool.path.with_name("spool.db.reserve")
    spool.keep_reserve()
    assert os.stat(reserve).st_blocks * 512 >= spool_base.RESERVE_BYTES, "not only a number"
    spool.commit([entry(i) for i in range(100)])
    spool.spend_reserve()
    assert not reserve.exists()
    spool.commit([entry(100)])
    spool.keep_reserve()
    assert reserve.exists() and spool.tally().sealed == 101


def test_another_program_that_holds_the_file_is_named(spool: Spool) -> None:
    spool._db.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(spool.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolError, match="another program holds it"):
        spool.commit([entry(1)])
    other.close()
    spool.commit([entry(1)])
    assert spool.tally().sealed == 1


def test_a_lock_belongs_to_whom_the_folder_does_and_is_named_if_it_cannot_be_opened(tmp_path: Path) -> None:
    folder = tmp_path / "bollard"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    spool_file.locked(folder / "spool.db").close()
    made, beside = (folder / "spool.db.lock").stat(), folder.stat()
    assert (made.st_uid, made.st_gid) == (beside.st_uid, beside.st_gid)
    (folder / "other.db.lock").mkdir()  # as little to be opened as one of another user
    with pytest.raises(SpoolError, match=r"other\.db\.lock: cannot be written by .* change its owner"):
        spool_file.locked(folder / "other.db")
