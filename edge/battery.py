"""A battery on the gateway: state of charge per vessel, from pack voltage, current and temperature."""

import math
import struct
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.row import Row
from dsp import cell, outlook, soc
from edge import wire
from edge.again import Input
from edge.config import BatteryConfig, DeviceConfig, LoadedSite
from edge.unit import NAN, NS, Output, load, value_of

CURRENT_MEAN_NS = 60 * NS
KNOWN = struct.Struct("<dddqq")  # heartbeat, charge, mean current, its time, time of the last heartbeat
STALE_AFTER_S = 10.0  # a heartbeat that stands still for so long belongs to a copy, not to a device
MAX_GAP_NS = 30 * NS  # the estimator's own
POINTS = ("heartbeat", "pack_voltage_v", "pack_current_a", "pack_temp_c", "soc_bms")


class Named(Protocol):
    def named(self, device: str) -> str: ...


class Pack:
    """What is reckoned with of one battery."""

    def __init__(self, battery: BatteryConfig, loaded: LoadedSite) -> None:
        model = loaded.files.cell(battery.cell)
        self.params = cell.pack_params(model, battery.series, battery.parallel, battery.capacity_ah)
        self.wh_per_ah = battery.series * float(np.mean(model.ocv_v))  # from empty to full, at rest
        self.capacity_ah = battery.capacity_ah or model.capacity_ah * battery.parallel
        self.target_soc = battery.target_soc


class Battery:
    """State of charge per vessel: with the vessel's own pack where the site file has it, else with the device's.

    A vessel of which neither is known has no state of charge here. Where rows came late the estimator goes over
    that time once more.
    """

    ROW = np.dtype([("t_ns", "i8"), ("source", "i8"), *((name, "f8") for name in POINTS), ("vessel", "S64")])
    point = "soc"  # of events about late rows

    def __init__(self, device: DeviceConfig, loaded: LoadedSite, vessels: Named) -> None:
        self._vessels = vessels
        self._device, index = device.name, loaded.profiles[device.name].index
        self._points = [index.get(name) for name in POINTS]
        self._packs = {
            v.name.encode(): Pack(v.battery, loaded) for v in loaded.site.vessel if v.battery is not None
        }
        self._pack = Pack(device.battery, loaded) if device.battery is not None else None
        self._states: dict[bytes, NDArray[Any]] = {}
        self._heartbeat, self._beat_ns = NAN, 0
        self._current_a, self._current_ns = NAN, 0  # its mean over about a minute
        self._soc = NAN  # the newest estimate
        self.charges: list[tuple[int, float]] = []  # what the last row brought to light, for the berth's calls

    def inputs(self, device: str, row: Row) -> list[Input]:
        self.charges = []
        return self.late_input(device, row, self._vessels.named(device)) if row.scan == "live" else []

    def late_input(self, device: str, row: Row, vessel: str) -> list[Input]:
        values = [value_of(row, point) for point in self._points]
        return [(row.t_ns, 0, *values, (vessel or "unknown").encode())]

    def tells(self, given: Input) -> bool:
        return any(value == value for value in given[2:-1])

    def take(self, given: Input) -> Iterator[Output]:
        t_ns, _, heartbeat, *measured, vessel = given
        if heartbeat != self._heartbeat:
            self._heartbeat, self._beat_ns = heartbeat, t_ns
        pack = self._packs.get(vessel, self._pack)
        if pack is None:
            self._soc = NAN
            self.charges.append((t_ns, NAN))
            return
        state = self._states.get(vessel)
        if state is None:
            state = self._states[vessel] = soc.init(pack.params)
        frozen = np.isfinite(heartbeat) and t_ns - self._beat_ns > STALE_AFTER_S * NS
        voltage_v, current_a, temp_c, soc_bms = [NAN] * 4 if frozen else measured
        soc.step(state, pack.params, t_ns, voltage_v, current_a, temp_c, soc_bms)
        self._soc = float(state["soc"][0]) if np.isfinite(voltage_v) else NAN
        self.charges.append((t_ns, self._soc))
        if not np.isfinite(self._soc):
            return
        capacity_ah = float(state["capacity_ah"][0])
        fields: dict[str, wire.Value] = {
            "soc": self._soc, "soc_low": float(state["soc_low"][0]), "soc_high": float(state["soc_high"][0]),
            "capacity_wh": capacity_ah * pack.wh_per_ah, "soh": capacity_ah / pack.capacity_ah,
        }  # fmt: skip
        fields |= self._outlook(pack, state, t_ns, current_a)
        yield Output("soc", self._device, fields, t_ns, {"vessel": vessel.decode()})

    def _outlook(self, pack: Pack, state: NDArray[Any], t_ns: int, current_a: float) -> dict[str, wire.Value]:
        """Energy left, and the time to the target at the mean current of about a minute."""
        if np.isfinite(current_a):
            share = 1.0 - math.exp(min(0, self._current_ns - t_ns) / CURRENT_MEAN_NS)
            known = np.isfinite(self._current_a) and share < 1.0
            self._current_a = self._current_a + share * (current_a - self._current_a) if known else current_a
            self._current_ns = t_ns
        left = outlook.available_wh(state, pack.params)
        wait = outlook.time_to_s(state, pack.params, pack.target_soc, self._current_a)
        return {
            "available_wh": left.value, "available_low_wh": left.low, "available_high_wh": left.high,
            "target_soc": pack.target_soc, "to_target_s": wait.value, "to_target_low_s": wait.low,
            "to_target_high_s": wait.high,
        }  # fmt: skip

    def state(self) -> bytes:
        known = (self._heartbeat, self._soc, self._current_a, self._current_ns, self._beat_ns)
        parts = [KNOWN.pack(*known)]
        for vessel, state in self._states.items():
            parts += [vessel.ljust(64, b"\0"), state.tobytes()]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        known = KNOWN.unpack(state[: KNOWN.size])
        self._heartbeat, self._soc, self._current_a, self._current_ns, self._beat_ns = known
        self._states = {}
        size = 64 + soc.STATE.itemsize
        for at in range(KNOWN.size, len(state), size):
            vessel = state[at : at + 64].rstrip(b"\0")
            pack = self._packs.get(vessel, self._pack)
            part = None if pack is None else soc.init(pack.params)
            if part is not None and load(part, state[at + 64 : at + size]):
                self._states[vessel] = part


def layout() -> list[str]:
    """What the bytes of a battery's state mean."""
    return [KNOWN.format, repr(soc.STATE.descr), repr(Battery.ROW.descr)]
