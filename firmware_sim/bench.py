"""The test bench: a scenario's plants behind its devices, and the truth about them. No I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.profile import Profile
from firmware_sim import build
from firmware_sim.encode import Value, Values
from firmware_sim.faults import DeviceTraits, FaultBoard
from firmware_sim.plant.battery import size_for
from firmware_sim.plant.berth import Berth
from firmware_sim.plant.charger import ChargerSize
from firmware_sim.plant.disturb import disturbed
from firmware_sim.plant.lock import Lock
from firmware_sim.plant.meter import Meter, MeterSize
from firmware_sim.plant.port import Port
from firmware_sim.plant.quay import DeliveryPoint, TimetableBerth
from firmware_sim.plant.replay import capacity_ah
from firmware_sim.plant.revenue import RevenueMeter
from firmware_sim.scenario import Loaded
from firmware_sim.scenario_checks import plan_fault, traits
from firmware_sim.scenario_tables import BerthTable, DeviceTable

NS = 1_000_000_000


@dataclass(frozen=True)
class BenchDevice:
    """A device to be served. `values` is asked with the time since the start. [ns]"""

    table: DeviceTable
    profile: Profile
    values: Callable[[int], Values]


class Bench:
    """All plants of a scenario. Time 0 of every plant is the epoch of the run."""

    def __init__(self, loaded: Loaded) -> None:
        scenario = loaded.scenario
        self._loaded = loaded
        self.points: dict[str, DeliveryPoint] = {}
        self._ports: dict[str, tuple[Port, int]] = {}  # by berth, with its place in the port
        for i, table in enumerate(scenario.point):
            port = build.port(scenario, table, scenario.seed + 100 * i)
            self._ports |= {name: (port, n) for n, name in enumerate(port.names)}
            meter = build.meter(table.meter, self._meter_profile(table.name))
            self.points[table.name] = DeliveryPoint(port, meter, scenario.seed + 100 * i + 50)
        self.berths: dict[str, Berth | TimetableBerth] = {}
        for i, berth in enumerate(scenario.berth):
            if berth.name in self._ports:
                meter = build.meter(berth.meter, self._meter_profile(berth.name))
                self.berths[berth.name] = TimetableBerth(*self._ports[berth.name], meter, scenario.seed + i)
            else:
                self.berths[berth.name] = _berth(berth, loaded, scenario.seed + i)
        self.chambers: dict[tuple[str, int], Lock] = {}
        for i, lock in enumerate(scenario.lock):
            for chamber in range(1, lock.chambers + 1):
                self.chambers[lock.name, chamber] = Lock(
                    build.lock_size(lock),
                    scenario.seed + i + 1000 * (chamber - 1),
                    midnight_s=build.midnight_s(scenario),
                    moments=build.lock_moments(scenario, lock.name),
                )
        self.locks = {
            name if chamber == 1 else f"{name}-{chamber}": lock for (name, chamber), lock in self.chambers.items()
        }
        self.board = FaultBoard()
        self.devices = {
            table.name: BenchDevice(
                table, loaded.profiles[table.name], self._source(table, loaded.profiles[table.name])
            )
            for table in scenario.device
        }
        self.name, self.seed = scenario.name, scenario.seed
        self._script = scenario.fault

    def traits(self) -> dict[str, DeviceTraits]:
        """What may be made faulty, by device."""
        scenario = self._loaded.scenario
        return {name: traits(scenario, d.table, d.profile) for name, d in self.devices.items()}

    def use(self, board: FaultBoard) -> None:
        """Let the plants look at this board from now on; the scenario's script is put on it."""
        self.board = board
        board.listen(self._tell_port)
        for fault in self._script:
            plan_fault(board, fault)
        for lock in self.chambers.values():
            lock.board = board

    def _tell_port(self, device: str) -> None:
        """A delivery point is stepped: it has to know beforehand what befalls its towers."""
        table = self.devices[device].table
        if table.plant in self._ports and self.devices[device].profile.kind == "charger":
            port, berth = self._ports[table.plant]
            port.befall(device, build.welded(self.board.all(device), berth))

    def _meter_profile(self, plant: str) -> Profile | None:
        """Of the first meter on a berth or a delivery point."""
        profiles = self._loaded.profiles
        found = (profiles[d.name] for d in self._loaded.scenario.device if d.plant == plant)
        return next((profile for profile in found if profile.kind == "meter"), None)

    def _source(self, table: DeviceTable, profile: Profile) -> Callable[[int], Values]:
        kind, counted = profile.kind, None
        show: Callable[[int], dict[str, Value]]
        if kind == "lock":
            lock = self.chambers[table.plant, table.chamber]
            lock.device = lock.device or table.name  # faults of its first device act on the plant
            show = lock.values
        elif kind == "meter":
            meter = self._meter_of(table)
            show, counted = meter.values, meter.counted_wh
        else:
            berth = self.berths[table.plant]
            show = berth.charger.values if kind == "charger" else berth.battery.values

        def values(t_ns: int) -> Values:
            return disturbed(kind, show(t_ns), t_ns, self.board.at(table.name, t_ns), counted)

        return values

    def _meter_of(self, table: DeviceTable) -> Meter | RevenueMeter:
        return (self.points.get(table.plant) or self.berths[table.plant]).meter

    def _meters(self) -> dict[str, Meter | RevenueMeter]:
        devices = self.devices.values()
        return {d.table.name: self._meter_of(d.table) for d in devices if d.profile.kind == "meter"}

    def registers(self, t_ns: int) -> dict[str, int]:
        """Import register of each meter, exactly. [Wh]"""
        return {name: meter.import_wh(t_ns) for name, meter in self._meters().items()}

    def soc(self, berth: str, t_ns: Sequence[int]) -> list[float | None]:
        """The true SoC of the pack at a berth."""
        return [self.berths[berth].battery.true_soc(t) for t in t_ns]

    def truth(self, t_ns: int, epoch_ns: int) -> dict[str, Any]:
        """What only the simulator knows. Figures of the first berth stand at the top, for short scripts."""
        for lock in self.locks.values():
            lock.advance(t_ns)
        berths = {name: berth.truth(t_ns, epoch_ns) for name, berth in self.berths.items()}
        first: dict[str, Any] = next(iter(berths.values()), {"soc": None, "power_w": None, "calls": []})
        points = {name: point.truth(t_ns) for name, point in self.points.items()}
        return {
            "t_ns": epoch_ns + t_ns,
            "soc": first["soc"],
            "power_w": first["power_w"],
            "calls": first["calls"],
            "registers": self.registers(t_ns),
            "lockages": sum(lock.completed for lock in self.locks.values()),
            "berths": berths,
            **({"points": points} if points else {}),
            "locks": {name: _lock_truth(lock, epoch_ns) for name, lock in self.locks.items()},
        }

    def state(self, t_ns: int) -> dict[str, Values]:
        """Every device's values before encoding."""
        return {name: device.values(t_ns) for name, device in self.devices.items()}

    def describe(self) -> dict[str, Any]:
        return {name: berth.describe() for name, berth in self.berths.items()}


