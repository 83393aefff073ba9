"""The demo's options, and the site and shore files that it writes from them: a person may keep and change them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

SITE, GATEWAY = "demo-port", "gw-quay-1"


@dataclass(frozen=True)
class DemoOptions:
    """What was asked for on the command line."""

    speed: float
    span_s: float | None
    interval_s: float
    recording: Path | None
    columns: str | None
    cell: str | None
    broker: str | None  # host:port
    influx_url: str | None
    influx_org: str
    influx_bucket: str
    influx_token: str

    @property
    def cell_model(self) -> str:
        """What was asked for; else the model of the shipped recording's cell, or NMC for somebody else's."""
        return self.cell or ("nmc-m50" if self.recording is None else "nmc")


def site_toml(options: DemoOptions, devices: dict[str, Any], pack: dict[str, Any], broker_port: int) -> str:
    """The site file of the demo: a berth with a ferry, and a lock. Names are fictitious."""
    host, port = broker_of(options, broker_port)
    # Deadlines are real, silence is simulated: at 60 x a scan that is 0.2 s late is 12 s late.
    max_gap_s = max(15.0, 10.0 * options.interval_s, 0.5 * options.speed)

    def modbus(name: str) -> str:
        at = devices[name]
        return f'host = "{at["host"]}"\nport = {at["port"]}\nunit_id = {at["unit_id"]}'

    common = f"interval_s = {options.interval_s}\ntimeout_s = 2.0"
    return f"""\
# Written by bollard demo. A site file like any other: bollard edge check --site THIS
schema = 1

[site]
name = "{SITE}"
gateway = "{GATEWAY}"
timezone = "Europe/Paris"

[broker]
host = "{host}"
port = {port}
resend_s = 5.0
reconnect_s = 2

[spool]
path = "spool.db"
flush_s = 0.25

[[device]]
name = "charger-1"
profile = "generic-charger"
origin = "sim"
{modbus("charger-1")}
{common}

[[device]]
name = "meter-1"
profile = "generic-meter"
origin = "sim"
{modbus("meter-1")}
{common}
[device.meter]
role = "delivery"
serial = "SIM-0001"
accuracy_class = "0.2S"
nominal_hz = 50
max_power_w = 10_000_000.0
max_gap_s = {max_gap_s}
register_lag_s = {max(10.0, 0.25 * options.speed)}

[[device]]
name = "ferry-bms"
profile = "generic-bms"
origin = "replay"
url = "{devices["ferry-bms"]["url"]}"
{common}
[device.battery]
cell = "{options.cell_model}"
series = {pack["series"]}
parallel = {pack["parallel"]}

[[device]]
name = "lock-1"
profile = "generic-lock"
origin = "sim"
{modbus("lock-1")}
{common}
[device.lock]
chamber_area_m2 = 1735.2
sluice_m2 = 5.0
datum = "demo datum"

[[berth]]
name = "berth-1"
charger = "charger-1"
meter = "meter-1"
battery = "ferry-bms"
use = "berth_supply"
baseline = "aux.mgo.sfoc.epa"

[[vessel]]
name = "ferry-aurelie"
plc_names = ["AURELIE"]
"""


def shore_toml(options: DemoOptions, embedded_port: int = 0) -> str:
    if options.influx_url:
        store = (
            f'[store.influx]\nurl = "{options.influx_url}"\norg = "{options.influx_org}"\n'
            f'bucket = "{options.influx_bucket}"  # the token comes from BOLLARD_INFLUX_TOKEN'
        )
    else:
        store = '[store]\nurl = "sqlite:store.db"'
    if options.broker:
        host, port = broker_of(options, 0)
        broker = f'host = "{host}"\nport = {port}'
    else:
        broker = f"embedded = true\nport = {embedded_port}"
    return f'# Written by bollard demo.\nschema = 1\n\n{store}\n\n[book]\npath = "book.db"\n\n[broker]\n{broker}\n'


def broker_of(options: DemoOptions, port: int) -> tuple[str, int]:
    """Where the edge finds its broker; `port` is the embedded one's."""
    if not options.broker:
        return "127.0.0.1", port
    host, _, text = options.broker.partition(":")
    return host, int(text or 1883)
