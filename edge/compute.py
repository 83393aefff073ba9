"""Feeds the kernels of `dsp` row by row and hands out what they find. Holds no formula of its own."""

import hashlib
from collections.abc import Mapping

from drivers.row import Row
from edge import again, battery, berth, lock, meter
from edge.again import Again
from edge.config import LoadedSite, MeterConfig
from edge.unit import NS, Output, Unit

LOCK_GAP_NS = 60 * NS  # a lock that says nothing for so long may have done anything meanwhile


class Compute:
    """All computations of a site, in the order in which one row reaches them."""

    def __init__(self, loaded: LoadedSite) -> None:
        site = loaded.site
        self._vessels = Vessels(loaded)
        self._units: dict[str, Unit] = {}
        self._of: dict[str, list[Unit]] = {device.name: [] for device in site.device}
        batteries: dict[str, battery.Battery] = {}
        meters: dict[str, meter.Meter] = {}
        for device in site.device:
            kind = loaded.profiles[device.name].kind
            if kind == "meter":
                settings = device.meter or MeterConfig()
                meters[device.name] = meter.Meter(device.name, settings, loaded.profiles[device.name])
                self._add(f"meter {device.name}", meters[device.name], device.name)
            elif kind == "battery" and (device.battery is not None or any(v.battery for v in site.vessel)):
                pack = battery.Battery(device, loaded, self._vessels)
                batteries[device.name] = pack
                self._add(f"battery {device.name}", Again(pack, device.name, battery.MAX_GAP_NS), device.name)
            elif kind == "lock" and device.lock is not None:
                profile = loaded.profiles[device.name]
                unit = lock.Lock(device.name, device.lock, profile, device.interval_s)
                self._add(f"lock {device.name}", Again(unit, device.name, LOCK_GAP_NS), device.name)
        # What a meter's registers are the registers of.
        self.meters = {
            d.name: f"{loaded.profiles[d.name].hash} {meters[d.name].ratio} {loaded.endpoint(d)}"
            for d in site.device if d.name in meters
        }  # fmt: skip
        self._meter_of = {f"berth {place.name}": place.meter for place in site.berth}
        for place in site.berth:
            index = loaded.profiles[place.charger].index
            on_board = batteries.get(place.battery or "")
            calls = berth.Berth(place, meters[place.meter], on_board, index, self._vessels)
            devices = [place.charger, place.meter] + ([place.battery] if on_board and place.battery else [])
            self._add(f"berth {place.name}", Again(calls, place.charger, calls.max_gap_ns), *devices)

    def _add(self, name: str, unit: Unit, *devices: str) -> None:
        self._units[name] = unit
        for device in devices:
            self._of[device].append(unit)

    def vessel_of(self, device: str, row: Row) -> str:
        """The `vessel` tag of a row; empty for a device that has none."""
        return self._vessels.of(device, row)

    def feed(self, device: str, row: Row) -> list[Output]:
        return [output for unit in self._of[device] for output in unit.feed(device, row)]

    def counts_late(self, device: str) -> bool:
        """Whether a late row of this device changes anything that was computed."""
        return bool(self._of[device])

    def feed_late(self, device: str, row: Row, vessel: str) -> list[Output]:
        """A row from before the device's newest one; `vessel` as in its tags."""
        return [output for unit in self._of[device] for output in unit.feed_late(device, row, vessel)]

    def states(self) -> dict[str, bytes]:
        return {"vessels": self._vessels.state()} | {name: unit.state() for name, unit in self._units.items()}

    @property
    def layout(self) -> str:
        """What the states' bytes mean; a state of another layout is not read."""
        parts = [
            again.HEAD.format,
            again.SIZES.format,
            *battery.layout(),
            *berth.layout(),
            *lock.layout(),
            *meter.layout(),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def restore(self, states: dict[str, bytes], meters: Mapping[str, str]) -> set[str]:
        """Go on from these states.

        Args:
            meters: What `meters` was then. One that is asked elsewhere, or by another profile, is another meter:
                it begins a new epoch, and its berth with a new call.

        Returns: such meters.
        """
        if "vessels" in states:
            self._vessels.restore(states["vessels"])
        others = {name for name, now in self.meters.items() if meters.get(name, now) != now}
        anew: set[str] = set()
        for name, unit in self._units.items():  # meters before berths
            if name not in states or self._meter_of.get(name) in anew:
                continue
            unit.restore(states[name])
            if isinstance(unit, meter.Meter) and unit.device in others and unit.becomes_another():
                anew.add(unit.device)
        return anew


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
