"""A meter on the gateway: minutes that add up to its register, what happened to it, and rows that come late."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from drivers.profile import Profile
from drivers.row import Row
from dsp import crosscheck, energy, revise
from edge.config import MeterConfig
from edge.counting import counting_of
from edge.late import LateRows
from edge.unit import NAN, NOT_SCANNED, NS, Output, event, fields_of, load, value_of

EVENTS = {
    1: "counter_rollover",
    2: "counter_reset",
    3: "counter_glitch",
    4: "counter_gap_refused",
    5: "counter_register_lost",
}
REGISTERS = ("energy_import_total_wh", "energy_export_total_wh")
LONGEST_BRIDGE_NS = 62 * 86_400 * NS  # a longer silence is not spread over its minutes: a new epoch begins
UNKNOWN_CLASS = 1.0  # percent, of a meter whose class the site file does not give
AGREES, PARTS = 1, 2
HEAD = struct.Struct("<dqq")  # power, whether it parts from the register, replacements done


class Meter:
    """Feeds the energy kernels of one meter."""

    def __init__(self, device: str, meter: MeterConfig, profile: Profile) -> None:
        self.device, index = device, profile.index
        self._power = index.get("power_w")
        self._import, self._export = (index.get(name) for name in REGISTERS)
        counting = counting_of(meter, profile)
        self.max_gap_ns, self._max_power_w = counting.max_gap_ns, counting.max_power_w
        self.ratio, self._quantum_wh, self.range_wh = counting.ratio, counting.quantum_wh, counting.range_wh
        self._replacements = sorted(meter.replacement, key=lambda r: r.at)
        self._state = energy.init()
        self._out = np.zeros(256, energy.OUT)
        self._late = LateRows(self.max_gap_ns, self._max_power_w, self.range_wh)
        self._check, self._check_out = crosscheck.init(), np.zeros(1, crosscheck.OUT)
        self._class_share = 2.0 * _percent(meter.accuracy_class) / 100.0  # of the power and of the energy
        self._check_ns, self._lag_s = int(meter.crosscheck_s * NS), meter.register_lag_s
        self._parts = 0
        self._replaced = 0  # how many of the replacements are behind us
        self._power_w = NAN  # last known

    def read(self, row: Row) -> tuple[float, float, float]:
        """Power, import and export register of a row, on the primary side."""
        power_w, import_wh, export_wh = (
            value_of(row, point) * self.ratio for point in (self._power, self._import, self._export)
        )
        return power_w, import_wh, export_wh

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        power_w, import_wh, export_wh = self.read(row)
        if row.scan == "live":
            self._power_w = power_w
        elif not np.isfinite(import_wh):
            return
        t_ns = row.t_ns
        yield from self._revised()
        yield from self._start_afresh_after_ages(t_ns)
        yield from self._replace(t_ns)
        # A register that is read less often comes without power of its own.
        self._late.before(self._state, t_ns, self._power_w, import_wh, export_wh)
        yield from self._step(t_ns, self._power_w, import_wh, export_wh)
        if self._import is not None and row.quality[self._import] != NOT_SCANNED:
            yield from self._compare(t_ns, self._power_w, import_wh, export_wh)

    def feed_late(self, device: str, row: Row, vessel: str) -> Iterator[Output]:
        """Keep a row from the past; its minutes are computed again with the next row that is on time."""
        values = self.read(row)
        if any(np.isfinite(value) for value in values):
            self._late.keep(row.t_ns, *values)
        if self._late.is_full():
            yield from self._revised()

    def _step(self, t_ns: int, power_w: float, import_wh: float, export_wh: float) -> Iterator[Output]:
        """One row through the kernel, and all that it makes complete."""
        at_ns = t_ns
        while True:  # a long gap closes more minutes than `out` has room for
            closed = energy.step(
                self._state, at_ns, power_w, import_wh, export_wh, self.max_gap_ns, self._max_power_w,
                self.range_wh, self._out,
            )  # fmt: skip
            if at_ns >= 0:
                yield from self._tell(t_ns)
            for minute in self._out[:closed]:
                self._late.published(minute)
                yield _minute(self.device, minute, 0)
            if closed < len(self._out):
                return
            at_ns = -1

    def _tell(self, t_ns: int) -> Iterator[Output]:
        """What the counter did with this row."""
        code = EVENTS.get(int(self._state["event"][0]))
        if code is None:
            return
        told = {name: int(self._state[f"event_{name}"][0]) for name in ("before_wh", "after_wh")}
        point = REGISTERS[int(self._state["event_direction"][0])]
        yield event(self.device, code, point, t_ns, **{name: wh for name, wh in told.items() if wh >= 0})

    def _start_afresh_after_ages(self, t_ns: int) -> Iterator[Output]:
        """A clock that was wrong, or a winter in a drawer."""
        if not 0 < self._state["t_ns"][0] < t_ns - LONGEST_BRIDGE_NS:
            return
        self._next_epoch()
        yield event(self.device, "counter_gap_refused", REGISTERS[0], t_ns, step_s=LONGEST_BRIDGE_NS / NS)

    def _next_epoch(self) -> None:
        """Whatever the next row says is where counting begins."""
        self._state = energy.init(int(self._state["epoch"][0]) + 1)
        self._late.forget()

    # A meter that a person has replaced.

    def becomes_another(self) -> bool:
        """Another meter answers from here on: what its registers differ by is no energy.

        Returns: False, and nothing changes, if the site file tells of a replacement that is still to be gone
            through: then it is known how the registers go on.
        """
        if self._replaced < len(self._replacements):
            return False
        self._next_epoch()
        self._check, self._parts, self._power_w = crosscheck.init(), 0, NAN
        return True

    def _replace(self, t_ns: int) -> Iterator[Output]:
        """Go over to the new meter at the instant that the site file gives, before its first row."""
        while self._replaced < len(self._replacements):
            change = self._replacements[self._replaced]
            at_ns = _ns(change.at)
            if at_ns > t_ns:
                return
            self._replaced += 1
            last_ns = int(self._state["t_ns"][0])
            if last_ns < 0:  # before the first row that this gateway ever saw
                self._state["epoch"][0] += 1
            elif at_ns <= last_ns:
                yield event(self.device, "counter_replacement_too_late", REGISTERS[0], t_ns, text=str(change.at))
            else:
                yield from self._change_over(at_ns, t_ns, change)

    def _change_over(self, at_ns: int, t_ns: int, change: Any) -> Iterator[Output]:
        closing = [NAN if wh is None else float(wh) for wh in (change.closing_import_wh, change.closing_export_wh)]
        opening = [NAN if wh is None else float(wh) for wh in (change.opening_import_wh, change.opening_export_wh)]
        out = np.zeros(max(256, (at_ns - int(self._state["t_ns"][0])) // (60 * NS) + 40), energy.OUT)
        believed, closed = revise.replace(
            self._state, at_ns, NAN, *closing, *opening, self.max_gap_ns, self._max_power_w, self.range_wh, out
        )
        for minute in out[:closed]:
            self._late.published(minute)
            yield _minute(self.device, minute, 0)
        self._late.forget()
        code = "counter_replaced" if believed else "counter_replacement_refused"
        told = {"before_wh": change.closing_import_wh, "after_wh": change.opening_import_wh}
        fields = {name: int(wh) for name, wh in told.items() if wh is not None}
        yield event(self.device, code, REGISTERS[0], t_ns, **fields)

    # Rows that came late.

    def _revised(self) -> Iterator[Output]:
        """The minutes that late rows change, each with its next revision."""
        if not self._late.waiting():
            return
        count, newest_ns = self._late.waiting(), self._late.newest_ns()
        state, minutes = self._late.revise(self._state)
        if state is None:
            yield event(self.device, "late_rows_not_counted", REGISTERS[0], newest_ns, rows=count)
            return
        self._state = state
        for minute, rev in minutes:
            yield _minute(self.device, minute, rev)
        yield event(self.device, "minutes_revised", REGISTERS[0], newest_ns, rows=count, times=len(minutes))

    # Register against power.

    def _compare(self, t_ns: int, power_w: float, import_wh: float, export_wh: float) -> Iterator[Output]:
        """An event where register and power begin or cease to part by more than the meter's class allows."""
        register_wh = import_wh - (export_wh if np.isfinite(export_wh) else 0.0)
        verdict = crosscheck.step(
            self._check, t_ns, power_w, register_wh, self.max_gap_ns, self._class_share, self._quantum_wh,
            self._lag_s, self._check_ns, self._check_out,
        )  # fmt: skip
        if verdict not in (AGREES, PARTS) or (verdict == PARTS) == bool(self._parts):
            return
        self._parts = int(verdict == PARTS)
        found = self._check_out[0]
        figures = {name: float(found[name]) for name in ("register_wh", "power_wh", "allowed_wh")}
        yield event(self.device, "register_parts_from_power", REGISTERS[0], t_ns, active=self._parts, **figures)

    # State.

    def state(self) -> bytes:
        head = HEAD.pack(self._power_w, self._parts, self._replaced)
        return head + bytes(self._state.tobytes()) + bytes(self._check.tobytes()) + self._late.state()

    def restore(self, state: bytes) -> None:
        at, check = HEAD.size + self._state.nbytes, self._check.nbytes
        if len(state) < at + check:
            return
        self._power_w, self._parts, self._replaced = HEAD.unpack(state[: HEAD.size])
        load(self._state, state[HEAD.size : at])
        load(self._check, state[at : at + check])
        self._late.restore(state[at + check :])


def layout() -> list[str]:
    """What the bytes of a meter's state mean."""
    return [repr(kind.descr) for kind in (energy.STATE, crosscheck.STATE)] + [HEAD.format, LateRows.LAYOUT]


def _minute(device: str, minute: Any, rev: int) -> Output:
    return Output("energy_1m", device, fields_of(minute, "minute_ns"), int(minute["minute_ns"]), {"rev": str(rev)})


def _percent(accuracy_class: str) -> float:
    """0.2 of "0.2S"; classes A to C of 2014/32/EU as the percent that they mean."""
    text = accuracy_class.strip().upper().rstrip("S")
    try:
        return {"A": 2.0, "B": 1.0, "C": 0.5}.get(text) or float(text)
    except ValueError:
        return UNKNOWN_CLASS


def _ns(at: datetime) -> int:
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1000
