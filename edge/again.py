"""Late rows of calls, lockages and batteries: a unit is put back to before them and fed again, all rows in order.

What a unit said of that time and would now say otherwise comes again as the next revision; a call or lockage that
turns out not to have been comes with `withdrawn`. Remembered are a state from 5 to 10 minutes ago, or from before
the last gap, what was fed since and what was said since. Rows from before that are told as not counted.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from drivers.row import Row
from edge import wire
from edge.unit import NS, Output, event

HALF_NS = 300 * NS
MOST_ROWS = 6_000  # since the older state: of one device while another is away
MOST_LATE = 20_000
VISITOR = 2  # the source that is away most of the time: nothing waits for it
MOST_WITHDRAWN = 32
HEAD = struct.Struct("<qqqqqq")
SIZES = struct.Struct("<qqqqqq")  # of the parts of a state, -1 for one that is not there; and of a row
LASTING = (*wire.REVISED, "event")  # what was said of it is remembered; other rows are told of late instants only
Input = tuple[Any, ...]  # a row of the unit's own ROW: t_ns, whose row it is (0: the unit's own device), and more


class Repeatable(Protocol):
    """A unit that can be fed again: rows become inputs, and only inputs are fed."""

    ROW: np.dtype[Any]
    point: str  # of its events

    def inputs(self, device: str, row: Row) -> list[Input]:
        """What a row says; the last one is on time."""

    def late_input(self, device: str, row: Row, vessel: str) -> list[Input]: ...
    def tells(self, given: Input) -> bool: ...
    def take(self, given: Input) -> Iterator[Output]: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...


class Again:
    """Feeds a unit, and feeds it again where rows came late."""

    def __init__(self, unit: Repeatable, owner: str, max_gap_ns: int) -> None:
        self._unit, self._owner, self._max_gap_ns = unit, owner, max_gap_ns
        self._forget()

    def _forget(self) -> None:
        self._old: bytes | None = None  # the state from which rows are fed again, and the newest row it has seen
        self._old_ns = self._newest_ns = -1
        self._new: bytes | None = None
        self._new_at = self._new_ns = self._since_ns = 0
        self._rows: list[Input] = []
        self._late: list[Input] = []
        self._said: dict[str, Output] = {}  # since the older state, with its highest revision
        self._said_new: set[str] = set()  # of these, since the newer one
        self._last: dict[int, tuple[int, bool]] = {}  # of each source: its newest row, and whether it told

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        inputs = self._unit.inputs(device, row)
        self._late += inputs[:-1]
        yield from self._repeat()
        for given in inputs[-1:]:
            self._remember(given)
            for out in self._unit.take(given):
                yield from self._compare(out, self._said.pop(_key(out), None), {out.t_ns})

    def feed_late(self, device: str, row: Row, vessel: str) -> Iterator[Output]:
        """Keep a row from the past; the unit is fed again with the next row that is on time."""
        self._late += [x for x in self._unit.late_input(device, row, vessel) if self._unit.tells(x)]
        if len(self._late) >= MOST_LATE:
            yield from self._repeat()

    # What is remembered.

    def _note(self, out: Output) -> None:
        if out.kind in LASTING:
            self._said[_key(out)] = out
            self._said_new.add(_key(out))

    def _remember(self, given: Input) -> None:
        """Note an input before the unit takes it."""
        t_ns, source = int(given[0]), int(given[1])
        last_ns, told = self._last.get(source, (self._newest_ns, True))
        silent = not self._unit.tells(given)
        is_gap = silent or 0 <= last_ns < t_ns - self._max_gap_ns
        others_silent = any(not t for s, (_, t) in self._last.items() if s not in (source, VISITOR))
        if not told and not silent:
            self._since_ns = t_ns  # what the device has kept of the gap comes within minutes from now
        if self._old is None or (is_gap and told and not others_silent) or len(self._rows) >= MOST_ROWS:
            self._old, self._old_ns, self._new, self._since_ns = self._unit.state(), self._newest_ns, None, t_ns
            self._rows, self._said_new = [], set()
            self._forget_said()
        elif t_ns - self._since_ns >= HALF_NS and told and not silent and not others_silent:
            if self._new is not None:
                self._old, self._old_ns, self._rows = self._new, self._new_ns, self._rows[self._new_at :]
                self._forget_said()
            self._said_new = set()
            self._new, self._new_ns, self._new_at = self._unit.state(), self._newest_ns, len(self._rows)
            self._since_ns = t_ns
        self._rows.append(given)
        self._newest_ns = max(self._newest_ns, t_ns)
        self._last[source] = t_ns, not silent

    def _forget_said(self) -> None:
        """What was said before the older state; but a call that was withdrawn may still be going on."""
        withdrawn = [key for key, out in self._said.items() if "withdrawn" in out.fields][-MOST_WITHDRAWN:]
        kept = self._said_new.union(withdrawn)
        self._said = {key: out for key, out in self._said.items() if key in kept}

    def _repeat(self) -> Iterator[Output]:
        """Feed the unit again, and tell what is new."""
        if not self._late:
            return
        reach_ns = self._newest_ns if self._old is None else self._old_ns
        late = sorted((x for x in self._late if x[0] > reach_ns), key=_when)
        lost = [int(x[0]) for x in self._late if x[0] <= reach_ns and x[1] == 0]  # a meter tells of its own
        self._late = []
        if lost:
            yield event(self._owner, "late_rows_not_counted", self._unit.point, max(lost), rows=len(lost))
        if not late or self._old is None:
            return
        self._unit.restore(self._old)
        self._rows = sorted([*self._without_silence(late), *late], key=_when)
        self._new, self._said_new = None, set()  # it has not seen the late rows
        instants = {int(x[0]) for x in late}
        before, self._said = self._said, {}
        for given in self._rows:
            for out in self._unit.take(given):
                yield from self._compare(out, before.pop(_key(out), None), instants)
        for out in before.values():
            if out.kind in wire.REVISED and "withdrawn" not in out.fields:
                yield self._revised(out, {"withdrawn": 1})
            else:
                self._note(out)

    def _without_silence(self, late: list[Input]) -> list[Input]:
        """Rows on time, but for those that only say that nothing was known where late rows of the device tell."""
        spans: dict[int, tuple[int, int]] = {}
        for x in late:
            spans[x[1]] = spans.get(x[1], x)[0], x[0]
        kept = []
        for x in self._rows:
            first_ns, last_ns = spans.get(x[1], (0, -1))
            if self._unit.tells(x) or not first_ns - self._max_gap_ns <= x[0] <= last_ns + self._max_gap_ns:
                kept.append(x)
        return kept

    def _compare(self, out: Output, said: Output | None, instants: set[int]) -> Iterator[Output]:
        """Tell what was not told yet; what differs only where it can carry a revision."""
        if said is None:
            self._note(out)
            if out.kind in LASTING or out.t_ns in instants:
                yield out
        elif out.kind not in wire.REVISED or _content(out) == _content(said):
            self._note(said)
        else:
            yield self._revised(replace(out, tags={**out.tags, "rev": said.tags["rev"]}), {})

    def _revised(self, out: Output, more: dict[str, wire.Value]) -> Output:
        rev = str(int(out.tags["rev"]) + 1)
        again = replace(out, fields={**out.fields, **more}, tags={**out.tags, "rev": rev})
        self._note(again)
        return again

    # State.

    def state(self) -> bytes:
        head = HEAD.pack(
            self._old_ns, self._newest_ns, self._new_ns, self._new_at, self._since_ns, len(self._rows)
        )
        said = [
            [key in self._said_new, o.kind, o.device, dict(o.fields), o.t_ns, dict(o.tags)]
            for key, o in self._said.items()
        ]
        last = [[source, t_ns, told] for source, (t_ns, told) in self._last.items()]
        rows = np.array([*self._rows, *self._late], self._unit.ROW).tobytes()
        parts = [self._unit.state(), self._old, self._new, json.dumps([said, last]).encode(), rows]
        sizes = SIZES.pack(*(-1 if part is None else len(part) for part in parts), self._unit.ROW.itemsize)
        return zlib.compress(head + sizes + b"".join(part for part in parts if part is not None), 1)

    def restore(self, state: bytes) -> None:
        self._forget()
        plain = zlib.decompress(state)
        self._old_ns, self._newest_ns, self._new_ns, self._new_at, self._since_ns, count = HEAD.unpack_from(plain)
        *sizes, size_of_row = SIZES.unpack_from(plain, HEAD.size)
        at, parts = HEAD.size + SIZES.size, []
        for size in sizes:
            parts.append(None if size < 0 else plain[at : at + size])
            at += max(0, size)
        unit, self._old, self._new, told, rows = parts
        self._unit.restore(unit or b"")
        if size_of_row != self._unit.ROW.itemsize:  # the profile has other points now
            self._forget()
            return
        said, last = json.loads(told or b"[[], []]")
        for is_new, *fields in said:
            out = Output(*fields)
            self._said[_key(out)] = out
            if is_new:
                self._said_new.add(_key(out))
        self._last = {source: (t_ns, told) for source, t_ns, told in last}
        inputs = [tuple(row) for row in np.frombuffer(rows or b"", self._unit.ROW).tolist()]
        self._rows, self._late = inputs[:count], inputs[count:]


def _when(given: Input) -> int:
    return int(given[0])


def _key(out: Output) -> str:
    """What makes two outputs speak of the same."""
    return f"{out.kind} {out.t_ns} {out.tags.get('code', '')} {out.tags.get('point', '')}"


def _content(out: Output) -> str:
    """All but the revision, as text: NaN is NaN."""
    return repr((out.device, dict(out.fields), {tag: text for tag, text in out.tags.items() if tag != "rev"}))
