"""Feeds the kernels of `dsp` row by row and hands out what they find. Holds no formula of its own."""

import hashlib
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.row import Row
from dsp import cell, outlook, session, soc
from edge import lock, meter, wire
from edge.berth import Berth
from edge.config import BatteryConfig, DeviceConfig, LoadedSite, MeterConfig
from edge.unit import NAN, NS, Output, Unit, load, value_of

CURRENT_MEAN_NS = 60 * NS
BATTERY = struct.Struct("<dddqq")  # heartbeat, charge, mean current, its time, time of the last heartbeat
STALE_AFTER_S = 10.0  # a heartbeat that stands still for so long belongs to a copy, not to a device


class Compute:
    """All computations of a site, in the order in which one row reaches them."""

    def __init__(self, loaded: LoadedSite) -> None:
        site = loaded.site
        self._vessels = Vessels(loaded)
        self._units: dict[str, Unit] = {}
        self._of: dict[str, list[Unit]] = {device.name: [] for device in site.device}
        batteries: dict[str, Battery] = {}
        meters: dict[str, meter.Meter] = {}
        for device in site.device:
            kind = loaded.profiles[device.name].kind
            if kind == "meter":
                settings = device.meter or MeterConfig()
                meters[device.name] = meter.Meter(device.name, settings, loaded.profiles[device.name])
                self._add(f"meter {device.name}", meters[device.name], device.name)
            elif kind == "battery" and device.battery is not None:
                batteries[device.name] = Battery(device, device.battery, loaded, self._vessels)
                self._add(f"battery {device.name}", batteries[device.name], device.name)
            elif kind == "lock" and device.lock is not None:
                profile = loaded.profiles[device.name]
                unit = lock.Lock(device.name, device.lock, profile, device.interval_s)
                self._add(f"lock {device.name}", unit, device.name)
        for berth in site.berth:
            index = loaded.profiles[berth.charger].index
            battery = batteries.get(berth.battery or "")
            calls = Berth(berth, meters[berth.meter], battery, index, self._vessels)
            self._add(f"berth {berth.name}", calls, berth.charger)
            self._of[berth.meter].append(calls)

    def _add(self, name: str, unit: Unit, device: str) -> None:
        self._units[name] = unit
        self._of[device].append(unit)

    def vessel_of(self, device: str, row: Row) -> str:
        """The `vessel` tag of a row; empty for a device that has none."""
        return self._vessels.of(device, row)

    def feed(self, device: str, row: Row) -> list[Output]:
        return [output for unit in self._of[device] for output in unit.feed(device, row)]

    def counts_late(self, device: str) -> bool:
        """Whether a late row of this device changes anything that was computed."""
        return any(isinstance(unit, meter.Meter) for unit in self._of[device])

    def feed_late(self, device: str, row: Row) -> list[Output]:
        """A row from before the device's newest one: only energy is counted afresh with it."""
        meters = [unit for unit in self._of[device] if isinstance(unit, meter.Meter)]
        return [output for unit in meters for output in unit.feed_late(device, row)]

    def states(self) -> dict[str, bytes]:
        return {"vessels": self._vessels.state()} | {name: unit.state() for name, unit in self._units.items()}

    @property
    def layout(self) -> str:
        """What the states' bytes mean; a state of another layout is not read."""
        own = [BATTERY.format, repr(session.STATE.descr), repr(soc.STATE.descr)]
        parts = [*own, *lock.layout(), *meter.layout()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def restore(self, states: dict[str, bytes]) -> None:
        if "vessels" in states:
            self._vessels.restore(states["vessels"])
        for name, unit in self._units.items():
            if name in states:
                unit.restore(states[name])


class Vessels:
    """Which vessel a device speaks of: its last `vessel` text, mapped to a name of the site file."""

    def __init__(self, loaded: LoadedSite) -> None:
        self._names = {text: v.name for v in loaded.site.vessel for text in (*v.plc_names, v.name)}
        self._point = {
            name: profile.index["vessel"] for name, profile in loaded.profiles.items() if "vessel" in profile.index
        }
        self._text = dict.fromkeys(self._point, "")

    def of(self, device: str, row: Row) -> str:
        point = self._point.get(device)
        if point is None:
            return ""
        if point in row.text:
            self._text[device] = row.text[point].strip()
        return self.named(device)

    def named(self, device: str) -> str:
        return self._names.get(self._text.get(device, ""), "unknown")

    def state(self) -> bytes:
        return "\n".join(f"{name}={text}" for name, text in self._text.items()).encode()

    def restore(self, state: bytes) -> None:
        for line in state.decode().split("\n"):
            name, _, text = line.partition("=")
            if name in self._text:
                self._text[name] = text


class Battery:
    """State of charge per vessel, from pack voltage, current and temperature."""

    def __init__(self, device: DeviceConfig, battery: BatteryConfig, loaded: LoadedSite, vessels: Vessels) -> None:
        self._vessels = vessels
        self._index = loaded.profiles[device.name].index
        model = cell.load_cell(loaded.cell_path(battery.cell))
        self._params = cell.pack_params(model, battery.series, battery.parallel, battery.capacity_ah)
        self._wh_per_ah = battery.series * float(np.mean(model.ocv_v))  # from empty to full, at rest
        self._capacity_ah = battery.capacity_ah or model.capacity_ah * battery.parallel
        self._states: dict[str, NDArray[Any]] = {}
        self._heartbeat, self._beat_ns = NAN, 0
        self._target_soc = battery.target_soc
        self._current_a, self._current_ns = NAN, 0  # its mean over about a minute
        self.soc = NAN  # the newest estimate, for the berth's calls

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        if row.scan != "live":
            return
        vessel = self._vessels.named(device)
        state = self._states.get(vessel)
        if state is None:
            state = self._states[vessel] = soc.init(self._params)
        heartbeat = value_of(row, self._index.get("heartbeat"))
        if heartbeat != self._heartbeat:
            self._heartbeat, self._beat_ns = heartbeat, row.t_ns
        frozen = np.isfinite(heartbeat) and row.t_ns - self._beat_ns > STALE_AFTER_S * NS
        voltage_v, current_a, temp_c, soc_bms = (
            NAN if frozen else value_of(row, self._index.get(name))
            for name in ("pack_voltage_v", "pack_current_a", "pack_temp_c", "soc_bms")
        )
        soc.step(state, self._params, row.t_ns, voltage_v, current_a, temp_c, soc_bms)
        self.soc = float(state["soc"][0]) if np.isfinite(voltage_v) else NAN
        if not np.isfinite(self.soc):
            return
        capacity_ah = float(state["capacity_ah"][0])
        fields: dict[str, wire.Value] = {
            "soc": self.soc, "soc_low": float(state["soc_low"][0]), "soc_high": float(state["soc_high"][0]),
            "capacity_wh": capacity_ah * self._wh_per_ah, "soh": capacity_ah / self._capacity_ah,
        }  # fmt: skip
        fields |= self._outlook(state, row.t_ns, current_a)
        yield Output("soc", device, fields, row.t_ns, {"vessel": vessel})

    def _outlook(self, state: NDArray[Any], t_ns: int, current_a: float) -> dict[str, wire.Value]:
        """Energy left, and the time to the target at the mean current of about a minute."""
        if np.isfinite(current_a):
            share = 1.0 - math.exp(min(0, self._current_ns - t_ns) / CURRENT_MEAN_NS)
            known = np.isfinite(self._current_a) and share < 1.0
            self._current_a = self._current_a + share * (current_a - self._current_a) if known else current_a
            self._current_ns = t_ns
        left = outlook.available_wh(state, self._params)
        wait = outlook.time_to_s(state, self._params, self._target_soc, self._current_a)
        return {
            "available_wh": left.value, "available_low_wh": left.low, "available_high_wh": left.high,
            "target_soc": self._target_soc, "to_target_s": wait.value, "to_target_low_s": wait.low,
            "to_target_high_s": wait.high,
        }  # fmt: skip

    def state(self) -> bytes:
        known = (self._heartbeat, self.soc, self._current_a, self._current_ns, self._beat_ns)
        parts = [BATTERY.pack(*known)]
        for vessel, state in self._states.items():
            parts += [vessel.encode().ljust(64, b"\0"), state.tobytes()]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        known = BATTERY.unpack(state[: BATTERY.size])
        self._heartbeat, self.soc, self._current_a, self._current_ns, self._beat_ns = known
        size = 64 + soc.STATE.itemsize
        for at in range(BATTERY.size, len(state), size):
            part = soc.init(self._params)
            if load(part, state[at + 64 : at + size]):
                self._states[state[at : at + 64].rstrip(b"\0").decode()] = part
