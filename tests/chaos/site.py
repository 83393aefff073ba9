"""The port that the chaos suite breaks: a scenario of twenty devices, three site files, one shore file.

Simulated time runs `SPEED` times as fast as real time; sockets, back-offs and process starts stay real.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

SITE = "chaos-port"
SPEED = 60.0
INTERVAL_S = 15.0  # four scans of each device in a real second
MAX_GAP_S = 90.0  # a second and a half of real time: shorter than any start of an agent
START = "2027-06-01T00:00:00Z"
START_NS = int(datetime.fromisoformat(START).timestamp()) * 10**9
STEP_S = 3600.0  # by which a clock is set wrong
FOREVER_S = 86_400.0  # longer than any run
BERTHS, LOCKS = 5, 4
SHIPS = ("AURELIE", "BELLE ETOILE", "CAP GRISET", "DUNE BLANCHE", "ESTRAN")
SHARE = {  # which gateway reads which plants
    "gw-a": ("berth-1", "berth-2", "point-1"),
    "gw-b": ("berth-3", "berth-4", "lock-1"),
    "gw-c": ("berth-5", "lock-2", "lock-3", "lock-4"),
}
SPOKEN_TLS = ("gw-c",)
KINDS = {"charger": "generic-charger", "meter": "generic-meter", "bms": "bms.toml"}


@dataclass(frozen=True)
class Device:
    name: str
    kind: str
    profile: str
    plant: str


def devices() -> list[Device]:
    """Twenty of them."""
    found = [
        Device(f"{kind}-{n}", kind, profile, f"berth-{n}")
        for n in range(1, BERTHS + 1)
        for kind, profile in KINDS.items()
    ]
    found.append(Device("delivery-1", "meter", "generic-meter", "point-1"))
    return found + [Device(f"lock-{n}", "lock", "generic-lock", f"lock-{n}") for n in range(1, LOCKS + 1)]


def bms_profile() -> str:
    """The shipped BMS with registers instead of nodes: an OPC UA server shows its values by real time."""
    from drivers.profile import load_profile

    profile = load_profile("generic-bms")
    lines = [
        "schema = 1",
        'kind = "battery"',
        'model = "BMS, as registers"',
        'protocol = "modbus"',
        'source = "-"',
    ]
    lines.append('table = "holding"')
    address = 0
    for point in profile.points:
        size = (point.length + 1) // 2 if point.type == "string" else 4 if point.type.endswith("64") else 2
        lines += ["[[point]]", f'name = "{point.name}"', f"address = {address}", f'type = "{point.type}"']
        lines.append(f'scan = "{point.scan}"')
        if point.type == "string":
            lines.append(f"length = {point.length}")
        if point.range is not None:
            lines.append(f"range = [{point.range[0]}, {point.range[1]}]")
        address += size
    return "\n".join(lines) + "\n"


def scenario() -> str:
    """Every berth charges for 25 minutes out of 40, all at the same times: between them nothing moves."""
    lines = ["schema = 1", f'name = "{SITE}"', "seed = 20270601", f"start = {START}"]
    lines += ["[[point]]", 'name = "point-1"', "limit_w = 70_000_000", "auxiliary_w = 25_000"]
    for n, ship in enumerate(SHIPS):
        lines += [
            "[[ship]]",
            f'name = "{ship}"',
            f'chemistry = "{("nmc", "lfp")[n % 2]}"',
            "energy_wh = 40_000_000",
        ]
        lines += ["soc = 0.5", "sea_w = 20_000_000", "crossing_s = 600"]
        lines += ["[[berth]]", f'name = "berth-{n + 1}"', 'point = "point-1"']
        lines += ['tower = { preset = "10mw", target_soc = 0.95 }']
        for start in range(5, 24 * 60 - 40, 40):
            arrive, depart = (f"{minute // 60:02}:{minute % 60:02}" for minute in (start, start + 25))
            lines += ["[[berth.call]]", f'ship = "{ship}"', f'arrive = "{arrive}"', f'depart = "{depart}"']
    for n in range(1, LOCKS + 1):
        lines += ["[[lock]]", f'name = "lock-{n}"', 'preset = "fall-4.0"']
    for device in devices():
        lines += [
            "[[device]]",
            f'name = "{device.name}"',
            f'profile = "{device.profile}"',
            f'plant = "{device.plant}"',
        ]
    return "\n".join(lines) + "\n"


def gateway_devices(gateway: str) -> list[Device]:
    return [device for device in devices() if device.plant in SHARE[gateway]]


def site_file(gateway: str, addresses: Mapping[str, Any], port: int, tls: Mapping[str, str] | None = None) -> str:
    """The site file of a gateway.

    Args:
        addresses: Where the simulator serves each device.
        port: The broker's, as this gateway sees it.
        tls: Files of [broker] tls_ca, tls_cert and tls_key.
    """
    lines = ["schema = 1", "[site]", f'name = "{SITE}"', f'gateway = "{gateway}"']
    lines += ["[broker]", 'host = "127.0.0.1"', f"port = {port}"]
    lines += ["keepalive_s = 5", "reconnect_s = 2", "resend_s = 3.0"]
    lines += [f'{key} = "{file}"' for key, file in (tls or {}).items()]
    lines += ["[spool]", 'path = "disk/spool.db"', "flush_s = 0.25"]
    own = gateway_devices(gateway)
    for device in own:
        at = addresses[device.name]
        lines += ["[[device]]", f'name = "{device.name}"', f'profile = "{device.profile}"', 'origin = "sim"']
        lines += [f'host = "{at["host"]}"', f"port = {at['port']}", f"unit_id = {at['unit_id']}"]
        lines += [f"interval_s = {INTERVAL_S}", "timeout_s = 2.0"]
        if device.kind == "meter":
            lines += ["[device.meter]", f"max_gap_s = {MAX_GAP_S}", f"register_lag_s = {SPEED}"]
        elif device.kind == "bms":
            lines += ["[device.battery]", 'cell = "nmc"', "series = 270", "parallel = 8000"]
        elif device.kind == "lock":
            lines += ["[device.lock]", "chamber_area_m2 = 1735.2"]
    berths = sorted({device.plant for device in own if device.plant.startswith("berth")})
    for berth in berths:
        n = berth.removeprefix("berth-")
        lines += ["[[berth]]", f'name = "{berth}"', f'charger = "charger-{n}"', f'meter = "meter-{n}"']
        lines += [f'battery = "bms-{n}"']
    for ship in SHIPS:
        lines += ["[[vessel]]", f'name = "{ship.lower().replace(" ", "-")}"', f'plc_names = ["{ship}"]']
    return "\n".join(lines) + "\n"


def shore_file(influx_url: str, org: str, broker_port: int) -> str:
    return (
        f'schema = 1\n[store.influx]\nurl = "{influx_url}"\norg = "{org}"\nbucket = "chaos"\n'
        f'[book]\npath = "disk/book.db"\n[broker]\nport = {broker_port}\nshare = "ingest"\n'
        "keepalive_s = 5\nreconnect_s = 2\n"
    )


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file
