"""The disk that forgets does: what SQLite has synced is there after a power cut, what it has not may be gone."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from chaos.disk import Disk, build, compiler

pytestmark = pytest.mark.skipif(not compiler(), reason="no C compiler here: apt-get install gcc")
WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute(f"PRAGMA synchronous={sys.argv[2]}")
db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x)")
n = 0
while True:
    try:
        db.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 500))
    except sqlite3.OperationalError as error:
        print(error, flush=True)
        break
    print(n, flush=True)
    n += 1
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


def writer(disk: Disk, synchronous: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(disk.folder / "a.db"), synchronous]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=disk.env)


def until(child: subprocess.Popen[str], number: int) -> None:
    assert child.stdout is not None
    while child.stdout.readline() != f"{number}\n":
        assert child.poll() is None


def rows(disk: Disk) -> int:
    with closing(sqlite3.connect(disk.folder / "a.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count, highest = db.execute("SELECT count(*), max(n) FROM t").fetchone()
    assert count == highest + 1
    return int(count)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_committed_with_sync_survives_a_power_cut(shim: Path, tmp_path: Path, seed: int) -> None:
    disk = Disk(shim, tmp_path)
    with writer(disk, "FULL") as child:
        until(child, 400 + 300 * seed)  # beyond a checkpoint of the WAL
        child.kill()
    disk.cut_power(Random(seed))
    assert rows(disk) >= 401 + 300 * seed


def test_what_was_committed_without_sync_does_not(shim: Path, tmp_path: Path) -> None:
    disk = Disk(shim, tmp_path)
    with writer(disk, "OFF") as child:
        until(child, 100)
        child.kill()
    assert disk.cut_power(Random(1)) > 0
    with pytest.raises((sqlite3.DatabaseError, AssertionError)):  # no table, a torn page, or rows that are gone
        assert rows(disk) == 101


def test_a_full_disk_is_what_sqlite_sees(shim: Path, tmp_path: Path) -> None:
    disk = Disk(shim, tmp_path)
    with writer(disk, "FULL") as child:
        until(child, 50)
        disk.fill()
        assert child.stdout is not None
        assert "database or disk is full" in child.stdout.read()
    disk.free()
    assert rows(disk) >= 51
