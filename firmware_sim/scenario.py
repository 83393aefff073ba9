"""Scenarios: what stands on the quay, as TOML, checked as a whole before anything starts."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivers.errors import ProfileError
from drivers.profile import Name, Profile, explain_all, load_profile
from firmware_sim.faults import DeviceTraits, FaultBoard, FaultError
from firmware_sim.plant.replay import DEFAULT_COLUMNS, Recording, RecordingError, load
from firmware_sim.value_faults import traits_of

PLANTS = {"charger": "berth", "meter": "berth", "battery": "berth", "lock": "lock"}  # by kind of device
_SHIPPED = resources.files("firmware_sim")


class ScenarioError(ValueError):
    """A scenario is not usable. Lists every problem, one a line."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Named(_Table):
    name: Name = Field(description="its name, as in berth-1; each has its own")


class RecordingTable(_Table):
    file: str = Field(description="a CSV or CSV.gz file, beside the scenario or among the shipped recordings")
    columns: dict[Literal["time", "voltage", "current", "temperature", "truth"], str] = Field(
        default_factory=dict, description="quantity = column, for " + ", ".join(DEFAULT_COLUMNS)
    )
    start_s: int | None = Field(
        None, ge=0, description="where to begin, in seconds; by default 15 min before the first call"
    )
    span_s: int | None = Field(None, ge=60, le=400 * 86_400, description="how much to replay, in seconds")
    capacity_ah: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="capacity of the recorded cell; by default found from the recording",
    )


class PackTable(_Table):
    energy_wh: float = Field(8_800_000.0, gt=0, le=1e9, description="energy of the pack in Wh")
    voltage_v: float = Field(950.0, gt=0, le=2000, description="its voltage in V")
    series: int | None = Field(None, ge=1, le=2000, description="cells in a string; by default from voltage_v")
    parallel: int | None = Field(None, ge=1, description="strings; by default from energy_wh")
    soh: float = Field(0.93, gt=0, le=1.2, description="state of health that the BMS shows, a fraction")


class ChargerTable(_Table):
    limit_w: float = Field(7_500_000.0, gt=0, le=40_000_000, description="rating of the tower in W")
    standby_w: float = Field(3_500.0, ge=0, le=1e6, description="its own needs in W")


class MeterTable(_Table):
    line_voltage_v: float = Field(20_000.0, gt=0, le=400_000, description="phase to phase, in V")
    import_wh: int = Field(1_843_275_410, ge=0, lt=2**63, description="import register at the start in Wh")
    export_wh: int = Field(12_040, ge=0, lt=2**63, description="export register in Wh")


class BerthTable(_Named):
    vessel: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,24}$")] = Field(
        description="the ship's name as its PLC sends it, 1 to 24 ASCII characters"
    )
    recording: RecordingTable = Field(description="a table: file, columns, start_s, span_s, capacity_ah")
    pack: PackTable = Field(default_factory=PackTable, description="a table: energy_wh, voltage_v, series, …")
    charger: ChargerTable = Field(default_factory=ChargerTable, description="a table: limit_w, standby_w")
    meter: MeterTable = Field(default_factory=MeterTable, description="a table: import_wh, export_wh, …")


class LockTable(_Named):
    length_m: float = Field(144.60, gt=5, le=500, description="of the chamber, in m")
    width_m: float = Field(12.0, gt=2, le=100, description="of the chamber, in m")
    upstream_m: float = Field(21.60, ge=-20, le=200, description="upper level above the datum, in m")
    downstream_m: float = Field(16.70, ge=-20, le=200, description="lower level above the datum, in m")
    sluice_m2: float = Field(5.0, gt=0, le=100, description="opening of one head's sluices in m2")
    first_vessel_s: float = Field(90.0, ge=0, le=86_400, description="when the first boat comes, in s")
    empty_share: float = Field(0.15, ge=0, le=1, description="share of lockages without a boat")


class DeviceTable(_Named):
    profile: str = Field(description="a shipped profile's name, or a path that ends in .toml")
    plant: Name = Field(description="name of the berth or lock it belongs to")
    unit_id: int = Field(1, ge=0, le=255, description="Modbus unit")
    port: int | None = Field(
        None, ge=1, le=65_535, description="TCP port of its own; by default --port-base + its place, or a free one"
    )
    transport: Literal["tcp", "rtu-over-tcp", "rtu"] = Field(
        "tcp", description="how Modbus frames travel: tcp, rtu-over-tcp, or rtu on a pty pair"
    )
    bus: Name | None = Field(
        None, description="devices with the same bus share one port or line, told apart by unit_id"
    )
    baud: Literal[1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200] = Field(
        19_200, description="of a serial line: 1200, 2400, 4800, 9600, 19200, 38400, 57600 or 115200"
    )
    security: Literal["anonymous", "sign-encrypt", "both"] = Field(
        "anonymous", description="OPC UA end points: anonymous, sign-encrypt (Basic256Sha256), or both"
    )
    history: tuple[Name, ...] = Field((), description="points of which an OPC UA server keeps a history")


class FaultTable(_Table):
    name: Name = Field(description="a fault, as bollard sim faults lists them")
    device: Name = Field(description="name of the device that it hits")
    at_s: float = Field(0.0, ge=0, le=400 * 86_400, description="when it begins, in s after the start")
    for_s: float | None = Field(None, gt=0, le=400 * 86_400, description="how long, in s; by default for ever")
    options: dict[str, float | str] = Field(default_factory=dict, description="a table: the options of the fault")


