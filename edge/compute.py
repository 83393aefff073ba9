"""Feeds the kernels of `dsp` row by row and hands out what they find. Holds no formula of its own."""

import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.row import Row
from dsp import cell, energy, session, soc
from edge import lock, wire
from edge.config import BatteryConfig, BerthConfig, DeviceConfig, LoadedSite, MeterConfig
from edge.unit import NAN, NS, Output, Unit, fields_of, load, value_of

COUNTER_EVENTS = {
    1: "counter_rollover",
    2: "counter_reset",
    3: "counter_glitch",
    4: "counter_gap_refused",
    5: "counter_register_lost",
}
COUNTER_RANGE = {"uint16": 2**16, "int16": 2**15, "uint32": 2**32, "int32": 2**31}
LONGEST_BRIDGE_NS = 62 * 86_400 * NS  # a longer silence is not spread over its minutes: a new epoch begins
STALE_AFTER_S = 10.0  # a heartbeat that stands still for so long belongs to a copy, not to a device


class Compute:
    """All computations of a site, in the order in which one row reaches them."""

    def __init__(self, loaded: LoadedSite) -> None:
        site = loaded.site
        self._vessels = Vessels(loaded)
        self._units: dict[str, Unit] = {}
        self._of: dict[str, list[Unit]] = {device.name: [] for device in site.device}
        batteries: dict[str, Battery] = {}
        meters: dict[str, Meter] = {}
        for device in site.device:
            kind = loaded.profiles[device.name].kind
            if kind == "meter":
                meters[device.name] = Meter(device, device.meter or MeterConfig(), loaded)
                self._add(f"meter {device.name}", meters[device.name], device.name)
            elif kind == "battery" and device.battery is not None:
                batteries[device.name] = Battery(device, device.battery, loaded, self._vessels)
                self._add(f"battery {device.name}", batteries[device.name], device.name)
            elif kind == "lock" and device.lock is not None:
                profile = loaded.profiles[device.name]
                unit = lock.Lock(device.name, device.lock, profile, device.interval_s)
                self._add(f"lock {device.name}", unit, device.name)
        for berth in site.berth:
            calls = Berth(berth, meters[berth.meter], batteries.get(berth.battery or ""), loaded, self._vessels)
            self._add(f"berth {berth.name}", calls, berth.charger)

    def _add(self, name: str, unit: Unit, device: str) -> None:
        self._units[name] = unit
        self._of[device].append(unit)

    def vessel_of(self, device: str, row: Row) -> str:
        """The `vessel` tag of a row; empty for a device that has none."""
        return self._vessels.of(device, row)

    def feed(self, device: str, row: Row) -> list[Output]:
        return [output for unit in self._of[device] for output in unit.feed(device, row)]

    def states(self) -> dict[str, bytes]:
        return {"vessels": self._vessels.state()} | {name: unit.state() for name, unit in self._units.items()}

    @property
    def layout(self) -> str:
        """What the states' bytes mean; a state of another layout is not read."""
        parts = [repr(kind.descr) for kind in (energy.STATE, session.STATE, soc.STATE)] + lock.layout()
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


