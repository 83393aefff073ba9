"""What must fit together between the tables of a scenario: each problem a line, none hides another."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from drivers.profile import Profile
from firmware_sim.build import lock_size
from firmware_sim.faults import DeviceTraits, FaultBoard, FaultError
from firmware_sim.scenario_tables import (
    BerthTable,
    DeviceTable,
    FaultTable,
    LockTable,
    PointTable,
    Scenario,
    second_of_day,
)
from firmware_sim.value_faults import traits_of

PLANTS = {"charger": ("berth",), "meter": ("berth", "point"), "battery": ("berth",), "lock": ("lock",)}  # by kind
EVENTS = {
    "estop": ("berth", "lock"), "fault": ("berth",), "pause": ("berth",), "breaker-welded": ("berth",),
    "outage": ("point", "lock"), "limit": ("point",), "mode": ("lock",), "gate-stuck": ("lock",),
}  # fmt: skip
TURNAROUND_S = 300  # between two calls at a berth: the tower parks and is there for the next
DAY_S = 86_400


def problems_between(path: Path, scenario: Scenario, profiles: Mapping[str, Profile]) -> list[str]:
    """Everything that does not fit together, in the order of the file."""
    return [
        *_names(path, scenario),
        *_berths(path, scenario),
        *_timetable(path, scenario),
        *_locks(path, scenario),
        *_plants(path, scenario, profiles),
        *_lines(path, scenario, profiles),
        *_events(path, scenario),
        *_faults(path, scenario, profiles),
    ]


def _names(path: Path, scenario: Scenario) -> Iterator[str]:
    tables: tuple[tuple[str, Sequence[PointTable | BerthTable | LockTable | DeviceTable]], ...] = (
        ("point", scenario.point),
        ("berth", scenario.berth),
        ("lock", scenario.lock),
        ("device", scenario.device),
    )
    plants: dict[str, str] = {}
    for key, items in tables:
        seen: dict[str, str] = {} if key == "device" else plants
        for i, item in enumerate(items):
            where = f"{key}[{i}]"
            if item.name in seen:
                yield f"{path}: {where}.name = {item.name!r}: taken by {seen[item.name]}; give each its own name"
            seen.setdefault(item.name, where)
    ships: dict[str, int] = {}
    for i, ship in enumerate(scenario.ship):
        first = ships.setdefault(ship.name, i)
        if first != i:
            yield f"{path}: ship[{i}].name = {ship.name!r}: taken by ship[{first}]; give each its own name"


def _berths(path: Path, scenario: Scenario) -> Iterator[str]:
    """A berth replays a recording or follows a timetable, and has what that needs."""
    points = [point.name for point in scenario.point]
    ships = [ship.name for ship in scenario.ship]
    for i, berth in enumerate(scenario.berth):
        where = f"{path}: berth[{i}]"
        if berth.recording is not None:
            if berth.vessel is None:
                yield f"{where}.vessel: Field required; give the ship's name as its PLC sends it"
            for key in ("call", "point"):
                if key in berth.model_fields_set:
                    yield f"{where}.{key}: does not go with recording; remove one of them"
            if extra := sorted(berth.meter.model_fields_set - {"line_voltage_v", "import_wh", "export_wh"}):
                yield f"{where}.meter.{extra[0]}: is for a berth with a timetable; remove it, or the recording"
            continue
        if berth.point is None:
            yield f"{where}.recording: Field required; give a table with file, or point and tables [[berth.call]]"
        elif berth.point not in points:
            yield f"{where}.point = {berth.point!r}: is no [[point]]; use " + (
                ", ".join(points) or "a table of yours"
            )
        for k, call in enumerate(berth.call):
            if call.ship not in ships:
                known = ", ".join(ships) or "a table [[ship]] of your own"
                yield f"{where}.call[{k}].ship = {call.ship!r}: is no [[ship]]; use {known}"


def stays(berth: BerthTable) -> list[tuple[int, int, int]]:
    """Arrival, departure (perhaps after midnight) and place in the file of each call, by arrival. [s]"""
    found = []
    for k, call in enumerate(berth.call):
        arrive, depart = second_of_day(call.arrive), second_of_day(call.depart)
        found.append((arrive, depart + (DAY_S if depart <= arrive else 0), k))
    return sorted(found)


def _timetable(path: Path, scenario: Scenario) -> Iterator[str]:
    """No two ships at a berth, no ship at two berths."""
    where_is: dict[str, list[tuple[int, int, str]]] = {}
    for i, berth in enumerate(scenario.berth):
        calls = stays(berth)
        again = [(a + DAY_S, d + DAY_S, k) for a, d, k in calls[:1]]
        for (_, before, j), (arrive, _, k) in pairwise(calls + again):
            if arrive < before + TURNAROUND_S and (j != k or len(calls) > 1):
                yield (
                    f"{path}: berth[{i}].call[{k}].arrive = {berth.call[k].arrive!r}: call[{j}] leaves at "
                    f"{berth.call[j].depart}; leave {TURNAROUND_S // 60} min between two calls"
                )
        for arrive, depart, k in calls:
            where_is.setdefault(berth.call[k].ship, []).append((arrive, depart, f"berth[{i}].call[{k}]"))
            if depart - arrive < berth.late_s + 600:
                yield (
                    f"{path}: berth[{i}].call[{k}].depart = {berth.call[k].depart!r}: a stay of "
                    f"{(depart - arrive) // 60} min; give 10 min and late_s = {berth.late_s:g} s or more"
                )
    for ship, found in where_is.items():
        found.sort()
        for (_, before, first), (arrive, _, second) in pairwise(found):
            if arrive < before:
                yield f"{path}: {second}.arrive: {ship} is still at {first}; let it leave first"


def _locks(path: Path, scenario: Scenario) -> Iterator[str]:
    for i, lock in enumerate(scenario.lock):
        size, where = lock_size(lock), f"{path}: lock[{i}]"
        if size.upstream_m - size.downstream_m < 0.1:
            yield (
                f"{where}.upstream_m = {size.upstream_m:g}: is not 0.1 m or more above "
                f"downstream_m = {size.downstream_m:g}; exchange them or correct the datum"
            )
        if lock.short_m is not None and lock.short_m >= lock.length_m:
            yield f"{where}.short_m = {lock.short_m:g}: is not below length_m = {lock.length_m:g}; give less"
        for k, passage in enumerate(lock.passage):
            if passage.length_m > lock.length_m - 2.0:
                yield (
                    f"{where}.passage[{k}].length_m = {passage.length_m:g}: the chamber has {lock.length_m:g} m; "
                    f"give {lock.length_m - 2.0:g} or less"
                )


def _plants(path: Path, scenario: Scenario, profiles: Mapping[str, Profile]) -> Iterator[str]:
    names = _plant_names(scenario)
    chambers = {lock.name: lock.chambers for lock in scenario.lock}
    for i, device in enumerate(scenario.device):
        if device.name not in profiles:
            continue
        kind = profiles[device.name].kind
        fitting = [name for table in PLANTS[kind] for name in names[table]]
        if device.plant not in fitting:
            wanted = " or ".join(PLANTS[kind])
            yield (
                f"{path}: device[{i}].plant = {device.plant!r}: a {kind} needs a {wanted}; use "
                + (", ".join(fitting) or f"a table [[{PLANTS[kind][0]}]] of your own")
            )
        elif device.chamber > chambers.get(device.plant, 1):
            yield f"{path}: device[{i}].chamber = {device.chamber}: {device.plant} has one; give 1"


def _plant_names(scenario: Scenario) -> dict[str, list[str]]:
    return {
        "berth": [b.name for b in scenario.berth],
        "point": [p.name for p in scenario.point],
        "lock": [k.name for k in scenario.lock],
    }


def _events(path: Path, scenario: Scenario) -> Iterator[str]:
    names = _plant_names(scenario)
    recorded = {berth.name for berth in scenario.berth if berth.recording is not None}
    for i, event in enumerate(scenario.event):
        where = f"{path}: event[{i}].plant = {event.plant!r}"
        fitting = [name for table in EVENTS[event.kind] for name in names[table] if name not in recorded]
        if event.plant not in fitting:
            yield (
                f"{where}: {event.kind} is for a {' or '.join(EVENTS[event.kind])}"
                f"{' with a timetable' if event.plant in recorded else ''}; "
                f"use {', '.join(fitting) or 'none here'}"
            )
        if event.kind == "mode" and event.value not in (0, 1, 2):
            yield f"{path}: event[{i}].value = {event.value:g}: is no mode; give 0 (local), 1 or 2 (maintenance)"


def traits(scenario: Scenario, device: DeviceTable, profile: Profile) -> DeviceTraits:
    """What faults may be had of a device."""
    modbus = profile.protocol == "modbus"
    replayed = any(berth.name == device.plant and berth.recording is not None for berth in scenario.berth)
    without = (
        {"breaker-welded": "its berth replays a recording; it takes one with a timetable"} if replayed else {}
    )
    return traits_of(profile, f"modbus-{device.transport}" if modbus else profile.protocol, without)


def _lines(path: Path, scenario: Scenario, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Ports and units that two devices would share."""
    ports: dict[int, int] = {}
    units: dict[tuple[str, int], int] = {}
    lines: dict[str, int] = {}
    for i, device in enumerate(scenario.device):
        if device.bus is not None:
            first = units.setdefault((device.bus, device.unit_id), i)
            if first != i:
                yield (
                    f"{path}: device[{i}].unit_id = {device.unit_id}: taken on bus {device.bus} by "
                    f"device[{first}]; give each device of a bus its own unit_id"
                )
            leader = lines.setdefault(device.bus, i)
            for key in ("transport", "baud", "port"):
                here, there = getattr(device, key), getattr(scenario.device[leader], key)
                if here != there and not (key == "port" and here is None):
                    yield (
                        f"{path}: device[{i}].{key} = {here!r}: bus {device.bus} has {there!r} in "
                        f"device[{leader}]; give all devices of a bus the same"
                    )
        if device.port is None:
            continue
        first = ports.setdefault(device.port, i)
        if first != i and (device.bus is None or device.bus != scenario.device[first].bus):
            yield (
                f"{path}: device[{i}].port = {device.port}: taken by device[{first}] "
                f"({scenario.device[first].name}); give each its own port, or both the same bus"
            )
        if device.name in profiles and profiles[device.name].protocol == "opcua" and device.transport != "tcp":
            yield f"{path}: device[{i}].transport = {device.transport!r}: is for Modbus; leave it out for OPC UA"


def _faults(path: Path, scenario: Scenario, profiles: Mapping[str, Profile]) -> Iterator[str]:
    board = FaultBoard(
        {d.name: traits(scenario, d, profiles[d.name]) for d in scenario.device if d.name in profiles}
    )
    for i, fault in enumerate(scenario.fault):
        try:
            plan_fault(board, fault)
        except FaultError as error:
            yield f"{path}: fault[{i}]: {error}"


def plan_fault(board: FaultBoard, fault: FaultTable) -> None:
    """Put a scripted fault on a board. Raises: FaultError."""
    since_ns = round(fault.at_s * 1e9)
    until_ns = None if fault.for_s is None else since_ns + round(fault.for_s * 1e9)
    board.plan(fault.name, fault.device, since_ns, until_ns, fault.options)
