"""The ship view: each connection of a ship to the shore, what it replaced on board, and the ship's month."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gateway.report.calls import Call
from gateway.report.co2 import Replaced, chain, gas_of, mass_kg, replaced_by
from gateway.report.factors import Factor, Factors
from gateway.report.month import NS, utc
from gateway.report.stays import Stay

KWH_PER_WH = Fraction(1, 1000)
MJ_PER_KWH = Fraction(36, 10)
MJ_PER_WH = MJ_PER_KWH * KWH_PER_WH
AT_BERTH = Fraction(1)  # share of emissions at a berth in an EU port that the ETS counts
LAST_PHASE_IN = 2026  # from then on all of them
POLLUTANTS = {"so2": "aux.mgo.so2.s01", "pm10": "aux.mgo.pm10.s01", "pm25": "aux.mgo.pm25.s01"}
POLLUTANTS_OF = "aux.mgo.sfoc.epa"  # the consumption that their factors were reckoned with
COLUMNS = (
    "imo", "vessel", "berth", "shore_connection", "arrival_utc", "departure_utc", "hours_at_berth",
    "under_two_hours", "connected_from_utc", "connected_to_utc", "connected_h", "energy_kwh", "energy_mj", "use",
    "baseline", "efficiency", "fuel_avoided_kg", "grid_kgco2e", "avoided_kgco2e", "net_kgco2e",
    "avoided_combustion_kgco2", "ets_value_eur", "nox_kg", "so2_kg", "pm10_kg", "pm25_kg", "covered", "origin",
)  # fmt: skip
AMOUNTS = (
    "fuel_kg",
    "grid_kg",
    "avoided_kg",
    "net_kg",
    "combustion_kg",
    "ets_eur",
)  # of an effect, in the columns' order
POLLUTANT_COLUMNS = ("nox", "so2", "pm10", "pm25")


@dataclass(frozen=True)
class Effect:
    """What some energy did, in kg, each on its own line; None: no engine stands against it, or nobody asked.

    `net_kg` only where grid and avoided emissions have the same perimeter.
    """

    grid_kg: Fraction
    fuel_kg: Fraction | None = None
    avoided_kg: Fraction | None = None
    net_kg: Fraction | None = None
    combustion_kg: Fraction | None = None
    ets_eur: Fraction | None = None
    pollutants: tuple[tuple[str, Fraction], ...] = ()  # so2, pm10, pm25, nox


@dataclass(frozen=True)
class ShipMonth:
    """A ship's calls that end in the month, with one use and one engine that they stand for."""

    vessel: str
    imo: str
    use: str
    replaced: Replaced | None
    calls: tuple[Call, ...]
    energy_wh: int | None  # None: of no call is it known
    effect: Effect | None
    factors: tuple[Factor, ...]


@dataclass(frozen=True)
class ShipView:
    ships: tuple[ShipMonth, ...]
    stays: tuple[Stay, ...]  # that end in the month, connected or not
    method: "Method"

    @property
    def unconnected(self) -> tuple[Stay, ...]:
        used = {c.stay.number for s in self.ships for c in s.calls if c.stay is not None}
        return tuple(stay for stay in self.stays if stay.number not in used)


@dataclass(frozen=True)
class Method:
    """How effects are reckoned: `price`: EUR per tonne of CO2, None for no allowance value."""

    factors: Factors
    grid: Factor
    berths: Mapping[str, Any]
    vessels: Mapping[str, Any]
    year: int
    price: Fraction | None
    pollutants: bool

    def replaced(self, call: Call) -> Replaced | None:
        found = replaced_by(self.berths.get(call.berth, {}), call.use, self.factors)
        return found if isinstance(found, Replaced) else None

    def imo(self, call: Call) -> str:
        return call.stay.imo if call.stay is not None else self.vessels.get(call.vessel, {}).get("imo") or ""

    @property
    def phase_in(self) -> Factor | None:
        """Share of a year's emissions for which allowances are surrendered; None before there was any."""
        return self.factors.get(f"ets.maritime.phase_in.{min(self.year, LAST_PHASE_IN)}")

    def effect(self, energy_wh: int, replaced: Replaced | None, vessel: str) -> Effect:
        grid_kg = mass_kg(energy_wh, (self.grid,))
        if replaced is None:
            return Effect(grid_kg)
        life, burnt = (chain(replaced, perimeter, self.factors) for perimeter in ("life_cycle", "combustion"))
        avoided_kg, combustion_kg = (mass_kg(energy_wh, f, replaced.efficiency) for f in (life, burnt))
        equal = (self.grid.perimeter, gas_of(self.grid)) == (life[-1].perimeter, gas_of(life[-1]))
        return Effect(
            grid_kg=grid_kg,
            fuel_kg=mass_kg(energy_wh, life[:1], replaced.efficiency),
            avoided_kg=avoided_kg,
            net_kg=grid_kg - avoided_kg if equal else None,
            combustion_kg=combustion_kg,
            ets_eur=self._ets_eur(combustion_kg),
            pollutants=tuple(
                (name, mass_kg(energy_wh, (f,), replaced.efficiency))
                for name, f in self.pollutant_factors(replaced, vessel)
            ),
        )

    def _ets_eur(self, combustion_kg: Fraction) -> Fraction | None:
        if self.price is None or self.phase_in is None:
            return None
        return combustion_kg / 1000 * AT_BERTH * self.phase_in.value / 100 * self.price

    def pollutant_factors(self, replaced: Replaced | None, vessel: str) -> list[tuple[str, Factor]]:
        """Those that hold for this engine. NOx needs the ship's own factor: it depends on speed and tier."""
        if not self.pollutants or replaced is None or replaced.use != "berth_supply":
            return []
        found = [(name, self.factors[i]) for name, i in POLLUTANTS.items() if replaced.baseline == POLLUTANTS_OF]
        nox = self.vessels.get(vessel, {}).get("nox")
        return [*found, ("nox", self.factors.named(nox))] if nox else found