def _lock_truth(lock: Lock, epoch_ns: int) -> dict[str, Any]:
    def instant(second: float) -> int:
        return epoch_ns + round(second * NS)

    return {
        "phase": lock.phase.name.lower(),
        "level_chamber_m": lock.level_m,
        "drawn_m3": lock.drawn_m3,
        "released_m3": lock.released_m3,
        "lockages": [
            {
                "direction": lockage.direction,
                "vessel": lockage.vessel,
                "start_ns": instant(lockage.start_s),
                "end_ns": None if lockage.end_s is None else instant(lockage.end_s),
                "volume_m3": lockage.volume_m3,
                "phases": {name: instant(second) for name, second in lockage.phases.items()},
            }
            for lockage in lock.lockages
        ],
    }


def _berth(table: BerthTable, loaded: Loaded, seed: int) -> Berth:
    whole = loaded.recordings[table.name]
    wanted = table.recording
    assert wanted is not None and table.vessel is not None  # the scenario's checks see to it
    pack = size_for(
        table.pack.energy_wh,
        table.pack.voltage_v,
        wanted.capacity_ah or capacity_ah(whole)[0],
        float(np.mean(whole.voltage_v)),
        table.pack.series,
        table.pack.parallel,
        table.pack.soh,
    )
    meter = MeterSize(table.meter.line_voltage_v, import_wh=table.meter.import_wh, export_wh=table.meter.export_wh)
    return Berth(
        whole,
        wanted.start_s,
        wanted.span_s,
        pack,
        ChargerSize(**table.charger.model_dump()),
        meter,
        table.vessel,
        seed,
    )
