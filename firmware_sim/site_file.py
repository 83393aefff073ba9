"""The site file with which a gateway reads a scenario: `bollard sim site`."""

import re
from collections.abc import Iterator
from pathlib import Path

from firmware_sim.build import lock_size
from firmware_sim.build import ship as pack_size
from firmware_sim.scenario import Loaded, ScenarioError
from firmware_sim.scenario_tables import BerthTable, DeviceTable, PointTable, ShipTable

CELLS = ("nmc", "lfp")  # chemistries of which the product ships a cell model
_HEAD = """\
# Written by bollard sim site {name}. A site file like any other: bollard edge check --site THIS
# The devices are there after: bollard sim run {name} --port-base {port_base}
schema = 1

[site]
name = "{name}"
gateway = "gw-1"

[broker]
host = "127.0.0.1"

[clock]
require = false  # a simulation runs wherever it is tried; a gateway waits for its time server
"""


def site_toml(loaded: Loaded, folder: Path, host: str, port_base: int) -> str:
    """The text of the site file.

    A ferry of a known chemistry has its pack with it, as its owner would give it: the estimator follows the ship.

    Args:
        folder: Where the scenario's own profiles are searched from.
        host, port_base: Where `bollard sim run` listens, as it was told.

    Raises: ScenarioError, for a device on a serial line: its path is known only once it runs.
    """
    scenario = loaded.scenario
    tables = [_HEAD.format(name=scenario.name, port_base=port_base)]
    ports: dict[str, int] = {}  # of each shared connection: its first device's
    for place, device in enumerate(scenario.device):
        if device.transport == "rtu":
            raise ScenarioError(
                f"device {device.name}: transport = 'rtu': the path of its line is in the ready line of "
                "bollard sim run; write its site file by hand"
            )
        port = ports.setdefault(device.bus or f"={device.name}", device.port or port_base + place)
        tables.append("\n".join(_device(loaded, device, folder, host, port)))
    for berth in scenario.berth:
        found = {loaded.profiles[d.name].kind: d.name for d in scenario.device if d.plant == berth.name}
        if "charger" in found and "meter" in found:
            parts = {"name": berth.name} | {k: found[k] for k in ("charger", "meter", "battery") if k in found}
            tables.append("\n".join(["[[berth]]", *(f'{key} = "{value}"' for key, value in parts.items())]))
    ships = {ship.name: ship for ship in scenario.ship}
    names = [*ships, *(berth.vessel for berth in scenario.berth if berth.vessel)]
    tables += ["\n".join(_vessel(name, ships.get(name))) for name in dict.fromkeys(names)]
    return "\n\n".join(table.strip("\n") for table in tables) + "\n"


def _vessel(name: str, ship: ShipTable | None) -> Iterator[str]:
    yield "[[vessel]]"
    yield f'name = "{re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")}"'
    yield f'plc_names = ["{name}"]'
    if ship is not None and ship.chemistry in CELLS:
        pack = pack_size(ship)
        yield "[vessel.battery]"
        yield f'cell = "{ship.chemistry}"'
        yield f"series = {pack.series}"
        yield f"parallel = {pack.parallel}"
        yield f"capacity_ah = {round(pack.parallel * pack.cell_ah, 1)}"


def _device(loaded: Loaded, device: DeviceTable, folder: Path, host: str, port: int) -> Iterator[str]:
    scenario, profile = loaded.scenario, loaded.profiles[device.name]
    named = str((folder / device.profile).resolve()) if device.profile.endswith(".toml") else device.profile
    yield "[[device]]"
    yield f'name = "{device.name}"'
    yield f'profile = "{named}"'
    replayed = profile.kind == "battery" and device.plant in loaded.recordings
    yield f'origin = "{"replay" if replayed else "sim"}"'
    if profile.protocol == "opcua":
        yield f'url = "opc.tcp://{host}:{port}/{device.name}"'
    else:
        yield f'host = "{host}"'
        yield f"port = {port}"
        yield f"unit_id = {device.unit_id}"
        if device.transport != "tcp":
            yield f'transport = "{device.transport}"'
    if profile.kind == "meter":
        yield from _meter(loaded, device)
    for lock in scenario.lock:
        if lock.name == device.plant and profile.kind == "lock":
            size = lock_size(lock)
            yield "[device.lock]"
            yield f"chamber_area_m2 = {round(size.length_m * size.width_m, 2)}"
            yield f'datum = "{scenario.name}"'


def _meter(loaded: Loaded, device: DeviceTable) -> Iterator[str]:
    """Role and ratios: a delivery point's meter is the parent of those of its berths."""
    scenario = loaded.scenario
    above = {d.plant: d.name for d in scenario.device if loaded.profiles[d.name].kind == "meter"}
    plants: list[PointTable | BerthTable] = [*scenario.point, *scenario.berth]
    for plant in plants:
        if plant.name != device.plant:
            continue
        parent = above.get(getattr(plant, "point", None) or "")
        yield "[device.meter]"
        yield f'role = "{"berth" if parent else "delivery"}"'
        if parent:
            yield f'parent = "{parent}"'
        yield f"ct_ratio = {plant.meter.ct_ratio}"
        yield f"vt_ratio = {plant.meter.vt_ratio}"
        yield f'registers = "{"secondary" if plant.meter.secondary else "primary"}"'
        yield f'wiring = "{plant.meter.wiring}"'
        yield f"nominal_hz = {plant.meter.frequency_hz}"
        yield f'accuracy_class = "{plant.meter.class_percent}S"'
