"""A ferry's battery: one recorded cell, many times over, and the opinion its BMS has of it."""

from dataclasses import dataclass
from math import exp, pi, sin

import numpy as np

from firmware_sim.encode import Value
from firmware_sim.plant.noise import wobble
from firmware_sim.plant.replay import Floats, Recording

NS = 1_000_000_000


@dataclass(frozen=True)
class PackSize:
    """How the recorded cell becomes a pack.

    Attributes:
        series, parallel: Cells in a string, strings.
        cell_capacity_ah: Of the recorded cell; with the mean voltage it gives the pack's energy.
        cell_voltage_v: Mean voltage of the recording.
        soh: What the BMS says about the pack's health.
    """

    series: int
    parallel: int
    cell_capacity_ah: float
    cell_voltage_v: float
    soh: float = 0.93

    @property
    def capacity_ah(self) -> float:
        return self.parallel * self.cell_capacity_ah

    @property
    def energy_wh(self) -> float:
        return self.series * self.cell_voltage_v * self.capacity_ah


def size_for(
    energy_wh: float,
    voltage_v: float,
    cell_capacity_ah: float,
    cell_voltage_v: float,
    series: int | None = None,
    parallel: int | None = None,
    soh: float = 0.93,
) -> PackSize:
    """The whole numbers of cells that come closest to an energy and a voltage, unless they are given."""
    series = series or max(1, round(voltage_v / cell_voltage_v))
    parallel = parallel or max(1, round(energy_wh / (series * cell_voltage_v * cell_capacity_ah)))
    return PackSize(series, parallel, cell_capacity_ah, cell_voltage_v, soh)


class Battery:
    """The pack, and its BMS as seen from outside.

    Voltage, current, temperature and the true SoC are the recording's, scaled. After its end the pack rests
    as it was left. The BMS's SoC is its own: it started wrong, counts 0.8 % too much and drifts, within
    about 4 %, as one does that has not seen a full charge for a while.

    Args:
        recording: Already cut to what is replayed.
    """

    def __init__(self, recording: Recording, size: PackSize, vessel: str, seed: int) -> None:
        self.size = size
        self._cell = recording
        self._vessel = vessel
        self._seed = seed
        self._peak_a = max(1e-9, float(np.max(np.abs(recording.current_a))))
        self._soc = recording.soc if recording.has_truth else _counted_soc(recording, size.cell_capacity_ah)
        self._ceiling_v = float(np.max(recording.voltage_v))

    def _at(self, column: Floats, t_ns: int) -> float:
        """Straight line between the recorded seconds; the last value after the end."""
        k = min(max(t_ns, 0) // NS, self._cell.seconds)
        first = float(column[k])
        if k == self._cell.seconds:
            return first
        return first + (float(column[k + 1]) - first) * ((max(t_ns, 0) - k * NS) / NS)

    def true_soc(self, t_ns: int) -> float | None:
        """The recording's truth; None where it has none."""
        return self._at(self._cell.soc, t_ns) if self._cell.has_truth else None

    def values(self, t_ns: int) -> dict[str, Value]:
        """What the BMS publishes, `t_ns` after the start: rounded to its resolution."""
        second = t_ns // NS
        resting = t_ns >= self._cell.seconds * NS
        cell_v = self._at(self._cell.voltage_v, t_ns)
        cell_a = 0.0 if resting else self._at(self._cell.current_a, t_ns)
        temp_c = self._at(self._cell.temp_c, t_ns)
        load = abs(cell_a) / self._peak_a
        spread_v = 0.004 + 0.008 * load + 0.0005 * wobble(self._seed, 10, second)
        soc = self._at(self._soc, t_ns)
        room = min(1.0, max(0.0, (self._ceiling_v - cell_v) / 0.05)) if soc > 0.7 else 1.0
        # a BMS permits what it is recorded to have taken, with a little to spare
        charge_limit_w = max(
            self.size.energy_wh * (0.1 + 0.9 * room),
            1.05 * cell_v * cell_a * self.size.series * self.size.parallel,
        )
        return {
            "pack_voltage_v": round(cell_v * self.size.series, 1),
            "pack_current_a": round(cell_a * self.size.parallel, 1),
            "pack_temp_c": round(temp_c, 1),
            "cell_min_v": round(cell_v - spread_v, 3),
            "cell_max_v": round(cell_v + 0.8 * spread_v, 3),
            "cell_min_temp_c": round(temp_c - 1.1, 1),
            "cell_max_temp_c": round(temp_c + 1.4 + 1.5 * load, 1),
            "soc_bms": round(self._bms_soc(soc, t_ns), 3),
            "soh_bms": self.size.soh,
            "charge_limit_w": round(charge_limit_w, -4),
            "discharge_limit_w": round(2.0 * self.size.energy_wh * min(1.0, max(0.0, soc / 0.15)), -4),
            "contactor": 1,
            "alarm_word": 0,
            "heartbeat": second % 2**32,
            "vessel": self._vessel,
        }

    def _bms_soc(self, soc: float, t_ns: int) -> float:
        hours = t_ns / (3600 * NS)
        drift = 0.015 * (1.0 - exp(-hours / 6.0)) + 0.004 * sin(2 * pi * hours / 1.9)
        started = float(self._soc[0])
        return min(1.0, max(0.0, started + 0.018 + 1.008 * (soc - started) + drift))


def _counted_soc(recording: Recording, capacity_ah: float) -> Floats:
    """SoC by counting, for a recording without truth: laid so that it stays within 0 and 1."""
    mean_a = (recording.current_a[1:] + recording.current_a[:-1]) / 2.0
    counted = np.concatenate([[0.0], np.cumsum(mean_a)]) / 3600.0 / capacity_ah
    return np.asarray(np.clip(counted - counted.min() + 0.5 * max(0.0, 1.0 - np.ptp(counted)), 0.0, 1.0))
