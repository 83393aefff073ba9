"""A file that a worn card, a power cut or a person has damaged: set aside, and what can be read goes on."""

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from edge import spool_salvage, wire
from edge.spool import Entry, Held, Spool, SpoolError

PAGE = 1024
BATCHES, ROWS = 40, 100


def entry(i: int, lane: wire.Lane = "live") -> Entry:
    noise = random.Random(i).randbytes(24).hex()  # compresses as badly as measurements do
    return Entry(lane, 1000 + i, f'meter,site=s,gateway=g,device=m text="{noise}" {1000 + i}', True)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool as a kill leaves it: batches, loose rows, a checkpoint, all of it still in the log."""
    folder = tmp_path_factory.mktemp("killed")
    spool = Spool(folder / "first.db", "s/g")
    spool._db.execute("PRAGMA wal_autocheckpoint=0")
    spool._db.execute("PRAGMA synchronous=OFF")
    for i in range(BATCHES):
        spool.commit([entry(ROWS * i + j) for j in range(ROWS)], b"{state}" if i == BATCHES // 2 else None)
        spool.seal("live", ROWS)
    spool.commit([entry(10**6 + i, "detail") for i in range(50)], held=[Held("live", "boot", 7, entry(5).line)])
    for suffix in ("", "-wal"):
        shutil.copyfile(folder / f"first.db{suffix}", folder / f"spool.db{suffix}")
    spool.close()
    return folder / "spool.db"


@pytest.fixture
def full(killed: Path, tmp_path: Path) -> Path:
    for suffix in ("", "-wal"):
        shutil.copyfile(killed.with_name(f"spool.db{suffix}"), tmp_path / f"spool.db{suffix}")
    (tmp_path / "spool.db.lock").write_text("open")
    return tmp_path / "spool.db"


def emptied_log(path: Path) -> None:
    """All that is in the log goes over into the file, as SQLite does it now and then."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def found_in(spool: Spool) -> set[int]:
    """Times of all rows that wait."""
    times = {t_ns for (t_ns,) in spool._db.execute("SELECT t_ns FROM row WHERE batch IS NULL")}
    for (number,) in spool._db.execute("SELECT id FROM batch").fetchall():
        batch = spool.batch(number)
        assert batch is not None
        times |= {int(line[line.rindex(" ") :]) for line in batch.body.decode().split("\n")[:-1]}
    return times


EVERY = {1000 + i for i in range(BATCHES * ROWS)} | {1000 + 10**6 + i for i in range(50)}


def in_order(spool: Spool) -> bool:
    """Sealed = stored + refused + dropped + what is really there."""
    held = spool.held_count()
    return spool.tally().waiting == len(found_in(spool)) + held


def test_a_file_as_a_kill_leaves_it_is_whole(full: Path) -> None:
    spool = Spool(full, "s/g")
    assert spool.salvaged is None
    assert found_in(spool) == EVERY
    assert in_order(spool)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_cost_what_they_hit_and_no_more(full: Path, seed: int) -> None:
    emptied_log(full)
    before, chance = Spool(full, "s/g"), random.Random(seed)
    before.close()  # whatever is left open empties its log into the file when Python comes to it
    content = bytearray(full.read_bytes())
    for page in chance.sample(range(1, len(content) // PAGE), 8):
        content[page * PAGE : page * PAGE + 64] = chance.randbytes(64)
    full.write_bytes(content)
    full.with_name("spool.db.lock").write_text("open")
    spool = Spool(full, "s/g")
    found = found_in(spool)
    assert spool.salvaged is not None, "its tables point to pages that are none"
    assert found <= EVERY and len(found) > len(EVERY) * 2 // 3
    assert spool.id != before.id
    is_kept = full.with_name(spool.salvaged.aside).read_bytes() == content  # a failure must not print both
    assert is_kept, "what was found is kept as it was"
    assert in_order(spool)
    if spool.salvaged.lost is not None:
        assert spool.salvaged.lost == spool.tally().dropped
        assert spool.salvaged.lost >= len(EVERY) - len(found)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.999])
def test_a_truncated_file_gives_what_is_left_of_it(full: Path, share: float) -> None:
    emptied_log(full)
    content = full.read_bytes()
    full.write_bytes(content[: int(len(content) * share)])
    spool = Spool(full, "s/g")
    assert spool.salvaged is not None and "is damaged" in spool.salvaged.why
    found = found_in(spool)
    assert found <= EVERY and len(found) >= len(EVERY) * (share / 2 - 0.02)
    assert in_order(spool)
    spool.commit([entry(0)])  # it works


