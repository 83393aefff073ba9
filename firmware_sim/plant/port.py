"""A delivery point with its berths and ships: the timetable made into arrays, and what the devices show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf, sqrt
from typing import Any

import numpy as np

from firmware_sim.encode import Value
from firmware_sim.plant import pack as pk
from firmware_sim.plant import supply as sp
from firmware_sim.plant import tower as tw
from firmware_sim.plant.charger import State
from firmware_sim.plant.chemistry import CHEMISTRIES, GRID
from firmware_sim.plant.noise import uniform
from firmware_sim.plant.pack import Floats, PackSpec
from firmware_sim.plant.tower import TowerSpec

NS = 1_000_000_000
DAY_S = 86_400
BLOCK_S = 3600  # of history
_NO_LIMIT_W = 1e12


@dataclass(frozen=True)
class CallSpec:
    """A call that comes every day. Seconds of the day (UTC); `depart_s` may lie after midnight."""

    ship: str
    arrive_s: int
    depart_s: int


@dataclass(frozen=True)
class Moment:
    """Something that happens at berths. `berth` None: all. Kinds are those of `supply.EV_…`."""

    kind: int
    start_s: float
    end_s: float = inf
    berth: int | None = None
    value: float = 0.0


@dataclass(frozen=True)
class PointSpec:
    """The delivery point: its limit, the main transformer, and what else hangs on it."""

    limit_w: float | None = None
    transformer_w: float = 100_000_000.0
    idle_loss: float = 0.0006
    load_loss: float = 0.004
    auxiliary_w: float = 60_000.0


@dataclass
class BerthSpec:
    name: str
    tower: TowerSpec
    calls: Sequence[CallSpec] = field(default_factory=tuple)
    late_s: float = 0.0  # ships come up to this much late, evenly


class Port:
    """Steps in whole seconds; a value at an instant is that of the last whole second, as from a PLC.

    Args:
        midnight_s: Second of the day at which the run starts; timetables are in time of day.
        history_s: How long registers, SoC and power are remembered. [s]
    """

    def __init__(
        self, point: PointSpec, berths: Sequence[BerthSpec], ships: Mapping[str, PackSpec], seed: int,
        midnight_s: int = 0, moments: Sequence[Moment] = (), history_s: int = 8 * DAY_S,
    ) -> None:  # fmt: skip
        self.names = [berth.name for berth in berths]
        self.ship_names = list(ships)
        self.specs = list(ships.values())
        self.berth_specs = list(berths)
        self._seed, self._midnight_s, self._history_s = seed, midnight_s, history_s
        self.seconds = 0  # stepped so far
        p = np.zeros(sp.POINT_PARAMS)
        p[sp.LIMIT_W] = point.limit_w or _NO_LIMIT_W
        p[sp.MAIN_RATED_W], p[sp.MAIN_IDLE], p[sp.MAIN_LOAD] = (
            point.transformer_w,
            point.idle_loss,
            point.load_loss,
        )
        p[sp.AUXILIARY_W] = point.auxiliary_w
        self.point = p
        self.hub = np.zeros(sp.POINT_STATE)
        self.hub[sp.GRID_ON], self.hub[sp.LIMIT_NOW_W] = 1.0, p[sp.LIMIT_W]
        self.towers = np.array([berth.tower.parameters() for berth in berths])
        self.berths = np.array([berth.tower.state() for berth in berths])
        self.packs = np.array([ship.parameters() for ship in self.specs]).reshape(-1, pk.PACK_PARAMS)
        self.ships = np.array([ship.state() for ship in self.specs]).reshape(-1, pk.PACK_STATE)
        cells = [CHEMISTRIES[ship.chemistry] for ship in self.specs]
        self.curves = np.array([cell.ocv() for cell in cells]).reshape(-1, GRID)
        self.areas = np.array([cell.ocv_area() for cell in cells]).reshape(-1, GRID)
        self.copies = np.zeros((len(berths), sp.COPY))
        self.copies[:, sp.K_SHIP] = -1.0
        self.moments = list(moments)
        self._befallen: dict[str, list[Moment]] = {}
        self.flags = np.zeros(6 * len(berths))
        self.room = np.zeros(2 * len(berths))
        self.columns = sp.TR_FIRST + sp.TR_BERTH * len(berths)
        self._blocks: dict[int, Floats] = {}
        self._days = 0
        self._plan(2)
        self._set_events()
        self.step(0, np.zeros((1, self.columns)))  # compiled before the first device is served

    # The timetable.

    def calls_of_day(self, berth: int, day: int) -> list[tuple[int, float, float]]:
        """Ship, arrival and departure of each call of a day; seconds from the start of the run."""
        spec, found = self.berth_specs[berth], []
        for i, call in enumerate(spec.calls):
            late = spec.late_s * uniform(self._seed, 40 + berth, day * 64 + i)
            zero = day * DAY_S - self._midnight_s
            length = call.depart_s - call.arrive_s + (DAY_S if call.depart_s <= call.arrive_s else 0)
            ship = self.ship_names.index(call.ship)
            found.append((ship, float(zero + call.arrive_s + round(late)), float(zero + call.arrive_s + length)))
        return sorted(found, key=lambda c: c[1])

    def _plan(self, days: int) -> None:
        """Expand the timetable to `days`; what is there already stays as it is."""
        self._days = days
        by_berth = [
            [c for day in range(days) for c in self.calls_of_day(n, day) if c[2] > 0.0]
            for n in range(len(self.names))
        ]
        by_ship: list[list[tuple[float, float]]] = [[] for _ in self.ship_names]
        for ship, stays in enumerate(by_ship):
            stays += sorted((c[1], c[2]) for calls in by_berth for c in calls if c[0] == ship)
        most = max([len(c) for c in by_berth] + [1]) + 1
        self.calls = np.full((len(self.names), most, 3), inf)
        self.calls[:, :, 0] = -1.0
        for n, calls in enumerate(by_berth):
            if calls:
                self.calls[n, : len(calls)] = calls
        most = max([len(s) for s in by_ship] + [1]) + 1
        self.trips = np.full((len(self.ship_names), most, 2), inf)
        for n, stays in enumerate(by_ship):
            left = stays[0][0] - 2.0 * self.specs[n].crossing_s - 2700.0 if stays else inf
            for i, (arrive, depart) in enumerate(stays):
                self.trips[n, i] = left, arrive
                left = depart
            if not stays:
                self.trips[n, 0] = inf, inf

    def _set_events(self) -> None:
        rows = [
            (m.start_s, m.end_s, float(m.kind), -1.0 if m.berth is None else float(m.berth), m.value)
            for m in chain(self.moments, *self._befallen.values())
        ]
        self.events = np.array(rows or [(inf, inf, 0.0, 0.0, 0.0)])

    def befall(self, cause: str, moments: Sequence[Moment]) -> None:
        """What one cause, as a fault of a device, does to the berths besides `moments`. What was stepped stays."""
        self._befallen[cause] = list(moments)
        self._set_events()

    # Time.

    def advance(self, t_ns: int) -> None:
        """Step to the last whole second at or before `t_ns`; it does not go back."""
        while self.seconds < t_ns // NS:
            block, into = divmod(self.seconds, BLOCK_S)
            steps = min(t_ns // NS - self.seconds, BLOCK_S - into)
            if block not in self._blocks:
                self._blocks[block] = np.full((BLOCK_S, self.columns), np.nan)
                self._blocks.pop(block - self._history_s // BLOCK_S - 1, None)
            self.step(steps, self._blocks[block][into : into + steps])

    def step(self, steps: int, trace: Floats) -> None:
        """Step by `steps` seconds into a trace of one's own. float64[steps, columns]"""
        while self.seconds + steps + 4 * 3600 > self._days * DAY_S - self._midnight_s:
            self._plan(2 * self._days)
        sp.run(
            self.point, self.hub, self.towers, self.berths, self.packs, self.curves, self.areas, self.ships,
            self.calls, self.trips, self.events, self.flags, self.room, self.seconds, steps, self.copies, trace,
        )  # fmt: skip
        self.seconds += steps

    def at(self, column: int, t_ns: int) -> float:
        """A column of the trace at an instant of the past; NaN before the first second or if forgotten."""
        self.advance(t_ns)
        second = t_ns // NS - 1
        block = self._blocks.get(second // BLOCK_S) if second >= 0 else None
        return float("nan") if block is None else float(block[second % BLOCK_S, column])

    def column(self, berth: int, what: int) -> int:
        return sp.TR_FIRST + berth * sp.TR_BERTH + what

    def energy_j(self, berth: int | None, t_ns: int) -> float:
        """Through a berth's meter, or the delivery point's, since the start. [J]"""
        column = sp.TR_POINT_J if berth is None else self.column(berth, sp.TR_GRID_J)
        return self.at(column, t_ns) if t_ns >= NS else 0.0

    # What devices show.

    def charger(self, berth: int, t_ns: int) -> dict[str, Value]:
        """What the tower's PLC shows."""
        self.advance(t_ns)
        t, b, second = self.towers[berth], self.berths[berth], t_ns // NS
        state, mated = int(b[tw.STATE]), bool(b[tw.MATED] > 0.0)
        charging = State.RAMP_UP <= state <= State.CV
        ship = int(b[tw.SHIP])
        return {
            "state": state,
            "heartbeat": second % 2**16,
            "mated": mated,
            "alarm_word": int(b[tw.ALARM]),
            "power_w": float(b[tw.PLUG_W]),
            "voltage_v": float(b[tw.VOLT]),
            "current_a": float(b[tw.AMP]),
            "frequency_hz": 50.0 if t[tw.AC_V] > 0.0 else None,
            "power_factor": 1.0 / sqrt(1.0 + float(t[tw.PF_TAN]) ** 2) if t[tw.AC_V] > 0.0 else None,
            "setpoint_w": float(b[tw.SHARE_W]) if charging else 0.0,
            "limit_w": float(t[tw.RATED_W]),
            "plug_temp_c": float(b[tw.PLUG_TEMP]),
            "insulation_ohm": 1_800_000.0 if mated else None,
            "session_energy_wh": int(b[tw.SESSION_J] // 3600.0),
            "energy_total_wh": 912_440_118 + int(b[tw.PLUG_J] // 3600.0),
            "vessel": self.ship_names[ship] if ship >= 0 and state != State.IDLE else "",
        }

    def battery(self, berth: int, t_ns: int) -> dict[str, Value]:
        """The shore PLC's copy of the BMS: alive while mated, else as it was when the plug went out.

        Where the plug is AC, the copy has no pack voltage and current, as the shore has no use for them.
        """
        self.advance(t_ns)
        c = self.copies[berth]
        ship = int(c[sp.K_SHIP])
        if ship < 0:  # no ship since the PLC was started
            nothing: dict[str, Value] = dict.fromkeys(_BMS)
            return nothing | {"heartbeat": 0, "contactor": 0, "alarm_word": 0, "vessel": ""}
        dc = self.towers[berth, tw.AC_V] == 0.0
        temp_c = float(c[sp.K_TEMP])
        most_a = float(self.packs[ship, pk.CHARGE_A] * self.packs[ship, pk.PARALLEL])
        warm = 1.5 * min(1.0, abs(float(c[sp.K_CURRENT_A])) / most_a)
        return {
            "pack_voltage_v": round(float(c[sp.K_VOLTAGE_V]), 1) if dc else None,
            "pack_current_a": round(float(c[sp.K_CURRENT_A]), 1) if dc else None,
            "pack_temp_c": round(temp_c, 1),
            "cell_min_v": round(float(c[sp.K_CELL_MIN_V]), 3),
            "cell_max_v": round(float(c[sp.K_CELL_MAX_V]), 3),
            "cell_min_temp_c": round(temp_c - 1.1 - warm, 1),
            "cell_max_temp_c": round(temp_c + 1.4 + warm, 1),
            "soc_bms": round(float(c[sp.K_SOC]), 3),
            "soh_bms": self.specs[ship].soh,
            "charge_limit_w": round(float(c[sp.K_CHARGE_W]), -4),
            "discharge_limit_w": round(float(c[sp.K_DISCHARGE_W]), -4),
            "contactor": int(c[sp.K_CONTACTOR]),
            "alarm_word": int(c[sp.K_ALARM]),
            "heartbeat": int(c[sp.K_SECOND]) % 2**32,
            "vessel": self.ship_names[ship],
        }

    # Truth.

    def soc(self, berth: int, t_ns: int) -> float | None:
        """True SoC of the ship at a berth; None without a ship."""
        found = self.at(self.column(berth, sp.TR_SOC), t_ns)
        return None if found != found else found

    def balance(self) -> dict[str, float]:
        """Where the energy of the point went since the start; `open_j` is not accounted for. [J]"""
        b, s = self.berths, self.ships
        parts = {
            "grid_j": float(self.hub[sp.POINT_J]),
            "pack_j": float(b[:, tw.PACK_J].sum()),
            "hotel_j": float(b[:, tw.HOTEL_J].sum()),
            "transformer_j": float(b[:, tw.TRAFO_J].sum() + self.hub[sp.MAIN_J]),
            "converter_j": float(b[:, tw.CONVERTER_J].sum()),
            "cable_j": float(b[:, tw.CABLE_J].sum()),
            "own_j": float(b[:, tw.OWN_J].sum() + self.hub[sp.AUXILIARY_J]),
        }
        parts["open_j"] = parts["grid_j"] - sum(v for k, v in parts.items() if k != "grid_j")
        # The packs: all that went in at their terminals, against what their state says is stored, and heat.
        parts["terminals_j"] = float(s[:, pk.TERM_J].sum())
        parts["heat_j"] = float(s[:, pk.HEAT_J].sum())
        parts["used_j"] = float((s[:, pk.SEA_J] + s[:, pk.HOTEL_J] - s[:, pk.FAR_J]).sum())
        return parts

    def stored_j(self) -> float:
        """Energy in all packs, from their state alone: charge under the curve, and both RC pairs. [J]"""
        total = 0.0
        for p, s, ocv, area in zip(self.packs, self.ships, self.curves, self.areas, strict=True):
            cell = p[pk.Q_AS] * pk.area_at(ocv, area, s[pk.SOC])
            cell += 0.5 * (p[pk.TAU1] / p[pk.R1] * s[pk.V1] ** 2 + p[pk.TAU2] / p[pk.R2] * s[pk.V2] ** 2)
            total += float(p[pk.SERIES] * p[pk.PARALLEL] * cell)
        return total

    def truth(self, berth: int, t_ns: int, epoch_ns: int) -> dict[str, Any]:
        """What only the simulator knows of a berth; `calls` are the timetable's, lateness included."""
        self.advance(t_ns)
        b = self.berths[berth]
        calls = [
            {
                "vessel": self.ship_names[int(ship)],
                "arrive_ns": epoch_ns + int(arrive) * NS,
                "depart_ns": epoch_ns + int(depart) * NS,
            }
            for ship, arrive, depart in self.calls[berth].tolist()
            if arrive < self.seconds + DAY_S
        ]
        state = State(int(b[tw.STATE]))
        return {
            "soc": self.soc(berth, t_ns),
            "state": int(state),
            "state_name": state.name,
            "mated": bool(b[tw.MATED] > 0.0),
            "power_w": float(b[tw.GRID_W]),
            "breaker": bool(b[tw.BREAKER] > 0.0),
            "loop": bool(b[tw.LOOP] > 0.0),
            "vessel": self.ship_names[int(b[tw.SHIP])] if b[tw.SHIP] >= 0.0 else "",
            "calls": calls,
        }


_BMS = (
    "pack_voltage_v", "pack_current_a", "pack_temp_c", "cell_min_v", "cell_max_v", "cell_min_temp_c",
    "cell_max_temp_c", "soc_bms", "soh_bms", "charge_limit_w", "discharge_limit_w",
)  # fmt: skip
