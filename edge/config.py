"""The site file: one TOML per gateway. Read once, checked whole, before the first connection is opened."""

import hashlib
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from drivers.opcua_settings import OpcUaSettings
from drivers.profile import Profile, explain_all, not_toml
from dsp import lock_rules
from edge import lock_site, wire
from edge.counting import counting_of
from edge.lock_site import LockConfig
from edge.modbus_settings import modbus_address
from edge.mqtt import HOST_PORT, Access, host_port, tls_files
from edge.salvage import salvage
from edge.site_checks import Files, load_profiles, misfits, schema_problem
from edge.site_lines import located

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=48)]


class ConfigError(Exception):
    """A settings file is wrong. Lists every problem: file, key, value, remedy; one a line."""


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteConfig(Table):
    name: Name = Field(description="the site's name, as in calais (a-z, 0-9, - and _)")
    gateway: Name = Field(description="this gateway's name, unique in the site, as in gw-berth-6")
    timezone: str = Field("Europe/Paris", description="a time zone, as in Europe/Paris")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("not a known time zone") from error
        return value


class BrokerConfig(Table):
    host: str = Field(min_length=1, description="the MQTT broker's address, as in 10.20.0.2")
    port: int = Field(1883, ge=1, le=65_535, description="the broker's port; 8883 if not given and with tls_ca")
    fallback: tuple[Annotated[str, StringConstraints(pattern=HOST_PORT)], ...] = Field(
        (), description="further brokers of the same system, tried in this order, as in 10.20.0.3:8883"
    )
    mqtt: Literal["3.1.1", "5"] = Field("3.1.1", description="version of MQTT: 3.1.1 or 5")
    tls_ca: Path | None = Field(None, description="the CA's certificate (PEM); TLS is used where it is given")
    tls_cert: Path | None = Field(None, description="this gateway's certificate (PEM)")
    tls_key: Path | None = Field(None, description="the key of tls_cert (PEM, mode 0600)")
    username: str | None = Field(None, description="user name, if the broker asks for one")
    password_file: Path | None = Field(None, description="a file that holds the password and nothing else")
    deflate: bool = Field(False, description="true sends batches deflated, for paid links")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive in seconds")
    reconnect_s: int = Field(30, ge=1, le=3600, description="longest wait between two attempts to connect")
    resend_s: float = Field(30.0, ge=1.0, le=3600.0, description="seconds to wait for a receipt")
    window: int = Field(64, ge=1, le=10_000, description="batches that may wait for a receipt at once")
    collect_s: float = Field(
        0.0,
        ge=0.0,
        le=60.0,
        description="seconds that rows are collected for one batch, events apart; 10 on paid links",
    )
    drain_kib_s: float = Field(
        0.0, ge=0.0, le=1e6, description="most KiB a second of what has waited, live rows apart; 0: no limit"
    )

    @model_validator(mode="before")
    @classmethod
    def _tls_port(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("tls_ca") is not None and "port" not in table:
            return table | {"port": 8883}
        return table

    def access(self, folder: Path) -> Access:
        """What `edge.mqtt` takes; relative paths start from `folder`. Reads the password. Raises: OSError."""
        secret = (folder / self.password_file).read_text("utf-8").strip() if self.password_file else None
        return Access(
            brokers=((self.host, self.port), *(host_port(text, self.port) for text in self.fallback)),
            keepalive_s=self.keepalive_s, reconnect_s=self.reconnect_s, version=self.mqtt,
            username=self.username, password=secret,
            tls=tls_files(folder, self.tls_ca, self.tls_cert, self.tls_key),
        )  # fmt: skip


class SpoolConfig(Table):
    path: Path = Field(Path("spool.db"), description="the spool's file, relative to the site file")
    flush_s: float = Field(0.5, ge=0.05, le=60.0, description="seconds between commits; 5 on SD cards")
    max_mib: int = Field(4096, ge=8, le=1_000_000, description="most MiB on disk (30 days)")
    min_free_mib: int = Field(
        256,
        ge=0,
        le=1_000_000,
        description="MiB that stay free on the disk: from there on the spool does not grow",
    )


class ClockConfig(Table):
    require: bool = Field(
        True, description="rows wait until a time server has set the clock; false on networks without one"
    )


class MeterReplacement(Table):
    """A meter was changed: last readings of the old one, first of the new one, as the registers count."""

    at: AwareDatetime = Field(description="when, with its zone, as in 2026-03-01T08:30:00+01:00")
    closing_import_wh: float | None = Field(None, ge=0, description="last import reading of the old meter, in Wh")
    opening_import_wh: float | None = Field(None, ge=0, description="first import reading of the new one, in Wh")
    closing_export_wh: float | None = Field(None, ge=0, description="last export reading of the old meter, in Wh")
    opening_export_wh: float | None = Field(None, ge=0, description="first export reading of the new one, in Wh")
    reason: str = Field("", description="why, and who wrote it down")


class MeterConfig(Table):
    role: Literal["delivery", "berth", "auxiliary", "production", "check"] = Field(
        "berth", description="delivery, berth, auxiliary, production (on the site: it exports) or check"
    )
    supply: Literal["consumer", "reseller", "owner"] | None = Field(
        None, description="at a delivery point: consumer, reseller (ships pay for what they take) or owner alone"
    )
    parent: Name | None = Field(None, description="name of the meter upstream")
    serial: str = Field("", description="serial number on the meter's plate")
    ct_ratio: float = Field(1.0, gt=0, description="current transformer ratio, as in 800 for 4000/5")
    vt_ratio: float = Field(1.0, gt=0, description="voltage transformer ratio")
    registers: Literal["primary", "secondary"] = Field(
        "primary", description="primary if the meter multiplies by the ratios itself, else secondary"
    )
    accuracy_class: str = Field("", description="class of the meter, as in 0.2S")
    ct_class: str = Field("", description="class of the current transformers")
    vt_class: str = Field("", description="class of the voltage transformers")
    verified: str = Field("", description="date of the last verification, as in 2026-03-01")
    wiring: Literal["3P4W", "3P3W", "DC"] = Field("3P4W", description="3P4W, 3P3W or DC")
    nominal_hz: Literal[0, 50, 60] = Field(50, description="50, 60, or 0 for DC")
    max_power_w: float = Field(100e6, gt=0, description="power that the installation cannot exceed, in W")
    max_gap_s: float = Field(15.0, gt=0, le=3600, description="longest silence that power may bridge, in s")
    crosscheck_s: float = Field(3600.0, ge=60, le=86_400, description="register against power, over so long, in s")
    register_lag_s: float = Field(10.0, ge=0, le=900, description="how late the registers may be, in s")
    replacement: tuple[MeterReplacement, ...] = Field((), description="[[device.meter.replacement]]")


class BatteryConfig(Table):
    cell: str = Field(description="cell model: nmc, lfp, nmc-m50, or a path that ends in .toml")
    series: int = Field(ge=1, description="cells in series")
    parallel: int = Field(ge=1, description="strings in parallel")
    capacity_ah: float | None = Field(None, gt=0, description="pack capacity if known, in Ah")
    target_soc: float = Field(0.8, gt=0, le=1, description="charge at which a call is meant to end, 0..1")


class DeviceConfig(Table):
    name: Name = Field(description="the device's name, as in meter-1")
    profile: str = Field(description="a shipped profile, or a path that ends in .toml")
    host: str | None = Field(None, description="the PLC's address, as in 10.20.0.7")
    port: int | None = Field(None, ge=1, le=65_535, description="TCP port; 502, or 802 with TLS, if not given")
    unit_id: int = Field(1, ge=0, le=255, description="Modbus unit")
    transport: Literal["tcp", "tls", "rtu-over-tcp", "rtu", "ascii"] = Field(
        "tcp", description="tcp, tls, rtu-over-tcp (a serial device server), rtu or ascii (a serial line)"
    )
    serial: str | None = Field(None, description="serial port: a path, or usb:VID:PID[:SERIALNUMBER]")
    baud: int = Field(19_200, ge=300, le=4_000_000, description="bits per second of the serial line")
    parity: Literal["E", "O", "N"] = Field("E", description="E, O or N")
    stop_bits: Literal[1, 2] | None = Field(None, description="1 or 2; 1 with parity, 2 without, if not given")
    max_requests_per_s: float = Field(
        0.0, ge=0.0, le=10_000.0, description="most requests per second; 0: no limit"
    )
    pause_s: float = Field(0.0, ge=0.0, le=60.0, description="seconds between an answer and the next request")
    listen_s: float = Field(
        30.0, ge=0.0, le=600.0, description="seconds to listen for another master on a serial line"
    )
    tls_ca: Path | None = Field(None, description="PEM file of what is trusted, relative to the site file")
    tls_cert: Path | None = Field(None, description="PEM file of our certificate")
    tls_key: Path | None = Field(None, description="PEM file of its key")
    tls_name: str = Field("", description="name in the PLC's certificate, if it is not host")
    url: str | None = Field(
        None, pattern=r"^opc\.tcp://[^@]+$",
        description="OPC UA address without user or password (it is published), as in opc.tcp://10.20.0.9:4840",
    )  # fmt: skip
    opcua: OpcUaSettings | None = Field(None, description="settings of an OPC UA device")
    interval_s: float = Field(1.0, ge=0.1, le=86_400.0, description="seconds between polls")
    scan: dict[Name, Annotated[float, Field(ge=0.1, le=86_400.0)]] = Field(
        default_factory=dict, description="seconds between polls of the other scan classes; 10 if not given"
    )
    timeout_s: float = Field(1.0, ge=0.05, le=60.0, description="seconds to wait for an answer")
    origin: Literal["real", "sim", "replay", "test"] = Field("real", description="real, sim, replay or test")
    meter: MeterConfig | None = Field(None, description="settings of a meter")
    battery: BatteryConfig | None = Field(None, description="settings of a battery")
    lock: LockConfig | None = Field(None, description="settings of a lock")


class BerthConfig(Table):
    name: Name = Field(description="the berth's name")
    charger: Name = Field(description="the charging tower's device")
    meter: Name = Field(description="the device of the meter that counts the berth's energy")
    battery: Name | None = Field(None, description="the device that gives the ship's battery")
    use: Literal["berth_supply", "traction"] = Field(
        "berth_supply", description="berth_supply or traction: what the energy replaces"
    )
    baseline: str | None = Field(None, description="factor id of the engine that is replaced")
    efficiency: float | None = Field(
        None,
        gt=0,
        le=2,
        description="kWh of that engine that 1 kWh at the meter replaces, as in 0.85; needed for traction",
    )


class VesselConfig(Table):
    name: Name = Field(description="the vessel's name, as in ferry-aurelie")
    plc_names: tuple[str, ...] = Field((), description="texts by which PLCs name it")
    imo: str = Field("", pattern=r"^(\d{7})?$", description="IMO number, seven digits")
    nox: str | None = Field(None, description="factor id of its auxiliary engines' NOx")
    battery: BatteryConfig | None = Field(
        None, description="its own battery, for a berth where several ships call; else that of the device counts"
    )


class Site(Table):
    """The whole file. `profiles` and `folder` come from loading it."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format: 1")
    site: SiteConfig
    broker: BrokerConfig
    spool: SpoolConfig = SpoolConfig()
    clock: ClockConfig = ClockConfig()
    device: tuple[DeviceConfig, ...] = ()
    berth: tuple[BerthConfig, ...] = ()
    vessel: tuple[VesselConfig, ...] = ()

    def settings(self) -> dict[str, Any]:
        """What may be published: everything but how the broker is reached, who signs on, and where files lie."""
        hidden: dict[str, Any] = {
            "tls_ca": True, "tls_cert": True, "tls_key": True,
            "opcua": {"username", "password_file", "certificate_file", "key_file"},
        }  # fmt: skip
        return self.model_dump(
            mode="json", by_alias=True, exclude={"broker": True, "spool": True, "device": {"__all__": hidden}}
        )


class LoadedSite:
    """A checked site file with the profiles and cell models it names, as they were read."""

    def __init__(self, site: Site, profiles: dict[str, Profile], path: Path, sha256: str, files: Files) -> None:
        self.site, self.path, self.sha256, self.hash = site, path, sha256, sha256[:16]
        self.profiles, self.files = profiles, files  # profiles by device name

    @property
    def spool_path(self) -> Path:
        return self.path.parent / self.site.spool.path

    @property
    def learned_path(self) -> Path:
        """What commissioning learned of the devices, beside the spool."""
        return self.spool_path.with_name("learned.json")

    def endpoint(self, device: DeviceConfig) -> str:
        """Where a device is asked."""
        return device.url or modbus_address(device, self.path.parent).endpoint

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a site file and its profiles. Raises: ConfigError with every problem."""
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}; give an existing file") from error
        return cls.parse(raw, path)

    @classmethod
    def parse(cls, raw: bytes, path: Path) -> Self:
        """Check the content of a site file; `path` names it and is where relative paths start. As `load`."""
        try:
            return cls._checked(raw, path)
        except OSError as error:  # of a file that it names
            told = f"{error.filename or path}: cannot be read: {error.strerror}; its owner or mode?"
            raise ConfigError(told) from error

    @classmethod
    def _checked(cls, raw: bytes, path: Path) -> Self:
        try:
            text = raw.decode("utf-8")
            table = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {not_toml(error)}") from error
        if problem := schema_problem(table.get("schema"), path):
            raise ConfigError(problem)
        files = Files(path.parent)
        profiles, problems = load_profiles(table, path, files)
        try:
            site = Site.model_validate(table)
        except ValidationError as error:
            rest, places = salvage(Site, table, error)
            told = explain_all(str(path), error, Site) + problems
            told += misfits(rest, profiles, path, files, places)
            raise ConfigError("\n".join(located(told, path, text, table))) from error
        problems += misfits(site, profiles, path, files)
        if problems:
            raise ConfigError("\n".join(located(problems, path, text, table)))
        return cls(_with_paths(site, path), profiles, path, hashlib.sha256(raw).hexdigest(), files)


