"""Numbers of a long SQLite answer as columns, without a Python object per cell.

Python's own cursor makes an object of each value: for a month of a hundred meters most of the time of a report.
Here a compiled loop steps through the statement and writes the values into arrays. It runs on the very library
that Python's `sqlite3` uses: a second copy of SQLite in one process would break its locks.
"""

import _sqlite3
import ctypes
import sqlite3
from pathlib import Path

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np
from numba import njit, types

from gateway.store.base import UNKNOWN, Array

ROW, DONE, NULL = 100, 101, 5
READ_ONLY_ONE_THREAD = 0x1 | 0x8000  # one thread uses the connection: no lock per value
BUSY_MS = 10_000
DAMAGED = (11, 26)  # SQLITE_CORRUPT, SQLITE_NOTADB
CHUNK = 65_536  # rows

_library = ctypes.CDLL(_sqlite3.__file__)
_pointer = ctypes.c_void_p
for _name, _result, _arguments in (
    ("open_v2", ctypes.c_int, (ctypes.c_char_p, ctypes.POINTER(_pointer), ctypes.c_int, ctypes.c_char_p)),
    ("prepare_v2", ctypes.c_int, (_pointer, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(_pointer), _pointer)),
    ("bind_int64", ctypes.c_int, (_pointer, ctypes.c_int, ctypes.c_int64)),
    ("busy_timeout", ctypes.c_int, (_pointer, ctypes.c_int)),
    ("finalize", ctypes.c_int, (_pointer,)),
    ("close", ctypes.c_int, (_pointer,)),
    ("errmsg", ctypes.c_char_p, (_pointer,)),
):
    _function = getattr(_library, f"sqlite3_{_name}")
    _function.restype, _function.argtypes = _result, _arguments
for _name in ("step", "column_int64", "column_double", "column_type"):
    _address = ctypes.cast(getattr(_library, f"sqlite3_{_name}"), ctypes.c_void_p).value
    llvm.add_symbol(f"sqlite3_{_name}", _address)

_step = types.ExternalFunction("sqlite3_step", types.int32(types.intp))
_int64 = types.ExternalFunction("sqlite3_column_int64", types.int64(types.intp, types.int32))
_double = types.ExternalFunction("sqlite3_column_double", types.float64(types.intp, types.int32))
_type = types.ExternalFunction("sqlite3_column_type", types.int32(types.intp, types.int32))


def read_columns(path: Path, query: str, values: tuple[int, ...], real: list[bool]) -> list[Array]:
    """Columns of a query whose values are numbers or NULL.

    Args:
        path: Of the database. `values` fill the question marks of the `query`.
        real: For each column, is it float64 (NULL is NaN) or int64 (NULL is `UNKNOWN`)?

    Raises: sqlite3.OperationalError, sqlite3.DatabaseError, as a connection of Python's own would.
    """
    db, statement = _pointer(), _pointer()
    try:
        _check(db, _library.sqlite3_open_v2(bytes(path), ctypes.byref(db), READ_ONLY_ONE_THREAD, None))
        _library.sqlite3_busy_timeout(db, BUSY_MS)
        text = query.encode()
        _check(db, _library.sqlite3_prepare_v2(db, text, len(text), ctypes.byref(statement), None))
        for i, value in enumerate(values, 1):
            _check(db, _library.sqlite3_bind_int64(statement, i, value))
        which = np.array(real)
        parts, code = [], ROW
        while code == ROW:
            chunk = np.empty((len(real), CHUNK), np.int64)
            count, code = _fill(int(statement.value or 0), which, chunk, chunk.view(np.float64))
            parts.append(chunk[:, :count])
        if code != DONE:
            _check(db, code)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return [row.view(np.float64) if is_real else row for row, is_real in zip(whole, real, strict=True)]
    finally:
        _library.sqlite3_finalize(statement)
        _library.sqlite3_close(db)


def _check(db: ctypes.c_void_p, code: int) -> None:
    if code:
        message = (_library.sqlite3_errmsg(db) or b"out of memory").decode("utf-8", "replace")
        raise (sqlite3.DatabaseError if code & 0xFF in DAMAGED else sqlite3.OperationalError)(message)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]  # numba's njit has no types
def _fill(statement: int, real: Array, whole: Array, floats: Array) -> tuple[int, int]:
    """Step until the arrays are full or the answer ends: rows written, and SQLite's last code."""
    count = 0
    while count < whole.shape[1]:
        code = _step(statement)
        if code != ROW:
            return count, code
        for i in range(real.shape[0]):
            if real[i]:
                number = _double(statement, i)
                if number == 0.0 and _type(statement, i) == NULL:  # NULL reads as zero
                    number = np.nan
                floats[i, count] = number
            else:
                integer = _int64(statement, i)
                if integer == 0 and _type(statement, i) == NULL:
                    integer = UNKNOWN
                whole[i, count] = integer
        count += 1
    return count, ROW
