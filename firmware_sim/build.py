"""From a scenario's tables to plants."""

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any

from drivers.profile import Profile
from firmware_sim.faults import Fault
from firmware_sim.plant.lock import PRESETS as LOCK_PRESETS
from firmware_sim.plant.lock import LockMoment, LockSize, pump_power_w
from firmware_sim.plant.pack import PackSpec
from firmware_sim.plant.port import NS, BerthSpec, CallSpec, Moment, PointSpec, Port
from firmware_sim.plant.revenue import MeterSpec
from firmware_sim.plant.supply import EV_ESTOP, EV_FAULT, EV_LIMIT, EV_OUTAGE, EV_PAUSE, EV_WELD
from firmware_sim.plant.tower import PRESETS as TOWER_PRESETS
from firmware_sim.plant.tower import TowerSpec
from firmware_sim.scenario_tables import (
    LockTable,
    PointTable,
    RevenueTable,
    Scenario,
    ShipTable,
    TowerTable,
    second_of_day,
)

_KINDS = {
    "estop": EV_ESTOP, "fault": EV_FAULT, "pause": EV_PAUSE, "outage": EV_OUTAGE, "limit": EV_LIMIT,
    "breaker-welded": EV_WELD,
}  # fmt: skip
_OF_LOCK = {"preset", "name", "chambers", "pump_m3_s", "passage", "open_from", "open_to"}


def midnight_s(scenario: Scenario) -> int:
    """Second of the day (UTC) at which the run starts."""
    return int(scenario.start.timestamp()) % 86_400


def lock_size(table: LockTable) -> LockSize:
    """A preset, changed by the keys that the file has."""
    keys = set(type(table).model_fields) - _OF_LOCK
    if table.preset is not None:
        keys &= table.model_fields_set
    given: dict[str, Any] = {key: getattr(table, key) for key in keys}
    size = replace(LOCK_PRESETS[table.preset] if table.preset else LockSize(), **given)
    if table.pump_m3_s > 0.0:
        head_m = max(0.1, size.upstream_m - size.downstream_m)
        size = replace(size, pump_m3_s=table.pump_m3_s, pump_w=pump_power_w(table.pump_m3_s, head_m))
    boats = tuple((second_of_day(p.at), p.direction, p.length_m) for p in table.passage)
    return replace(
        size,
        boats=tuple(sorted(boats)),
        open_from_s=float(second_of_day(table.open_from)),
        open_to_s=float(second_of_day(table.open_to)) if table.open_to else 86_400.0,
    )


def lock_moments(scenario: Scenario, name: str) -> list[LockMoment]:
    return [
        LockMoment(e.kind, e.at_s, inf if e.for_s is None else e.at_s + e.for_s, e.value)
        for e in scenario.event
        if e.plant == name
    ]


def tower(table: TowerTable, pack_v: float) -> TowerSpec:
    given = {key: getattr(table, key) for key in table.model_fields_set - {"preset"}}
    given = {key: value for key, value in given.items() if value is not None}
    return replace(TOWER_PRESETS[table.preset], pack_v=pack_v, **given)


def ship(table: ShipTable) -> PackSpec:
    keys = set(type(table).model_fields) - {"name"}
    return PackSpec(temp_c=table.ambient_c + 2.0, **{key: getattr(table, key) for key in keys})


def meter(table: RevenueTable, profile: Profile | None) -> MeterSpec:
    """The register goes over where the profile's own type does."""
    given = {key: getattr(table, key) for key in type(table).model_fields}
    modulus = None
    for point in profile.points if profile is not None else ():
        if point.name == "energy_import_total_wh" and point.type in ("uint16", "uint32"):
            modulus = 2.0 ** int(point.type.removeprefix("uint")) * point.scale
    return MeterSpec(modulus_wh=modulus, **given)


def welded(faults: Iterable[Fault], berth: int) -> list[Moment]:
    """What `breaker-welded` does to a tower, and when."""
    moments = []
    for fault in faults:
        if fault.name == "breaker-welded":
            span = fault.since_ns / NS, inf if fault.until_ns is None else fault.until_ns / NS
            kinds = (EV_WELD, EV_ESTOP) if fault.number("estop") else (EV_WELD,)
            moments += [Moment(kind, *span, berth) for kind in kinds]
    return moments


def port(scenario: Scenario, table: PointTable, seed: int) -> Port:
    """A delivery point with the berths that hang on it."""
    tables = [berth for berth in scenario.berth if berth.point == table.name]
    named = {call.ship for berth in tables for call in berth.call}
    ships = {t.name: ship(t) for t in scenario.ship if t.name in named}
    berths = []
    for berth in tables:
        volts = [t.voltage_v for t in scenario.ship if t.name in {call.ship for call in berth.call}]
        calls = [CallSpec(c.ship, second_of_day(c.arrive), second_of_day(c.depart)) for c in berth.call]
        berths.append(BerthSpec(berth.name, tower(berth.tower, min(volts, default=1000.0)), calls, berth.late_s))
    names = [berth.name for berth in tables]
    moments = [
        Moment(
            _KINDS[e.kind], e.at_s, inf if e.for_s is None else e.at_s + e.for_s,
            names.index(e.plant) if e.plant in names else None, e.value,
        )
        for e in scenario.event
        if e.plant in names or e.plant == table.name
    ]  # fmt: skip
    point = PointSpec(table.limit_w, table.transformer_w, auxiliary_w=table.auxiliary_w)
    return Port(point, berths, ships, seed, midnight_s(scenario), moments)
