"""What a site file's tables have to be to each other, to their profiles and to the files they name."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivers.address import host_problem, url_problem
from drivers.errors import ProfileError
from drivers.plan import plan
from drivers.profile import Kind, Profile, load_profile
from dsp.cell import Cell, load_cell
from edge import lock_site
from edge.modbus_settings import Wrong, modbus_misfits, not_modbus_misfits, sharing_misfits
from edge.mqtt import host_port, tls_misfits
from edge.salvage import Place, trusted

if TYPE_CHECKING:
    from edge.config import BatteryConfig, BrokerConfig, DeviceConfig, Site


SCHEMA = 1  # of the files that this version reads and writes; `edge.site_migrate` brings older ones here


def schema_problem(schema: object, path: Path) -> str:
    """Why a file of another version is not read, and what to do; empty where it may be."""
    if not isinstance(schema, int) or schema == SCHEMA:
        return ""  # where it is missing, or no number, the model says so
    if schema > SCHEMA:
        return f"{path}: schema = {schema}: this bollard reads {SCHEMA}; the file is newer: update bollard here"
    return f"{path}: schema = {schema}: is older than {SCHEMA}; run: bollard site migrate --site {path}"


class Files:
    """Profiles and cell models that a site file names. Each file is read once: what was signed is what is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content: dict[Path, bytes] = {}
        self._cells: dict[str, Cell] = {}

    def profile(self, name: str) -> Profile:
        """Raises: ProfileError."""
        return load_profile(name, self._folder, self._read)

    def cell(self, name: str) -> Cell:
        """Raises: ValueError."""
        if name not in self._cells:
            where = self._folder / name if name.endswith(".toml") else name
            self._cells[name] = load_cell(where, self._read)
        return self._cells[name]

    def sha256(self, name: str) -> str:
        """Of what was read of a file, by its name as seen from the site file."""
        return hashlib.sha256(self._content[self._folder / name]).hexdigest()

    def _read(self, path: Path) -> bytes:
        if path not in self._content:
            self._content[path] = path.read_bytes()
        return self._content[path]


def _opcua_misfits(device: "DeviceConfig", profile: Profile, folder: Path) -> Iterator[tuple[str, object, str]]:
    """What a table [device.opcua] does not fit: key, value, message."""
    settings = device.opcua
    if settings is None:
        return
    if profile.protocol != "opcua":
        yield "", "…", f"profile {device.profile} speaks {profile.protocol}; take this table out"
    if isinstance(settings.subscribe, tuple):
        for name in settings.subscribe:
            if name not in profile.index:
                yield ".subscribe", name, f"no such point; use names of profile {device.profile}"
    for key in ("password_file", "certificate_file", "key_file"):
        file = getattr(settings, key)
        if file is not None and not (folder / file).is_file():
            yield f".{key}", str(file), f"is not there, seen from {folder}"


def load_profiles(table: dict[str, Any], path: Path, files: Files) -> tuple[dict[str, Profile], list[str]]:
    """Profiles by device name; what is wrong with them is found even if the rest does not validate."""
    profiles, problems = {}, []
    devices = table.get("device")
    for i, device in enumerate(devices if isinstance(devices, list) else []):
        name = device.get("profile") if isinstance(device, dict) else None
        if not isinstance(name, str):
            continue  # the model says so
        try:
            profile = files.profile(name)
            if profile.protocol == "modbus":
                for scan in profile.scans:
                    plan(profile, scan)
            profiles[str(device.get("name"))] = profile
        except ProfileError as error:
            problems += [f"{path}: device[{i}].profile = {name!r}: {line}" for line in str(error).split("\n")]
    return profiles, problems


def misfits(
    site: "Site | None", profiles: dict[str, Profile], path: Path, files: Files, places: Sequence[Place] = ()
) -> list[str]:
    """What each table allows by itself but the file as a whole does not. `places`: wrong by themselves."""
    problems: list[str] = []
    if site is None:
        return problems

    def wrong(key: str, value: object, message: str) -> None:
        if trusted(key, places):
            problems.append(f"{path}: {key} = {value!r}: {message}")

    if not site.device:
        problems.append(f"{path}: device: none is there; add at least one [[device]]")
    seen: set[str] = set()
    for i, device in enumerate(site.device):
        if device.name in seen:
            wrong(f"device[{i}].name", device.name, "stands twice; give each device its own name")
        seen.add(device.name)
        if device.name in profiles:
            _device_misfits(device, f"device[{i}]", profiles[device.name], path, files, wrong)
    modbus = [
        (i, d) for i, d in enumerate(site.device)
        if d.name in profiles and profiles[d.name].protocol == "modbus" and (d.host or d.serial)
    ]  # fmt: skip
    sharing_misfits(modbus, path.parent, wrong)
    kinds = {name: profile.kind for name, profile in profiles.items()}
    _berth_misfits(site, kinds, wrong)
    _meter_misfits(site, kinds, wrong)
    for i, vessel in enumerate(site.vessel):
        if vessel.battery is not None:
            _cell_misfits(f"vessel[{i}].battery", vessel.battery, files, wrong)
    named = [text for vessel in site.vessel for text in {vessel.name, *vessel.plc_names}]
    for text in sorted({text for text in named if named.count(text) > 1}):
        wrong("vessel.plc_names", text, "names two vessels; let each text mean one")
    _broker_misfits(site.broker, path.parent, wrong)
    return problems