@pytest.mark.parametrize("lost", [16, PAGE])
def test_a_file_without_its_beginning_is_read_all_the_same(full: Path, lost: int) -> None:
    emptied_log(full)
    content = bytearray(full.read_bytes())
    content[:lost] = random.Random(lost).randbytes(lost)
    full.write_bytes(content)
    spool = Spool(full, "s/g")
    assert spool.salvaged is not None
    assert found_in(spool) == EVERY
    assert spool.salvaged.lost == 0 and in_order(spool)
    state, lines = spool.replay()
    assert state == b"{state}" and len(lines) == (BATCHES // 2 - 1) * ROWS + 50
    assert [held.line for held in spool.held(9)] == [entry(5).line]


def test_an_empty_file_with_a_full_log_is_read_from_the_log(full: Path) -> None:
    full.write_bytes(b"")
    spool = Spool(full, "s/g")
    assert spool.salvaged is not None
    assert found_in(spool) == EVERY
    assert in_order(spool)


def test_an_empty_file_is_told(full: Path) -> None:
    full.write_bytes(b"")
    full.with_name("spool.db-wal").unlink()
    spool = Spool(full, "s/g")
    assert spool.salvaged is not None and spool.salvaged.lost is None
    assert spool.tally().sealed == 0


def test_a_log_that_is_gone_makes_a_new_id(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    emptied_log(full)
    spool = Spool(full, "s/g")
    old = spool.id
    spool.close()
    full.with_name("spool.db.lock").write_text("open")  # as if it had been killed, and somebody had tidied up
    spool = Spool(full, "s/g")
    assert spool.id != old and found_in(spool) == EVERY
    assert "event=spool_log_missing" in caplog.text


def test_what_never_was_a_spool_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text("schema = 1\n" * 1000)
    with pytest.raises(SpoolError, match="is damaged"):
        Spool(path)
    assert path.read_text() == "schema = 1\n" * 1000
    other = tmp_path / "book.db"
    sqlite3.connect(other).execute("CREATE TABLE user (name)").connection.commit()
    with pytest.raises(SpoolError, match="is a database of something else"):
        Spool(other)


def test_garbage_in_the_place_of_a_spool_costs_no_start(full: Path) -> None:
    full.write_bytes(random.Random(1).randbytes(300_000))
    full.with_name("spool.db-wal").unlink()
    spool = Spool(full, "s/g")
    assert spool.salvaged is not None and spool.salvaged.rows == 0
    spool.commit([entry(1)])


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_salvage_that_was_killed_is_finished(full: Path, moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before any file is moved, between the moves of the old log and the old file, or after both."""
    emptied_log(full)
    content = full.read_bytes()
    full.write_bytes(content[: len(content) // 2])
    full.with_name("spool.db-wal").write_bytes(b"")
    calls: list[str] = []
    rename = Path.rename

    def dies(self: Path, target: Path) -> Path:
        if self.name != "spool.db.salvage":
            calls.append(self.name)
            if len(calls) > moved:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        Spool(full, "s/g")
    monkeypatch.undo()
    assert spool_salvage.was_interrupted(full)
    spool = Spool(full, "s/g")
    assert not spool_salvage.was_interrupted(full)
    assert len(found_in(spool)) > 100 and in_order(spool)


def test_a_batch_whose_bytes_have_changed_is_given_up_and_told(full: Path) -> None:
    spool = Spool(full, "s/g")
    spool._db.execute("UPDATE batch SET body = x'00' WHERE id = 3")
    assert spool.batch(3) is None
    assert [(d.lane, d.rows) for d in spool.untold()] == [("live", ROWS)]
    assert spool.tally().dropped == ROWS and in_order(spool)


def test_a_checkpoint_that_has_changed_is_not_read(full: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(full, "s/g")
    spool._db.execute("UPDATE meta SET value = CAST(substr(value, 1, 8) || 'x' AS BLOB) WHERE key = 'checkpoint'")
    assert spool.replay()[0] is None
    assert "event=checkpoint_damaged" in caplog.text


def test_damage_that_shows_while_it_runs_is_mended_in_place(full: Path) -> None:
    spool = Spool(full, "s/g")
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with full.open("r+b") as file:
        file.seek(PAGE)
        file.write(random.Random(3).randbytes(full.stat().st_size // 2))
    other = sqlite3.connect(full)  # has it drop what it remembers of the file
    other.execute("PRAGMA user_version=2")
    other.close()
    with pytest.raises(SpoolError, match="is damaged") as told:
        _ = [spool.batch(number) for number in range(1, BATCHES + 1)]
    old = spool.id
    assert spool.reopen(told.value) is not None and spool.id != old
    spool.commit([entry(1)])
    assert in_order(spool)


def test_an_empty_file_that_nobody_has_had_open_is_a_new_spool(tmp_path: Path) -> None:
    """The power went while the first one was made, or somebody has touched the file."""
    (tmp_path / "spool.db").write_bytes(b"")
    spool = Spool(tmp_path / "spool.db", "s/g")
    assert spool.salvaged is None
    spool.commit([entry(1)])