class Scenario(_Table):
    schema_: Literal[1] = Field(alias="schema", description="version of this format: 1")
    name: Name = Field(description="name of the scenario")
    seed: int = Field(1, ge=0, lt=2**63, description="a whole number: the same one, the same run")
    start: AwareDatetime = Field(
        datetime(2026, 10, 14, 5, 40, tzinfo=UTC),
        description="simulated time of the start, as in 2026-10-14T05:40:00Z",
    )
    berth: tuple[BerthTable, ...] = Field((), description="tables [[berth]]")
    lock: tuple[LockTable, ...] = Field((), description="tables [[lock]]")
    device: tuple[DeviceTable, ...] = Field(min_length=1, description="tables [[device]], one at least")
    fault: tuple[FaultTable, ...] = Field((), description="tables [[fault]]: a script of faults")


@dataclass(frozen=True)
class Loaded:
    """A scenario with everything it points to."""

    scenario: Scenario
    profiles: Mapping[str, Profile]  # by device
    recordings: Mapping[str, Recording]  # by berth, whole


def shipped_scenarios() -> list[str]:
    """Names of the scenarios that come with bollard."""
    return sorted(
        item.name.removesuffix(".toml")
        for item in (_SHIPPED / "scenarios").iterdir()
        if item.name.endswith(".toml")
    )


def load_scenario(
    name: str, *, recording: Mapping[str, Any] | None = None, pack: Mapping[str, Any] | None = None
) -> Loaded:
    """Load and check a scenario, its profiles and its recordings.

    Args:
        name: A shipped scenario's name, or a path that ends in `.toml`.
        recording, pack: Keys that replace those of every berth, as given on the command line. A `file` in
            `recording` lets the berth's own columns, start and capacity go, for they belong to its own file.

    Raises: ScenarioError, with one line per problem.
    """
    path, text = _find(name)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from error
    for table in data.get("berth", []):
        _override(table, recording or {}, pack or {})
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ScenarioError("\n".join(explain_all(str(path), error, Scenario))) from error
    problems = list(_names(path, scenario))
    profiles: dict[str, Profile] = {}
    recordings: dict[str, Recording] = {}
    for i, device in enumerate(scenario.device):
        try:
            profiles[device.name] = load_profile(device.profile, path.parent)
        except ProfileError as error:
            problems += [f"{path}: device[{i}].profile: {line}" for line in str(error).splitlines()]
    for i, berth in enumerate(scenario.berth):
        try:
            file = _recording_path(path, berth.recording.file)
            whole = load(file, {str(k): v for k, v in berth.recording.columns.items()})
            whole.cut(berth.recording.start_s or 0, berth.recording.span_s)
            recordings[berth.name] = whole
        except RecordingError as error:
            problems += [f"{path}: berth[{i}].recording: {line}" for line in str(error).splitlines()]
    problems += _plants(path, scenario, profiles)
    problems += _lines(path, scenario, profiles)
    problems += _faults(path, scenario, profiles)
    if problems:
        raise ScenarioError("\n".join(problems))
    return Loaded(scenario, profiles, recordings)


def _find(name: str) -> tuple[Path, str]:
    if not name.endswith(".toml"):
        if name not in shipped_scenarios():
            known = ", ".join(shipped_scenarios())
            raise ScenarioError(f"scenario {name!r} is not known; use {known}, or a path that ends in .toml")
        path = Path(str(_SHIPPED / "scenarios" / f"{name}.toml"))
    else:
        path = Path(name)
    try:
        return path, path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read: {error.strerror}; give a scenario file, or one of "
            f"{', '.join(shipped_scenarios())}"
        ) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _override(table: Any, recording: Mapping[str, Any], pack: Mapping[str, Any]) -> None:
    """Put the command line's keys into a berth's table; what is not a table is left for the check."""
    if not isinstance(table, dict):
        return
    own = table.get("recording", {})
    if isinstance(own, dict):
        table["recording"] = {**({} if "file" in recording else own), **recording}
    own = table.get("pack", {})
    if isinstance(own, dict):
        table["pack"] = {**own, **pack}


def _recording_path(scenario: Path, file: str) -> Path:
    beside = scenario.parent / file
    shipped = Path(str(_SHIPPED / "recordings" / file))
    return shipped if not beside.exists() and shipped.exists() else beside


def _names(path: Path, scenario: Scenario) -> Iterator[str]:
    tables: tuple[tuple[str, Sequence[_Named]], ...] = (
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
    for i, lock in enumerate(scenario.lock):
        if lock.upstream_m - lock.downstream_m < 0.1:
            yield (
                f"{path}: lock[{i}].upstream_m = {lock.upstream_m:g}: is not 0.1 m or more above "
                f"downstream_m = {lock.downstream_m:g}; exchange them or correct the datum"
            )


def _plants(path: Path, scenario: Scenario, profiles: Mapping[str, Profile]) -> Iterator[str]:
    names = {"berth": [b.name for b in scenario.berth], "lock": [k.name for k in scenario.lock]}
    for i, device in enumerate(scenario.device):
        if device.name not in profiles:
            continue
        kind = profiles[device.name].kind
        fitting = names[PLANTS[kind]]
        if device.plant not in fitting:
            yield (
                f"{path}: device[{i}].plant = {device.plant!r}: a {kind} needs a {PLANTS[kind]}; use "
                + (", ".join(fitting) or f"a table [[{PLANTS[kind]}]] of your own")
            )


def traits(device: DeviceTable, profile: Profile) -> DeviceTraits:
    """What faults may be had of a device."""
    modbus = profile.protocol == "modbus"
    return traits_of(profile, f"modbus-{device.transport}" if modbus else profile.protocol)


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
    board = FaultBoard({d.name: traits(d, profiles[d.name]) for d in scenario.device if d.name in profiles})
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
