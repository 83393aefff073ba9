"""Calls at a berth: from the tower's state, the meter's register and power, and the battery's charge."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from drivers.row import Row
from dsp import calls
from edge.again import Input
from edge.config import BerthConfig
from edge.meter import Meter
from edge.unit import NAN, Output, fields_of, load, value_of

POINTS = ("state", "mated", "power_w")


class Charge(Protocol):
    charges: list[tuple[int, float]]


class Named(Protocol):
    def named(self, device: str) -> str: ...


class Berth:
    """Feeds the kernel of calls with the rows of the tower, the meter and the battery, as they come."""

    ROW = np.dtype([*calls.ROW.descr, ("vessel", "S64")])
    point = "session"

    def __init__(
        self, berth: BerthConfig, meter: Meter, battery: Charge | None, index: Mapping[str, int], vessels: Named
    ) -> None:
        self._berth, self._meter, self._battery, self._vessels = berth, meter, battery, vessels
        self._points = [index.get(name) for name in POINTS]  # of the tower
        self.max_gap_ns = meter.max_gap_ns
        self._state = calls.init(meter.range_wh)
        self._row, self._out = np.zeros(1, calls.ROW), np.zeros(1, calls.OUT)
        self._vessel = b"unknown"

    def inputs(self, device: str, row: Row) -> list[Input]:
        vessel = self._vessels.named(self._berth.charger).encode()
        if device == self._berth.battery and self._battery is not None:
            return [(t, calls.CHARGE, NAN, NAN, NAN, NAN, 0, soc, vessel) for t, soc in self._battery.charges]
        return self._input(device, row, row.scan == "live", vessel)

    def late_input(self, device: str, row: Row, vessel: str) -> list[Input]:
        """A late row of the battery comes as its charge, with `inputs`, once that has been computed."""
        return (
            [] if device == self._berth.battery else self._input(device, row, True, vessel.encode() or b"unknown")
        )

    def _input(self, device: str, row: Row, live: bool, vessel: bytes) -> list[Input]:
        if device == self._berth.meter:
            power_w, import_wh, _ = self._meter.read(row)
            return [(row.t_ns, calls.METER, NAN, NAN, power_w, import_wh, int(live), NAN, vessel)]
        values = [value_of(row, point) for point in self._points]
        return [(row.t_ns, calls.CHARGER, *values, NAN, 0, NAN, vessel)] if live else []

    def tells(self, given: Input) -> bool:
        return any(value == value for value in (*given[2:6], given[7]))

    def take(self, given: Input) -> Iterator[Output]:
        self._row[0] = given[:-1]
        if calls.step(self._state, self._row, self.max_gap_ns, self._out):
            fields = fields_of(self._out[0]) | {"berth": self._berth.name, "meter": self._berth.meter}
            if self._out["peak_10min_ns"][0] < 0:
                del fields["peak_10min_ns"]
            tags = {"vessel": self._vessel.decode(), "rev": "0"}
            yield Output("session", self._berth.charger, fields, int(self._out[0]["start_ns"]), tags)
            self._vessel = b"unknown"
        if self._state["call"]["in_call"][0] and given[-1] != b"unknown":
            self._vessel = given[-1]

    def state(self) -> bytes:
        return self._vessel.ljust(64, b"\0") + bytes(self._state.tobytes())

    def restore(self, state: bytes) -> None:
        self._vessel = state[:64].rstrip(b"\0")
        load(self._state, state[64:])


def layout() -> list[Any]:
    """What the bytes of a berth's state mean."""
    return [repr(calls.STATE.descr), repr(Berth.ROW.descr)]
