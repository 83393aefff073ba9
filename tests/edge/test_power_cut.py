"""The power goes at any instant: what the spool has reported as done is there, and the file opens."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from power_cut import Step, after_cut, record

from edge.spool import Spool

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: apt-get install gcc")
CUTS = int(os.environ.get("BOLLARD_POWER_CUTS", "80"))
WORK = """
import json, os, sys
from pathlib import Path
from edge import wire
from edge.spool import Entry, Held, Spool
folder = Path(sys.argv[1])
said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def say(**what):  # after the spool has said so: from here on it has to hold
    os.write(said, json.dumps(what).encode() + b"\\n")
    os.fsync(said)
spool = Spool(folder / "spool.db", "s/g")
spool._db.execute("PRAGMA wal_autocheckpoint=30")  # often, as in months of work
t = 0
for turn in range(24):
    lane = ("live", "detail", "minutes")[turn % 3]
    times = list(range(t, t + 6 + turn % 5))
    t = times[-1] + 1
    lines = [f'meter,site=s,gateway=g,device=m text="{str(i) * 40}" {i}' for i in times]
    state = str(turn).encode() * 500 if turn % 7 == 6 else None
    seal = (lane,) if turn % 4 == 3 else ()
    done = spool.commit([Entry(lane, i, line, True) for i, line in zip(times, lines)], state, seal=seal)
    say(rows=times, state=turn if state else None)
    for sealed in done.sealed:
        say(batch=sealed.id, crc=sealed.crc32)
    if turn % 4 == 1:
        sealed = spool.seal(lane, 8)
        say(batch=sealed.id, crc=sealed.crc32)
    if turn % 5 == 4:
        number = spool.next_waiting("live") or spool.next_waiting("detail")
        batch = spool.batch(number)
        gone = [int(line.rsplit(" ", 1)[1]) for line in batch.body.decode().splitlines()]
        say(frees=number, rows_freed=gone)  # it may be freed from here on
        spool.confirm(wire.Receipt(spool.id, number, batch.crc32, batch.rows))
    if turn == 18:
        say(frees=-1, rows_freed=[])
        spool.make_room(spool.used_bytes() - 1)
os._exit(0)
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    folder = tmp_path_factory.mktemp("recorded") / "disk"
    folder.mkdir()
    return record(folder, WORK)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """In memory, if there is such a place: what a sync costs is of no interest here."""
    fast = Path("/dev/shm") / f"bollard-{os.getpid()}-{tmp_path.name}"
    folder = fast if os.access(fast.parent, os.W_OK) else tmp_path / "disk"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_the_record_shows_that_a_commit_waits_for_the_disk(steps: list[Step]) -> None:
    """Between two words of the spool there is a sync of its log, and nothing unsynced behind it."""
    dirty, synced = False, 0
    for step in steps:
        if step.name == "spool.db-wal":
            dirty = step.what == "w" or (dirty and step.what != "s")
            synced += step.what == "s"
        if step.name == "said" and step.what == "w":
            assert not dirty, "it has reported what the disk does not have yet"
    assert synced > 30


def test_whatever_was_reported_outlives_a_power_cut(steps: list[Step], disk: Path) -> None:
    said = [i for i, step in enumerate(steps) if step.name == "said" and step.what == "w"]
    chance = random.Random(20260301)
    cuts = sorted(chance.randrange(len(steps) + 1) for _ in range(CUTS - len(said))) + [i + 2 for i in said]
    for cut in cuts:
        after_cut(steps[:cut], disk, chance)
        told = [json.loads(s.data) for s in steps[:cut] if s.name == "said" and s.what == "w"]
        spool = Spool(disk / "spool.db", "s/g")
        try:
            assert spool.salvaged is None, f"cut {cut}: {spool.salvaged}"
            check(spool, told, cut)
        finally:
            spool.close()


def check(spool: Spool, told: list[dict[str, object]], cut: int) -> None:
    db = spool._db
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = [int(t_ns) for (t_ns,) in db.execute("SELECT t_ns FROM row WHERE batch IS NULL")]
    crcs = {}
    for (number,) in db.execute("SELECT id FROM batch").fetchall():
        batch = spool.batch(number)
        assert batch is not None, f"cut {cut}: batch {number} has changed"
        crcs[number] = batch.crc32
        rows += [int(line.rsplit(" ", 1)[1]) for line in batch.body.decode().splitlines()]
    assert len(rows) == len(set(rows)), f"cut {cut}: a row is there twice"
    tally = spool.tally()
    assert tally.waiting == len(rows), f"cut {cut}: {tally}"
    promised = {t for what in told for t in what.get("rows", ())}  # type: ignore[attr-defined]
    may_be_gone = {t for what in told for t in what.get("rows_freed", ())}  # type: ignore[attr-defined]
    freed = {what["frees"] for what in told if "frees" in what}
    if -1 in freed:  # room was made: of detail, which is then counted as dropped
        assert len(promised - may_be_gone - set(rows)) <= tally.dropped, f"cut {cut}"
    else:
        assert promised - may_be_gone <= set(rows), f"cut {cut}: lost {sorted(promised - may_be_gone - set(rows))}"
        for what in told:
            if "batch" in what and what["batch"] not in freed:
                assert crcs[what["batch"]] == what["crc"], f"cut {cut}"  # type: ignore[index]
    states = [what["state"] for what in told if what.get("state") is not None]
    state, _ = spool.replay()
    if states:
        assert state is not None
        assert int(state[: len(state) // 500]) >= states[-1], f"cut {cut}"  # type: ignore[operator]
