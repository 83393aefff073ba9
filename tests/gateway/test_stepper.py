"""Long answers of SQLite through the compiled loop: the same as through Python's own cursor, value by value."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gateway.store.base import UNKNOWN
from gateway.store.stepper import CHUNK, read_columns

QUERY = "SELECT t, n, x FROM row WHERE t >= ? AND t < ? ORDER BY t"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More rows than a chunk, with NULLs, zeros and the ends of int64."""
    path = tmp_path_factory.mktemp("stepper") / "rows.db"
    rng = np.random.default_rng(11)
    odd = [0, 1, -1, 2**63 - 1, -(2**63) + 1, None]
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE row (t INTEGER PRIMARY KEY, n INTEGER, x REAL)")
        db.executemany(
            "INSERT INTO row VALUES (?, ?, ?)",
            ((t, odd[t % 6], (None, 0.0, float(rng.normal()))[t % 3]) for t in range(CHUNK + 500)),
        )
    db.close()
    return path


@pytest.mark.parametrize("span", [(0, 0), (0, 10), (3, CHUNK + 3), (0, 10**9)])
def test_it_reads_what_python_reads(file: Path, span: tuple[int, int]) -> None:
    t, n, x = read_columns(file, QUERY, span, [False, False, True])
    with sqlite3.connect(file) as db:
        rows = db.execute(QUERY, span).fetchall()
    db.close()
    assert t.tolist() == [row[0] for row in rows]
    assert n.tolist() == [UNKNOWN if row[1] is None else row[1] for row in rows]
    expected = np.array([np.nan if row[2] is None else row[2] for row in rows])
    np.testing.assert_array_equal(x, expected)


def test_a_locked_or_missing_or_broken_file_is_an_error_of_sqlite3(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        read_columns(tmp_path / "none.db", QUERY, (0, 1), [False] * 3)
    (tmp_path / "text.db").write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        read_columns(tmp_path / "text.db", QUERY, (0, 1), [False] * 3)


def test_a_query_that_is_none_is_an_error_of_sqlite3(file: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        read_columns(file, "SELECT 1 FROM no_table", (), [False])
