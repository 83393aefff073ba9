"""Rows that come late: what has to be remembered so that their minutes can be computed again.

A state of the energy kernel from before, the rows since, and the minutes that went out since. Every `HALF_NS` a
new state is kept and the one before the last forgotten; a gap keeps the state from before it, for what a device
has recorded meanwhile comes soon after it answers again.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp import energy, revise
from edge.unit import NS

HALF_NS = 300 * NS
MOST_ROWS = 4_000  # since the older state; more are not remembered, then late rows are kept as raw rows only
MOST_LATE = 50_000
MOST_MINUTES = 3 * 1_440
ROW = np.dtype([("t_ns", "i8"), ("power_w", "f8"), ("import_wh", "f8"), ("export_wh", "f8")])
MINUTE = np.dtype([("minute", energy.OUT), ("rev", "i8")])
HEAD = struct.Struct("<qqqqqq")


class LateRows:
    """Memory of one meter. All of it is in the checkpoint."""

    LAYOUT = repr((ROW.descr, MINUTE.descr, HEAD.format))

    def __init__(self, max_gap_ns: int, max_power_w: float, range_wh: float) -> None:
        self._limits = (max_gap_ns, max_power_w, range_wh)
        self.forget()

    def forget(self) -> None:
        """Begin again: what came before belongs to another meter, or is too far away."""
        self._old: NDArray[Any] | None = None  # the state that rows are computed from again
        self._new: NDArray[Any] | None = None
        self._new_at = 0  # rows before it
        self._since_ns = 0  # when the newer state was kept
        self._rows: list[tuple[int, float, float, float]] = []
        self._minutes: dict[int, Any] = {}  # minute -> (minute's record as bytes, rev)
        self._late: list[tuple[int, float, float, float]] = []

    def before(self, state: NDArray[Any], t_ns: int, power_w: float, import_wh: float, export_wh: float) -> None:
        """Take a row on time, before the kernel does; `state` is the kernel's."""
        last_ns = self._rows[-1][0] if self._rows else int(state["seen_ns"][0])
        is_silent = not _tells(power_w, import_wh, export_wh)
        was_silent = bool(self._rows) and not _tells(*self._rows[-1][1:])
        is_gap = is_silent or (last_ns >= 0 and t_ns - last_ns > self._limits[0])
        if self._old is None or (is_gap and not was_silent) or len(self._rows) >= MOST_ROWS:
            self._keep_only(state, t_ns)
        elif t_ns - self._since_ns >= HALF_NS:
            if self._new is not None:
                self._old, self._rows = self._new, self._rows[self._new_at :]
                first_ns = int(self._old["bins"][0][0]["minute_ns"])
                self._minutes = {m: found for m, found in self._minutes.items() if m >= first_ns}
            self._new, self._new_at, self._since_ns = state.copy(), len(self._rows), t_ns
        self._rows.append((t_ns, power_w, import_wh, export_wh))

    def _keep_only(self, state: NDArray[Any], t_ns: int) -> None:
        """Nothing from before this state can be computed again."""
        self._old, self._new, self._since_ns = state.copy(), None, t_ns
        self._rows, self._new_at, self._minutes = [], 0, {}

    def published(self, minute: Any) -> None:
        """A minute that went out for the first time."""
        self._minutes[int(minute["minute_ns"])] = (minute.tobytes(), 0)
        if len(self._minutes) > MOST_MINUTES:
            self._old = None  # too long a gap to be computed again

    def keep(self, t_ns: int, power_w: float, import_wh: float, export_wh: float) -> None:
        self._late.append((t_ns, power_w, import_wh, export_wh))

    def waiting(self) -> int:
        return len(self._late)

    def newest_ns(self) -> int:
        return max(row[0] for row in self._late)

    def is_full(self) -> bool:
        return len(self._late) >= MOST_LATE

    def revise(self, state: NDArray[Any]) -> tuple[NDArray[Any] | None, list[tuple[Any, int]]]:
        """Compute the minutes since the older state again, with the late rows in their places.

        Returns: the kernel's state after all of them, None if the late rows lie before what is remembered; and
        the minutes that differ, with their next revision.
        """
        late, self._late = self._late, []
        if self._old is None or min(row[0] for row in late) <= int(self._old["seen_ns"][0]) or not self._rows:
            return None, []
        rows = np.array(sorted(self._without_silence(late) + late), ROW)
        begin_ns = max(int(self._old["bins"][0][0]["minute_ns"]), 0) or int(rows["t_ns"][0])
        places = (int(rows["t_ns"][-1]) - begin_ns) // (60 * NS) + energy.BINS + 2
        scratch, out = np.zeros(places, energy.OUT), np.zeros(places, energy.OUT)
        known = sorted(self._minutes)
        before = np.array(
            [np.frombuffer(self._minutes[m][0], energy.OUT)[0] for m in known], energy.OUT
        )  # fmt: skip
        again = self._old.copy()
        columns = (np.ascontiguousarray(rows[name]) for name in ("t_ns", "power_w", "import_wh", "export_wh"))
        n = revise.revise(again, *columns, *self._limits, before, scratch, out)
        changed = [(minute, self._next(minute)) for minute in out[:n].copy()]
        self._rows = [tuple(row) for row in rows.tolist()]
        self._new = None  # it has not seen the late rows
        return again, changed

    def _without_silence(
        self, late: list[tuple[int, float, float, float]]
    ) -> list[tuple[int, float, float, float]]:
        """The rows on time, but for those that only say that nothing was known where late rows now tell."""
        around_ns = self._limits[0]
        first_ns, last_ns = min(row[0] for row in late) - around_ns, max(row[0] for row in late) + around_ns
        return [
            row for row in self._rows
            if _tells(*row[1:]) or not first_ns <= row[0] <= last_ns
        ]  # fmt: skip

    def _next(self, minute: Any) -> int:
        """The minute's next revision, remembered as the one that is out."""
        key = int(minute["minute_ns"])
        rev = self._minutes[key][1] + 1 if key in self._minutes else 0
        self._minutes[key] = (minute.tobytes(), rev)
        return rev

    # State.

    def state(self) -> bytes:
        states = [s.tobytes() for s in (self._old, self._new) if s is not None]
        rows, late = np.array(self._rows, ROW), np.array(self._late, ROW)
        minutes = b"".join(body + struct.pack("<q", rev) for body, rev in self._minutes.values())
        head = HEAD.pack(
            self._old is not None, self._new is not None, self._new_at, self._since_ns, len(rows), len(late)
        )
        return head + b"".join(states) + rows.tobytes() + late.tobytes() + minutes

    def restore(self, saved: bytes) -> None:
        self.forget()
        old, new, self._new_at, self._since_ns, rows, late = HEAD.unpack(saved[: HEAD.size])
        at = HEAD.size

        def take(count: int, kind: Any) -> NDArray[Any]:
            nonlocal at
            part = np.frombuffer(saved, kind, count, at).copy()
            at += part.nbytes
            return part

        self._old = take(1, energy.STATE) if old else None
        self._new = take(1, energy.STATE) if new else None
        self._rows = [tuple(row) for row in take(rows, ROW).tolist()]
        self._late = [tuple(row) for row in take(late, ROW).tolist()]
        for found in take((len(saved) - at) // MINUTE.itemsize, MINUTE):
            self._minutes[int(found["minute"]["minute_ns"])] = (found["minute"].tobytes(), int(found["rev"]))


def _tells(*values: float) -> bool:
    """Whether anything is known in a row."""
    return any(value == value for value in values)