def ship_view(calls: Sequence[Call], stays: Sequence[Stay], method: Method) -> ShipView:
    """`calls`, `stays`: those that end in the month."""
    groups: dict[tuple[str, str, str, Replaced | None], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.vessel, method.imo(call), call.use, method.replaced(call)), []).append(call)
    ships = [
        _ship(vessel, imo, use, replaced, found, method)
        for (vessel, imo, use, replaced), found in sorted(groups.items(), key=lambda g: tuple(map(str, g[0])))
    ]
    return ShipView(tuple(ships), tuple(stays), method)


def _ship(
    vessel: str, imo: str, use: str, replaced: Replaced | None, calls: Sequence[Call], method: Method
) -> ShipMonth:
    known = [c.energy_wh for c in calls if c.energy_wh is not None]
    energy_wh = sum(known) if known else None
    effect = None if energy_wh is None else method.effect(energy_wh, replaced, vessel)
    factors = [method.grid]
    if replaced is not None:
        factors += [*chain(replaced, "life_cycle", method.factors), *chain(replaced, "combustion", method.factors)]
        factors += [f for _, f in method.pollutant_factors(replaced, vessel)]
        factors += [method.phase_in] if method.price is not None and method.phase_in is not None else []
    return ShipMonth(vessel, imo, use, replaced, tuple(calls), energy_wh, effect, tuple(dict.fromkeys(factors)))


def ships_csv(view: ShipView) -> bytes:
    """One line per connection, and per stay without any: what FuelEU and MRV records ask for, and the effect.

    An empty cell is unknown or was not asked for. UTC, decimal points; numbers are cut after the sixth decimal.
    """
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    rows = [(stay.arrival_ns, _line(view.method, stay)) for stay in view.unconnected]
    for ship in view.ships:
        per_wh = view.method.effect(1, ship.replaced, ship.vessel)
        rows += [(c.start_ns, _line(view.method, c.stay, c, ship.replaced, per_wh)) for c in ship.calls]
    lines.writerows(line for _, line in sorted(rows))
    return out.getvalue().encode()


def _line(
    method: Method, stay: Stay | None, call: Call | None = None, replaced: Replaced | None = None,
    per_wh: Effect | None = None,
) -> list[str]:  # fmt: skip
    """Every amount is the call's energy times that of 1 Wh."""
    energy_wh = None if call is None else call.energy_wh
    kilograms = dict(per_wh.pollutants) if per_wh is not None else {}
    return [
        method.imo(call) if call is not None else stay.imo if stay else "",
        call.vessel if call is not None else stay.name if stay else "",
        call.berth if call is not None else stay.berth if stay else "",
        call.charger if call is not None else "",
        _second(stay.arrival_ns) if stay else "", _second(stay.departure_ns) if stay else "",
        _number(stay.lasted_s / 3600) if stay else "",
        ("yes" if stay.under_two_hours else "no") if stay else "",
        _second(call.start_ns) if call else "", _second(call.end_ns) if call else "",
        _number(Fraction(call.connected_s) / 3600) if call and call.connected_s is not None else "",
        _number(KWH_PER_WH, energy_wh), _number(MJ_PER_WH, energy_wh),
        call.use if call else "",
        replaced.baseline if replaced else "", _number(replaced.efficiency) if replaced else "",
        *(_number(getattr(per_wh, name, None), energy_wh) for name in AMOUNTS),
        *(_number(kilograms.get(name), energy_wh) for name in POLLUTANT_COLUMNS),
        _number(call.covered) if call else "", call.origin if call else "",
    ]  # fmt: skip


def _second(t_ns: int) -> str:
    return utc(t_ns // NS * NS)


def _number(value: Fraction | None, times: int | None = 1) -> str:
    if value is None or times is None:
        return ""
    numerator = value.numerator * times
    whole, part = divmod(abs(numerator) * 10**6 // value.denominator, 10**6)  # cut, toward zero
    text = f"{whole}.{part:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if numerator < 0 and text != "0" else text
