"""A berth of a delivery point, and the point itself, in the shape that the bench knows from a replayed berth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firmware_sim.encode import Value
from firmware_sim.plant import supply as sp
from firmware_sim.plant import tower as tw
from firmware_sim.plant.port import Port
from firmware_sim.plant.revenue import MeterSpec, RevenueMeter

Show = Callable[[int], dict[str, Value]]


@dataclass(frozen=True)
class Shown:
    """A device of a plant: what it shows at an instant."""

    values: Show


@dataclass(frozen=True)
class BatteryCopy:
    """The shore PLC's copy of a ship's BMS, and the truth beside it."""

    values: Show
    true_soc: Callable[[int], float | None]


class TimetableBerth:
    """A berth with a timetable. Its meter stands before its transformer."""

    def __init__(self, port: Port, index: int, meter: MeterSpec, seed: int) -> None:
        self.port, self._index = port, index
        power, tangent = port.column(index, sp.TR_GRID_W), float(port.towers[index, tw.PF_TAN])
        self.meter = RevenueMeter(
            meter,
            seed,
            lambda t: _known(port.at(power, t)),
            lambda t: port.energy_j(index, t),
            tangent,
            _voltage(port),
        )
        self.charger = Shown(lambda t: port.charger(index, t))
        self.battery = BatteryCopy(lambda t: port.battery(index, t), lambda t: port.soc(index, t))

    def truth(self, t_ns: int, epoch_ns: int) -> dict[str, Any]:
        return self.port.truth(self._index, t_ns, epoch_ns)

    def describe(self) -> dict[str, Any]:
        """Which tower, and which ships come."""
        spec = self.port.berth_specs[self._index]
        return {
            "tower_w": spec.tower.rated_w,
            "plug": spec.tower.plug,
            "calls": len(spec.calls),
            "vessels": sorted({call.ship for call in spec.calls}),
        }


class DeliveryPoint:
    """The meter at the head of it all."""

    def __init__(self, port: Port, meter: MeterSpec, seed: int) -> None:
        self.port = port
        self.meter = RevenueMeter(
            meter, seed, lambda t: _known(port.at(sp.TR_POINT_W, t)), lambda t: port.energy_j(None, t), 0.14,
            _voltage(port),
        )  # fmt: skip

    def truth(self, t_ns: int) -> dict[str, Any]:
        """Power, the limit that holds now, and where the energy went since the start."""
        self.port.advance(t_ns)
        return {
            "power_w": float(self.port.hub[sp.POINT_W]),
            "limit_w": float(self.port.hub[sp.LIMIT_NOW_W]),
            "grid": bool(self.port.hub[sp.GRID_ON]),
            "balance_j": self.port.balance(),
        }


def _voltage(port: Port) -> Callable[[int], float]:
    def share(t_ns: int) -> float:
        port.advance(t_ns)
        return float(port.hub[sp.GRID_ON])

    return share


def _known(power_w: float) -> float:
    return 0.0 if power_w != power_w else power_w  # before the first second nothing flows
