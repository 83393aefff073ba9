"""The tables of a scenario file. What fits together between them is checked in `scenario_checks.py`."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from drivers.profile import Name
from firmware_sim.plant.replay import DEFAULT_COLUMNS

TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Text = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,24}$")]


def second_of_day(text: str) -> int:
    """Of a TimeOfDay. [s]"""
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


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


class RevenueTable(MeterTable):
    class_percent: float = Field(0.2, ge=0, le=5, description="accuracy class, as in 0.2 for 0.2 S")
    ct_ratio: float = Field(1.0, gt=0, le=100_000, description="ratio of the current transformers, as in 600")
    vt_ratio: float = Field(1.0, gt=0, le=10_000, description="ratio of the voltage transformers, as in 200")
    secondary: bool = Field(False, description="true: registers and readings are not multiplied by the ratios")
    reversed_ct: tuple[Literal[1, 2, 3], ...] = Field((), description="phases with a reversed current transformer")
    wiring: Literal["3P4W", "3P3W", "DC"] = Field("3P4W", description="3P4W, 3P3W or DC")
    frequency_hz: Literal[50, 60] = Field(50, description="50 or 60")


class ShipTable(_Table):
    name: Text = Field(description="the ship's name as its PLC sends it, 1 to 24 ASCII characters")
    chemistry: Literal["nmc", "lfp", "lto"] = Field("nmc", description="nmc, lfp or lto")
    energy_wh: float = Field(40_000_000.0, gt=0, le=1e9, description="energy of the pack in Wh")
    voltage_v: float = Field(1000.0, ge=50, le=2000, description="voltage of the pack in V")
    soc: float = Field(0.5, ge=0, le=1, description="SoC at the start, a fraction")
    soh: float = Field(0.96, gt=0.3, le=1.1, description="state of health, a fraction")
    ambient_c: float = Field(18.0, ge=-20, le=45, description="coolant temperature in °C")
    spread: float = Field(0.004, ge=0, le=0.03, description="standard deviation of SoC between cells")
    sea_w: float = Field(10_000_000.0, ge=0, le=1e8, description="mean power from the pack at sea in W")
    hotel_w: float = Field(450_000.0, ge=0, le=1e7, description="what the ship takes at berth in W")
    crossing_s: float = Field(5400.0, gt=0, le=86_400, description="length of a crossing in s")
    far_w: float = Field(0.0, ge=0, le=1e8, description="power it charges with in the port across, in W")
    far_soc: float = Field(0.8, ge=0, le=1, description="up to this SoC")
    most_w: float = Field(60_000_000.0, gt=0, le=1e9, description="the most its cables carry, in W")
    bms_offset: float = Field(0.02, ge=-0.5, le=0.5, description="what its BMS is wrong by at the start")
    bms_gain: float = Field(1.006, ge=0.8, le=1.2, description="what its BMS counts of each Ah")


class PointTable(_Named):
    limit_w: float | None = Field(None, gt=0, le=1e9, description="subscribed power in W; none: no limit")
    transformer_w: float = Field(100_000_000.0, gt=0, le=1e9, description="rating of the main transformer in W")
    auxiliary_w: float = Field(60_000.0, ge=0, le=1e7, description="what else hangs on it, in W")
    meter: RevenueTable = Field(default_factory=RevenueTable, description="a table: class_percent, ct_ratio, …")


class TowerTable(_Table):
    preset: Literal["4mw", "7mw", "10mw", "30mw"] = Field("10mw", description="4mw, 7mw, 10mw or 30mw")
    rated_w: float | None = Field(None, gt=0, le=40_000_000, description="rating in W, if not the preset's")
    setpoint_w: float | None = Field(None, gt=0, le=40_000_000, description="what it charges with, in W")
    up_s: float | None = Field(None, gt=0, le=600, description="ramp from 0 to the rating in s, above 0")
    down_s: float | None = Field(None, gt=0, le=600, description="ramp from the rating to 0 in s, above 0")
    target_soc: float | None = Field(None, gt=0, le=1, description="SoC at which a charge ends")


class CallTable(_Table):
    ship: Text = Field(description="name of a table [[ship]]")
    arrive: TimeOfDay = Field(description="time of day in UTC, as in 07:35")
    depart: TimeOfDay = Field(description="time of day in UTC, as in 08:20")


class BerthTable(_Named):
    vessel: Text | None = Field(None, description="the ship's name as its PLC sends it, 1 to 24 ASCII characters")
    recording: RecordingTable | None = Field(
        None, description="a table: file, columns, start_s, span_s, capacity_ah"
    )
    pack: PackTable = Field(default_factory=PackTable, description="a table: energy_wh, voltage_v, series, …")
    charger: ChargerTable = Field(default_factory=ChargerTable, description="a table: limit_w, standby_w")
    meter: RevenueTable = Field(default_factory=RevenueTable, description="a table: import_wh, export_wh, …")
    point: Name | None = Field(None, description="name of the delivery point, for a berth with a timetable")
    tower: TowerTable = Field(default_factory=TowerTable, description="a table: preset, rated_w, up_s, …")
    call: tuple[CallTable, ...] = Field((), description="tables [[berth.call]]: ship, arrive, depart; every day")
    late_s: float = Field(0.0, ge=0, le=1800, description="ships are up to this late, in s")


class PassageTable(_Table):
    at: TimeOfDay = Field(description="time of day in UTC, as in 07:35")
    direction: Literal["up", "down"] = Field(description="which way the boat goes")
    length_m: float = Field(85.0, gt=1, le=400, description="length of the boat in m")


class LockTable(_Named):
    preset: Literal["fall-4.0", "fall-4.9", "fall-13.13"] | None = Field(
        None, description="fall-4.0, fall-4.9 or fall-13.13; the other keys change it"
    )
    length_m: float = Field(144.60, gt=5, le=500, description="of the chamber, in m")
    width_m: float = Field(12.0, gt=2, le=100, description="of the chamber, in m")
    upstream_m: float = Field(21.60, ge=-20, le=200, description="upper level above the datum, in m")
    downstream_m: float = Field(16.70, ge=-20, le=200, description="lower level above the datum, in m")
    sluice_m2: float = Field(5.0, gt=0, le=100, description="opening of one head's sluices in m2")
    first_vessel_s: float = Field(90.0, ge=0, le=86_400, description="when the first boat comes, in s")
    empty_share: float = Field(0.15, ge=0, le=1, description="share of lockages without a boat")
    gates: Literal["mitre", "lift"] = Field("mitre", description="mitre or lift")
    sluices: Literal["culvert", "gate"] = Field("culvert", description="culvert or gate")
    gate_drive_s: float = Field(65.0, gt=0, le=600, description="way of a gate in s, above 0")
    sluice_open_s: float = Field(120.0, gt=0, le=1200, description="opening of the sluices in s, above 0")
    sluice_close_s: float = Field(40.0, gt=0, le=600, description="closing of the sluices in s, above 0")
    leak_up_m2: float = Field(0.0, ge=0, le=1, description="what the upper head never closes, in m2")
    leak_down_m2: float = Field(0.0, ge=0, le=1, description="what the lower head never closes, in m2")
    short_m: float | None = Field(None, gt=5, le=500, description="length up to an intermediate gate, in m")
    chambers: Literal[1, 2] = Field(1, description="1, or 2 side by side; a device names its chamber")
    pump_m3_s: float = Field(0.0, ge=0, le=50, description="flow of the pumps that bring water back, in m3/s")
    passage: tuple[PassageTable, ...] = Field(
        (), description="tables [[lock.passage]]: at, direction, length_m; none: boats come by chance"
    )
    open_from: TimeOfDay = Field("00:00", description="opening hours in UTC, as in 05:30")
    open_to: TimeOfDay | None = Field(None, description="opening hours in UTC, as in 21:30")


class EventTable(_Table):
    kind: Literal["estop", "fault", "pause", "breaker-welded", "outage", "limit", "mode", "gate-stuck"] = Field(
        description="berth: estop, fault, pause, breaker-welded; point: outage, limit; "
        "lock: estop, outage, mode, gate-stuck"
    )
    plant: Name = Field(description="name of the berth, point or lock")
    at_s: float = Field(ge=0, le=400 * 86_400, description="when it begins, in s after the start")
    for_s: float | None = Field(None, gt=0, le=400 * 86_400, description="how long, in s; by default for ever")
    value: float = Field(0.0, ge=0, le=1e9, description="the limit in W, or the mode (0 local, 2 maintenance)")


class DeviceTable(_Named):
    profile: str = Field(description="a shipped profile's name, or a path that ends in .toml")
    plant: Name = Field(description="name of the berth, point or lock it belongs to")
    chamber: Literal[1, 2] = Field(1, description="of a lock with two chambers: 1 or 2")
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
    point: tuple[PointTable, ...] = Field((), description="tables [[point]]: delivery points")
    ship: tuple[ShipTable, ...] = Field((), description="tables [[ship]]")
    berth: tuple[BerthTable, ...] = Field((), description="tables [[berth]]")
    lock: tuple[LockTable, ...] = Field((), description="tables [[lock]]")
    device: tuple[DeviceTable, ...] = Field(min_length=1, description="tables [[device]], one at least")
    event: tuple[EventTable, ...] = Field((), description="tables [[event]]: what happens to plants")
    fault: tuple[FaultTable, ...] = Field((), description="tables [[fault]]: a script of faults")