def catalogue(loaded: LoadedSite) -> wire.Catalogue:
    """What this gateway offers, for the shore."""
    from edge.commissioned import told_of  # it takes a loaded site

    signed = told_of(loaded)
    devices = [
        {
            "name": d.name, "kind": p.kind, "origin": d.origin, "profile": d.profile, "profile_hash": p.hash,
            "model": p.model, "interval_s": d.interval_s,
            "points": [
                {
                    "name": point.name, "type": point.wire_type, "unit": point.unit, "scan": point.scan,
                    "range": list(point.range) if point.range else None, "codes": point.codes,
                    "fr": point.fr, "en": point.en,
                }
                for point in p.points
            ],
        }
        | (rules_of(d, p) if p.kind == "lock" else {})
        | ({"counting": asdict(counting_of(d.meter or MeterConfig(), p))} if p.kind == "meter" else {})
        | {"commissioned": signed[d.name]}
        for d, p in ((d, loaded.profiles[d.name]) for d in loaded.site.device)
    ]  # fmt: skip
    site = loaded.site
    return wire.Catalogue(site.site.name, site.site.gateway, loaded.hash, site.settings(), devices)


def rules_of(device: DeviceConfig, profile: Profile) -> dict[str, Any]:
    """Which rules a lock's signals can feed, and why not the others."""
    if device.lock is None:
        return {}
    missing = lock_site.shape_of(device.lock, profile, device.interval_s).not_evaluated
    return {"rules": {"evaluated": [r for r in lock_rules.RULES if r not in missing], "not_evaluated": missing}}


def _with_paths(site: Site, path: Path) -> Site:
    """The site with absolute paths in its OPC UA tables; one certificate of ours for all, beside the spool."""
    folder = path.parent.absolute()
    own = (folder / site.spool.path).parent / "opcua"
    devices = [
        d if d.opcua is None else d.model_copy(update={"opcua": d.opcua.beside(folder, own)}) for d in site.device
    ]
    return site.model_copy(update={"device": tuple(devices)})