def _device_misfits(
    device: "DeviceConfig", key: str, profile: Profile, path: Path, files: Files, wrong: Wrong
) -> None:
    """What a device's table does not fit: its profile, its protocol, its tables."""
    if profile.protocol == "modbus":
        modbus_misfits(device, key, path.parent, wrong)
    else:
        not_modbus_misfits(device, key, wrong)
    if profile.protocol == "opcua" and device.url is None:
        wrong(f"{key}.url", None, "an OPC UA device needs url; give it as in opc.tcp://10.20.0.9:4840")
    elif device.url is not None and (problem := url_problem(device.url)):
        wrong(f"{key}.url", device.url, problem)
    for part in ("meter", "battery", "lock"):
        if getattr(device, part) is not None and profile.kind != part:
            wrong(f"{key}.{part}", "…", f"profile {device.profile} is a {profile.kind}; take this table out")
    for part, value, message in _opcua_misfits(device, profile, path.parent):
        wrong(f"{key}.opcua{part}", value, message)
    if profile.kind == "lock" and device.lock is None:
        wrong(f"{key}.lock", None, "a lock needs chamber_area_m2; add [device.lock]")
    if profile.kind == "lock" and device.lock is not None:
        for part, value, message in lock_site.problems(device.lock, profile):
            wrong(f"{key}.lock.{part}", value, message)
    if device.battery is not None:
        _cell_misfits(f"{key}.battery", device.battery, files, wrong)
    for name in device.scan:
        if name not in profile.scans or name == "live":
            known = ", ".join(s for s in profile.scans if s != "live") or "none"
            message = f"no such scan class; use {known} (live is interval_s)"
            wrong(f"{key}.scan.{name}", device.scan[name], message)


def _cell_misfits(key: str, battery: "BatteryConfig", files: Files, wrong: Wrong) -> None:
    try:
        files.cell(battery.cell)
    except ValueError as error:
        wrong(f"{key}.cell", battery.cell, str(error))


def _berth_misfits(site: "Site", kinds: dict[str, Kind], wrong: Wrong) -> None:
    for i, berth in enumerate(site.berth):
        if berth.name in [other.name for other in site.berth[:i]]:
            wrong(f"berth[{i}].name", berth.name, "stands twice; give each berth its own name")
        if berth.use == "traction" and berth.baseline and berth.efficiency is None:
            wrong(f"berth[{i}].efficiency", None, "traction needs it beside baseline; give it as in 0.85")
        for part in ("charger", "meter", "battery"):
            name = getattr(berth, part)
            if name is not None and kinds.get(name) != part:
                fitting = ", ".join(n for n, kind in kinds.items() if kind == part) or "none is there"
                wrong(f"berth[{i}].{part}", name, f"is no device of kind {part}; use one of: {fitting}")


def _meter_misfits(site: "Site", kinds: dict[str, Kind], wrong: Wrong) -> None:
    for i, device in enumerate(site.device):
        if device.meter is None:
            continue
        if device.meter.supply is not None and device.meter.role != "delivery":
            wrong(f"device[{i}].meter.supply", device.meter.supply, "belongs to a delivery point; take it out")
        parent = device.meter.parent
        if parent is not None and (kinds.get(parent) != "meter" or parent == device.name):
            wrong(f"device[{i}].meter.parent", parent, "is no other meter of this file")
        elif parent is not None and device.name in _above(parent, site):
            wrong(f"device[{i}].meter.parent", parent, f"is itself below {device.name}; meters form a tree")


def _broker_misfits(broker: "BrokerConfig", folder: Path, wrong: Wrong) -> None:
    if problem := host_problem(broker.host):
        wrong("broker.host", broker.host, problem)
    for i, text in enumerate(broker.fallback):
        if problem := host_problem(host_port(text, broker.port)[0]):
            wrong(f"broker.fallback[{i}]", text, problem)
    if broker.password_file is not None:
        if broker.username is None:
            wrong("broker.password_file", str(broker.password_file), "needs broker.username beside it")
        if not (folder / broker.password_file).is_file():
            wrong("broker.password_file", str(broker.password_file), f"is not there, seen from {folder}")
    for key, value, message in tls_misfits(folder, broker.tls_ca, broker.tls_cert, broker.tls_key):
        wrong(f"broker.{key}", value, message)


def _above(meter: str, site: "Site") -> list[str]:
    """Meters upstream of a meter, itself first; ends where a circle closes."""
    parents = {d.name: d.meter.parent for d in site.device if d.meter is not None}
    found: list[str] = []
    step: str | None = meter
    while step is not None and step not in found:
        found.append(step)
        step = parents.get(step)
    return found
