"""Calls at a berth: from the tower's state, the meter's register and power, and the battery's charge."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from drivers.row import Row
from dsp import session
from edge.config import BerthConfig
from edge.meter import Meter
from edge.unit import NAN, Output, fields_of, load, value_of


class Charge(Protocol):
    soc: float


class Named(Protocol):
    def named(self, device: str) -> str: ...


class Berth:
    """Feeds the kernel of calls with the rows of the tower and of the meter, as they come."""

    def __init__(
        self, berth: BerthConfig, meter: Meter, battery: Charge | None, index: Mapping[str, int], vessels: Named
    ) -> None:
        self._berth, self._meter, self._battery, self._vessels = berth, meter, battery, vessels
        self._index = index  # of the tower's points
        self._max_gap_ns = meter.max_gap_ns
        self._state = session.init()
        self._out = np.zeros(1, session.OUT)
        self._vessel = "unknown"

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        meter = self._meter
        if device == self._berth.meter:
            power_w = meter.power_w if row.scan == "live" else NAN
            ended = self._step(row.t_ns, NAN, NAN, power_w, meter.register_wh, True)
        elif row.scan == "live":
            points = [self._index.get(name) for name in ("state", "mated", "power_w")]
            state, mated, power_w = (value_of(row, point) for point in points)
            fresh = np.isfinite(meter.power_w) and row.t_ns - meter.power_ns <= self._max_gap_ns
            ended = self._step(row.t_ns, state, mated, NAN if fresh else power_w, NAN, False)
        else:
            return
        if ended:
            fields = fields_of(self._out[0]) | {"berth": self._berth.name, "meter": self._berth.meter}
            if self._out["peak_10min_ns"][0] < 0:
                del fields["peak_10min_ns"]
            tags = {"vessel": self._vessel, "rev": "0"}
            yield Output("session", self._berth.charger, fields, int(self._out[0]["start_ns"]), tags)
            self._vessel = "unknown"
        named = self._vessels.named(self._berth.charger)
        if self._state["in_call"][0] and named != "unknown":
            self._vessel = named

    def _step(
        self, t_ns: int, state: float, mated: float, power_w: float, register_wh: float, measured: bool
    ) -> bool:
        charge = self._battery.soc if self._battery is not None else NAN
        signals = (state, mated, power_w, register_wh, charge)
        return bool(session.step(self._state, t_ns, *signals, self._max_gap_ns, self._out, measured))

    def state(self) -> bytes:
        return self._vessel.encode().ljust(64, b"\0") + bytes(self._state.tobytes())

    def restore(self, state: bytes) -> None:
        self._vessel = state[:64].rstrip(b"\0").decode()
        load(self._state, state[64:])
