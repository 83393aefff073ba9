"""The test bench: a scenario's plants behind its devices, and the truth about them. No I/O."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.profile import Profile
from firmware_sim.encode import Values
from firmware_sim.faults import DeviceTraits, FaultBoard
from firmware_sim.plant.battery import size_for
from firmware_sim.plant.berth import Berth
from firmware_sim.plant.charger import ChargerSize
from firmware_sim.plant.lock import Lock, LockSize
from firmware_sim.plant.meter import MeterSize
from firmware_sim.plant.replay import capacity_ah
from firmware_sim.scenario import BerthTable, DeviceTable, Loaded, LockTable, plan_fault, traits

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
        self.berths = {
            table.name: _berth(table, loaded, scenario.seed + i) for i, table in enumerate(scenario.berth)
        }
        self.locks = {table.name: _lock(table, scenario.seed + i) for i, table in enumerate(scenario.lock)}
        self.devices = {
            table.name: BenchDevice(
                table, loaded.profiles[table.name], self._source(table, loaded.profiles[table.name])
            )
            for table in scenario.device
        }
        self.seed = scenario.seed
        self._script = scenario.fault
        self.board = FaultBoard()

    def traits(self) -> dict[str, DeviceTraits]:
        """What may be made faulty, by device."""
        return {name: traits(device.table, device.profile) for name, device in self.devices.items()}

    def use(self, board: FaultBoard) -> None:
        """Let the plants look at this board from now on; the scenario's script is put on it."""
        for fault in self._script:
            plan_fault(board, fault)
        self.board = board

    def _source(self, table: DeviceTable, profile: Profile) -> Callable[[int], Values]:
        if profile.kind == "lock":
            return self.locks[table.plant].values
        berth = self.berths[table.plant]
        sources: dict[str, Callable[[int], Values]] = {
            "charger": berth.charger.values,
            "meter": berth.meter.values,
            "battery": berth.battery.values,
        }
        return sources[profile.kind]

    def _meters(self) -> dict[str, Berth]:
        devices = self.devices.values()
        return {d.table.name: self.berths[d.table.plant] for d in devices if d.profile.kind == "meter"}

    def registers(self, t_ns: int) -> dict[str, int]:
        """Import register of each meter, exactly. [Wh]"""
        return {name: berth.meter.import_wh(t_ns) for name, berth in self._meters().items()}

    def soc(self, berth: str, t_ns: Sequence[int]) -> list[float | None]:
        """The true SoC of the pack at a berth."""
        return [self.berths[berth].battery.true_soc(t) for t in t_ns]

    def truth(self, t_ns: int, epoch_ns: int) -> dict[str, Any]:
        """What only the simulator knows. Figures of the first berth stand at the top, for short scripts."""
        for lock in self.locks.values():
            lock.advance(t_ns)
        berths = {name: berth.truth(t_ns, epoch_ns) for name, berth in self.berths.items()}
        first: dict[str, Any] = next(iter(berths.values()), {"soc": None, "power_w": None, "calls": []})
        return {
            "t_ns": epoch_ns + t_ns,
            "soc": first["soc"],
            "power_w": first["power_w"],
            "calls": first["calls"],
            "registers": self.registers(t_ns),
            "lockages": sum(lock.completed for lock in self.locks.values()),
            "berths": berths,
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
    pack = size_for(
        table.pack.energy_wh,
        table.pack.voltage_v,
        wanted.capacity_ah or capacity_ah(whole)[0],
        float(np.mean(whole.voltage_v)),
        table.pack.series,
        table.pack.parallel,
        table.pack.soh,
    )
    return Berth(
        whole,
        wanted.start_s,
        wanted.span_s,
        pack,
        ChargerSize(**table.charger.model_dump()),
        MeterSize(**table.meter.model_dump()),
        table.vessel,
        seed,
    )


def _lock(table: LockTable, seed: int) -> Lock:
    return Lock(LockSize(**table.model_dump(exclude={"name"})), seed)
