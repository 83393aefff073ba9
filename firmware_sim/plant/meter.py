"""The revenue meter: what flows through it, counted exactly.

Power is a straight line between whole seconds with a whole number of watts at each. Its integral is then a
rational number, and the register is its floor, computed in integers: no drift, whatever the time.
"""

from dataclasses import dataclass
from math import hypot, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from firmware_sim.encode import Value
from firmware_sim.plant.noise import wobble
from firmware_sim.plant.revenue import line_voltages

NS = 1_000_000_000
_HALF_WS_PER_WH = 2 * 3600


class PowerIntegral:
    """Exact integral of a power known at each whole second. Before second 0: 0; after the last: constant.

    Args:
        power_w: int64[n] [W]
    """

    def __init__(self, power_w: NDArray[np.int64]) -> None:
        self._power_w: list[int] = power_w.tolist()
        doubled = np.cumsum(power_w[1:] + power_w[:-1], dtype=np.int64)
        self._doubled_ws: list[int] = [0, *doubled.tolist()]  # twice the energy so far

    def _where(self, t_ns: int) -> tuple[int, int, int, int]:
        """The second, the ns into it, and power at both its ends."""
        k = min(max(t_ns, 0) // NS, len(self._power_w) - 1)
        first = self._power_w[k]
        after = self._power_w[k + 1] if k + 1 < len(self._power_w) else first
        return k, max(t_ns, 0) - k * NS, first, after

    def power_w(self, t_ns: int) -> float:
        """[W]"""
        _, into_ns, first, after = self._where(t_ns)
        return first + (after - first) * (into_ns / NS)

    def energy_wh(self, t_ns: int) -> int:
        """Floor of the energy from second 0 to `t_ns`. [Wh]"""
        k, into_ns, first, after = self._where(t_ns)
        within = 2 * first * into_ns * NS + (after - first) * into_ns**2  # in half W s, times 1e18
        return (self._doubled_ws[k] * NS**2 + within) // (_HALF_WS_PER_WH * NS**2)


@dataclass(frozen=True)
class MeterSize:
    """What the meter is connected to, and where its registers stand at the start."""

    line_voltage_v: float = 20_000.0
    frequency_hz: float = 50.0
    import_wh: int = 1_843_275_410
    export_wh: int = 12_040
    reactive_varh: int = 310_772_905


class Meter:
    """Three-phase meter of primary values. It only imports.

    Args:
        active_w, reactive_var: Through the meter at each whole second. int64[n]
    """

    def __init__(
        self, size: MeterSize, active_w: NDArray[np.int64], reactive_var: NDArray[np.int64], seed: int
    ) -> None:
        self._size = size
        self._active = PowerIntegral(active_w)
        self._reactive = PowerIntegral(reactive_var)
        self._seed = seed
        self._peak_w = max(1.0, float(active_w.max()))

    def power_w(self, t_ns: int) -> float:
        return self._active.power_w(t_ns)

    def import_wh(self, t_ns: int) -> int:
        """The import register. [Wh]"""
        return self._size.import_wh + self._active.energy_wh(t_ns)

    counted_wh = import_wh  # it never goes over

    def values(self, t_ns: int) -> dict[str, Value]:
        """Everything a meter shows, `t_ns` after the start."""
        size, second = self._size, t_ns // NS
        power_w, reactive_var = self._active.power_w(t_ns), self._reactive.power_w(t_ns)
        apparent_va = max(1.0, hypot(power_w, reactive_var))
        drop = 0.012 * power_w / self._peak_w  # the cable to the substation
        values: dict[str, Value] = {
            "power_w": power_w,
            "reactive_power_var": reactive_var,
            "frequency_hz": size.frequency_hz
            + 0.012 * sin(2 * pi * t_ns / (417 * NS))
            + 0.004 * wobble(self._seed, 0, second),
            "power_factor": power_w / apparent_va,
            "energy_import_total_wh": self.import_wh(t_ns),
            "energy_export_total_wh": size.export_wh,
            "reactive_import_total_varh": size.reactive_varh + self._reactive.energy_wh(t_ns),
        }
        # Phases differ a little, as they do; together they still carry exactly the power shown.
        shares = (0.3341, 0.3322, 0.3337)
        for phase, share in enumerate(shares, 1):
            unevenness = 0.001 * (phase - 2) + 0.0006 * wobble(self._seed, phase, second)
            voltage_v = size.line_voltage_v / sqrt(3.0) * (1.0 - drop + unevenness)
            values[f"voltage_l{phase}_v"] = voltage_v
            values[f"current_l{phase}_a"] = share * apparent_va / voltage_v
            values |= {f"power_l{phase}_w": share * power_w, f"reactive_power_l{phase}_var": share * reactive_var}
        return values | {"apparent_power_va": apparent_va} | line_voltages(values)
