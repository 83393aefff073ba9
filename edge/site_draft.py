"""A site file written from a few answers: what was said, what to look at next, and why, as comments in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from drivers.address import ModbusAddress
from drivers.opcua_settings import OpcUaSettings
from drivers.probe_url import parse_url
from drivers.profile import Profile, load_profile
from drivers.profile_toml import value_text
from edge.mqtt import host_port
from edge.site_checks import SCHEMA
from edge.texts import Texts

COMMENT_AT = 42  # column
DEVICE_EXAMPLE = "meter-1=generic-meter@modbus://10.20.0.7:502/1"
BERTH_EXAMPLE = "berth-1=charger-1,meter-1 or berth-1=charger-1,meter-1,ferry-bms"
PACK_EXAMPLE = "ferry-bms=nmc,243,1929"
MQTT_PORT = 1883
# [[device]] key -> attribute of ModbusAddress; what is as the site file's default is left out
KEYS = (
    "transport", "host", "port", "unit_id", "serial", "baud", "parity", "max_requests_per_s", "pause_s",
    "listen_s", "tls_ca", "tls_cert", "tls_key", "tls_name",
)  # fmt: skip


@dataclass
class DeviceDraft:
    """One [[device]]. `keys` and `opcua` as they stand in the file."""

    name: str
    profile: str
    keys: dict[str, Any]
    opcua: dict[str, Any] = field(default_factory=dict)


@dataclass
class SiteDraft:
    """What is known of a site when its file is begun.

    Attributes:
        tls: Keys of [broker] to their files.
        berths: Name -> charger, meter and perhaps battery.
        chambers: Lock device -> area in m².
        packs: Battery device -> cell, cells in series, strings in parallel.
        vessels: Name -> texts by which PLCs name it.
    """

    name: str
    gateway: str
    broker: str
    timezone: str = "Europe/Paris"
    tls: dict[str, str] = field(default_factory=dict)
    devices: list[DeviceDraft] = field(default_factory=list)
    berths: dict[str, list[str]] = field(default_factory=dict)
    chambers: dict[str, float] = field(default_factory=dict)
    packs: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    vessels: dict[str, list[str]] = field(default_factory=dict)
    origin: str = "real"
    time_server: bool = True
    sd_card: bool = False
    paid_link: bool = False


def parse_device(text: str) -> DeviceDraft:
    """`NAME=PROFILE@URL`; settings stand in the URL, as for `edge probe`. Raises: ValueError."""
    name, _, rest = text.partition("=")
    profile, _, url = rest.partition("@")
    if not (name and profile and url):
        raise ValueError(f"--device {text}: is not NAME=PROFILE@URL; give it as in {DEVICE_EXAMPLE}")
    if url.startswith("opc.tcp://"):
        parts = urlsplit(url)
        opcua = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(set(opcua) - set(OpcUaSettings.model_fields)):
            known = ", ".join(OpcUaSettings.model_fields)
            raise ValueError(f"--device {text}: {unknown[0]}: no such setting; use {known}")
        return DeviceDraft(name, profile, {"url": parts._replace(query="").geturl()}, opcua)
    return DeviceDraft(name, profile, _modbus_keys(parse_url(url)))


def _modbus_keys(address: ModbusAddress) -> dict[str, Any]:
    usual = ModbusAddress()
    keys = {key: getattr(address, key) for key in KEYS if getattr(address, key) != getattr(usual, key)}
    if address.is_serial and address.stop_bits != (2 if address.parity == "N" else 1):
        keys["stop_bits"] = address.stop_bits
    return keys


def parse_berth(text: str) -> tuple[str, list[str]]:
    """`NAME=CHARGER,METER[,BATTERY]`. Raises: ValueError."""
    name, _, rest = text.partition("=")
    devices = [part.strip() for part in rest.split(",")]
    if not name or len(devices) not in (2, 3) or not all(devices):
        raise ValueError(f"--berth {text}: is not NAME=CHARGER,METER[,BATTERY]; give it as in {BERTH_EXAMPLE}")
    return name, devices


def parse_pack(text: str) -> tuple[str, tuple[str, int, int]]:
    """`NAME=CELL,SERIES,PARALLEL`. Raises: ValueError."""
    name, _, rest = text.partition("=")
    parts = rest.split(",")
    if not name or len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        raise ValueError(f"--pack {text}: is not NAME=CELL,SERIES,PARALLEL; give it as in {PACK_EXAMPLE}")
    return name, (parts[0], int(parts[1]), int(parts[2]))


def parse_chamber(text: str) -> tuple[str, float]:
    """`NAME=AREA`. Raises: ValueError."""
    name, _, area = text.partition("=")
    try:
        return name, float(area)
    except ValueError as error:
        raise ValueError(f"--chamber-area-m2 {text}: is not NAME=AREA; give it as in lock-1=1735.2") from error


def site_text(draft: SiteDraft, folder: Path, file: str, texts: Texts) -> str:
    """The file. `folder`: where profiles that are files are looked for. Raises: ProfileError."""
    profiles = {d.name: load_profile(d.profile, beside=folder) for d in draft.devices}
    lines = [*_head(draft, file, texts)]
    for device in draft.devices:
        lines += ["", *_device(device, draft, profiles[device.name], texts)]
    for name, (charger, meter, *battery) in draft.berths.items():
        lines += ["", "[[berth]]", _key("name", name), _key("charger", charger), _key("meter", meter)]
        lines += [_key("battery", *battery)] if battery else []
        lines.append(_key("use", "berth_supply", texts("site_new.use")))
        lines.append(_off("baseline", "aux.mgo.sfoc.epa", texts("site_new.baseline")))
    for name, plc_names in draft.vessels.items():
        lines += ["", "[[vessel]]", _key("name", name), _key("plc_names", plc_names, texts("site_new.plc_names"))]
        lines.append(_off("imo", "9074729", texts("site_new.imo")))
    return "\n".join(lines) + "\n"


def _head(draft: SiteDraft, file: str, texts: Texts) -> Iterator[str]:
    host, port = host_port(draft.broker, MQTT_PORT)
    yield from (f"# {line}" for line in texts("site_new.head", file=file).split("\n"))
    yield from (f"schema = {SCHEMA}", "", "[site]", _key("name", draft.name, texts("site_new.name")))
    yield _key("gateway", draft.gateway, texts("site_new.gateway"))
    yield _key("timezone", draft.timezone)
    yield from ("", "[broker]", _key("host", host, texts("site_new.broker")))
    if port != MQTT_PORT:
        yield _key("port", port)
    for key, example in (("tls_ca", "ca.pem"), ("tls_cert", f"{draft.name}.{draft.gateway}.pem"),
                         ("tls_key", f"{draft.name}.{draft.gateway}.key")):  # fmt: skip
        why = texts(f"site_new.{key}")
        yield _key(key, draft.tls[key], why) if key in draft.tls else _off(key, example, why)
    if draft.paid_link:
        yield _key("deflate", True, texts("site_new.deflate"))
        yield _key("collect_s", 10.0, texts("site_new.collect"))
    yield from ("", "[spool]", _key("path", "spool.db", texts("site_new.spool")))
    flush = _key if draft.sd_card else _off
    yield flush("flush_s", 5.0, texts("site_new.flush"))
    yield from ("", "[clock]", _key("require", draft.time_server, texts("site_new.clock")))
    if not draft.devices:
        yield from ("", *(f"# {line}" for line in texts("site_new.no_device").split("\n")))


def _device(device: DeviceDraft, draft: SiteDraft, profile: Profile, texts: Texts) -> Iterator[str]:
    yield "[[device]]"
    yield _key("name", device.name)
    yield _key("profile", device.profile, f"{texts(f'site.{profile.kind}')}, {profile.model}")
    for key, value in device.keys.items():
        yield _key(key, value)
    if draft.origin != "real":
        yield _key("origin", draft.origin, texts("site_new.origin"))
    yield _off("interval_s", 1.0, texts("site_new.interval"))
    if profile.protocol == "modbus":
        yield _off("max_requests_per_s", 10.0, texts("site_new.pace"))
    if device.opcua:
        yield "[device.opcua]"
        yield from (_key(key, value) for key, value in device.opcua.items())
    tables = {"meter": _meter, "battery": _battery, "lock": _lock}
    if profile.kind in tables:
        yield from tables[profile.kind](device.name, draft, texts)


def _meter(name: str, draft: SiteDraft, texts: Texts) -> Iterator[str]:
    yield from ("[device.meter]", _key("role", "berth", texts("site_new.role")))
    examples: Mapping[str, Any] = {
        "serial": "1SFA0815", "ct_ratio": 800.0, "vt_ratio": 60.0, "registers": "primary",
        "verified": "2026-03-01", "wiring": "3P4W", "max_power_w": 12e6,
    }  # fmt: skip
    yield from (_off(key, value, texts(f"site_new.{key}")) for key, value in examples.items())


def _battery(name: str, draft: SiteDraft, texts: Texts) -> Iterator[str]:
    given = draft.packs.get(name)
    cell, series, parallel = given or ("nmc", 243, 1929)
    put = _key if given else _off
    yield _line("[device.battery]" if given else "# [device.battery]", texts("site_new.battery"))
    yield put("cell", cell, texts("site_new.cell"))
    yield put("series", series, texts("site_new.series"))
    yield put("parallel", parallel, texts("site_new.parallel"))


def _lock(name: str, draft: SiteDraft, texts: Texts) -> Iterator[str]:
    yield "[device.lock]"
    if name in draft.chambers:
        yield _key("chamber_area_m2", draft.chambers[name], texts("site_new.chamber"))
    yield _off("datum", "NGF-IGN69", texts("site_new.datum"))
    yield _off("sluice_m2", 5.0, texts("site_new.sluice"))


def _key(key: str, value: Any, why: str = "") -> str:
    return _line(f"{key} = {value_text(value)}", why)


def _off(key: str, value: Any, why: str) -> str:
    """A key that is not used yet."""
    return _line(f"# {key} = {value_text(value)}", why)


def _line(text: str, why: str) -> str:
    return f"{text:<{COMMENT_AT}}# {why}" if why else text


def unmeasured_locks(draft: SiteDraft, folder: Path) -> Sequence[str]:
    """Locks whose chamber area nobody has given yet; no lock is computed without. Raises: ProfileError."""
    return [
        d.name for d in draft.devices
        if load_profile(d.profile, beside=folder).kind == "lock" and d.name not in draft.chambers
    ]  # fmt: skip