class Meter:
    """Register-anchored minutes of one meter, and what happened to its counter."""

    def __init__(self, device: DeviceConfig, meter: MeterConfig, loaded: LoadedSite) -> None:
        self._device = device.name
        profile = loaded.profiles[device.name]
        index = profile.index
        self._power = index.get("power_w")
        self._import, self._export = index.get("energy_import_total_wh"), index.get("energy_export_total_wh")
        self._max_gap_ns = int(meter.max_gap_s * NS)
        self._max_power_w = meter.max_power_w
        ratio = meter.ct_ratio * meter.vt_ratio if meter.registers == "secondary" else 1.0
        self._ratio = ratio
        register = profile.points[self._import] if self._import is not None else None
        steps = COUNTER_RANGE.get(register.type, 2**63) if register is not None else 2**63
        self._range_wh = float(steps) * (register.scale if register is not None else 1.0) * ratio
        self._state = energy.init()
        self._out = np.zeros(256, energy.OUT)
        self.power_w, self.register_wh = NAN, NAN  # last known, for the berth's calls

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        register_wh = value_of(row, self._import) * self._ratio
        if row.scan == "live":
            self.power_w = value_of(row, self._power) * self._ratio
        elif not np.isfinite(register_wh):
            return
        power_w = self.power_w  # a register that is read less often comes without power of its own
        if np.isfinite(register_wh):
            self.register_wh = register_wh
        t_ns = row.t_ns
        if (
            0 < self._state["t_ns"][0] < t_ns - LONGEST_BRIDGE_NS
        ):  # a clock that was wrong, or a winter in a drawer
            self._state = energy.init(int(self._state["epoch"][0]) + 1)
            tags = {"code": "counter_gap_refused", "point": "energy_import_total_wh"}
            yield Output("event", device, {"step_s": LONGEST_BRIDGE_NS / NS}, t_ns, tags)
        while True:  # a long gap closes more minutes than `out` has room for
            closed = energy.step(
                self._state, t_ns, power_w, register_wh, value_of(row, self._export) * self._ratio,
                self._max_gap_ns, self._max_power_w, self._range_wh, self._out,
            )  # fmt: skip
            for minute in self._out[:closed]:
                yield Output(
                    "energy_1m", device, fields_of(minute, "minute_ns"), int(minute["minute_ns"]), {"rev": "0"}
                )
            if t_ns >= 0 and (code := COUNTER_EVENTS.get(int(self._state["event"][0]))):
                told = {name: int(self._state[f"event_{name}"][0]) for name in ("before_wh", "after_wh")}
                fields: dict[str, wire.Value] = {name: wh for name, wh in told.items() if wh >= 0} or {
                    "value": 1.0
                }
                point = ("energy_import_total_wh", "energy_export_total_wh")[
                    int(self._state["event_direction"][0])
                ]
                tags = {"code": code, "point": point}
                yield Output("event", device, fields, row.t_ns, tags)
            if closed < len(self._out):
                return
            t_ns = -1

    def state(self) -> bytes:
        return struct.pack("<dd", self.power_w, self.register_wh) + bytes(self._state.tobytes())

    def restore(self, state: bytes) -> None:
        self.power_w, self.register_wh = struct.unpack("<dd", state[:16])
        load(self._state, state[16:])


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
        yield Output("soc", device, fields, row.t_ns, {"vessel": vessel})

    def state(self) -> bytes:
        parts = [struct.pack("<ddq", self._heartbeat, self.soc, self._beat_ns)]
        for vessel, state in self._states.items():
            parts += [vessel.encode().ljust(64, b"\0"), state.tobytes()]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        self._heartbeat, self.soc, self._beat_ns = struct.unpack("<ddq", state[:24])
        size = 64 + soc.STATE.itemsize
        for at in range(24, len(state), size):
            part = soc.init(self._params)
            if load(part, state[at + 64 : at + size]):
                self._states[state[at : at + 64].rstrip(b"\0").decode()] = part


class Berth:
    """Calls at a berth: from the tower's state, the meter's register and the battery's charge."""

    def __init__(
        self, berth: BerthConfig, meter: Meter, battery: Battery | None, loaded: LoadedSite, vessels: Vessels
    ) -> None:
        self._berth, self._meter, self._battery, self._vessels = berth, meter, battery, vessels
        self._index = loaded.profiles[berth.charger].index
        self._max_gap_ns = meter._max_gap_ns
        self._state = session.init()
        self._out = np.zeros(1, session.OUT)
        self._vessel = "unknown"

    def feed(self, device: str, row: Row) -> Iterator[Output]:
        if row.scan != "live":
            return
        state, mated, power_w = (value_of(row, self._index.get(name)) for name in ("state", "mated", "power_w"))
        if np.isfinite(self._meter.power_w):  # energy and peak of a call are those that the meter sees
            power_w = self._meter.power_w
        ended = session.step(
            self._state, row.t_ns, state, mated, power_w, self._meter.register_wh,
            self._battery.soc if self._battery else NAN, self._max_gap_ns, self._out,
        )  # fmt: skip
        if ended:
            fields = fields_of(self._out[0])
            fields |= {"berth": self._berth.name, "meter": self._berth.meter}
            tags = {"vessel": self._vessel, "rev": "0"}
            yield Output("session", device, fields, int(self._out[0]["start_ns"]), tags)
            self._vessel = "unknown"
        named = self._vessels.named(device)
        if self._state["in_call"][0] and named != "unknown":
            self._vessel = named

    def state(self) -> bytes:
        return self._vessel.encode().ljust(64, b"\0") + bytes(self._state.tobytes())

    def restore(self, state: bytes) -> None:
        self._vessel = state[:64].rstrip(b"\0").decode()
        load(self._state, state[64:])
