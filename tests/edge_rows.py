"""A site of every kind of device, and rows as its drivers would return them."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from drivers.row import Quality, Row, empty_row
from edge.config import LoadedSite

NS = 1_000_000_000
START_NS = 1_790_000_000 * NS
SITE = """
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = {port}
[clock]
require = false
[[device]]
name = "charger"
profile = "generic-charger"
host = "127.0.0.1"
port = {charger}
[[device]]
name = "meter"
profile = "generic-meter"
host = "127.0.0.1"
port = {meter}
timeout_s = 0.3
[device.meter]
max_power_w = 1e7
[[device]]
name = "bms"
profile = "generic-bms"
url = "opc.tcp://127.0.0.1:1/"
[device.battery]
cell = "nmc"
series = 240
parallel = 3000
[[device]]
name = "lock"
profile = "generic-lock"
host = "127.0.0.1"
[device.lock]
chamber_area_m2 = 1735.2
[[berth]]
name = "b1"
charger = "charger"
meter = "meter"
battery = "bms"
[[vessel]]
name = "ferry-aurelie"
plc_names = ["AURELIE"]
"""


def load(folder: Path, **ports: int) -> LoadedSite:
    path = folder / "site.toml"
    path.write_text(SITE.format(**({"port": 1, "charger": 1, "meter": 1} | ports)))
    return LoadedSite.load(path)


def row(loaded: LoadedSite, device: str, t_ns: int, text: str = "", **values: float) -> Row:
    """A live row in which these points are known and all other live points are not."""
    profile = loaded.profiles[device]
    made = empty_row(len(profile.points), t_ns, Quality.NOT_SCANNED, "slow" if text else "live")
    for i, point in enumerate(profile.points):
        if point.scan == made.scan:
            made.quality[i] = Quality.UNKNOWN
    if text:
        made.text[profile.index["vessel"]] = text
        made.quality[profile.index["vessel"]] = Quality.GOOD
    for name, value in values.items():
        made.values[profile.index[name]] = value
        made.quality[profile.index[name]] = Quality.GOOD
    return made


def a_call(loaded: LoadedSite, seed: int = 1, seconds: int = 900) -> Iterator[tuple[str, Row]]:
    """A ferry comes, is charged and leaves: rows of every device, once a second, with holes."""
    random = np.random.default_rng(seed)
    register = 1e6
    yield "bms", row(loaded, "bms", START_NS, text="AURELIE")
    yield "charger", row(loaded, "charger", START_NS, text="AURELIE")
    for second in range(seconds):
        t_ns = START_NS + second * NS + int(random.integers(0, 10**8))
        mated = 60 <= second < seconds - 120
        power_w = 6e6 * min(1.0, (second - 60) / 30) if mated else 0.0
        register += power_w / 3600
        if random.random() > 0.1:
            state = 7.0 if mated else 0.0
            yield "charger", row(loaded, "charger", t_ns, state=state, mated=float(mated), power_w=power_w)
        if random.random() > 0.1 and not 300 <= second < 360:
            power = math.nan if random.random() < 0.05 else power_w + 3000
            yield "meter", row(
                loaded, "meter", t_ns + 1000, power_w=power, energy_import_total_wh=math.floor(register),
                energy_export_total_wh=0.0,
            )  # fmt: skip
        yield "bms", row(
            loaded, "bms", t_ns + 2000, pack_voltage_v=240 * (3.6 + 0.0004 * second), pack_current_a=power_w / 900,
            pack_temp_c=25.0, soc_bms=0.5, heartbeat=float(second),
        )  # fmt: skip
        yield "lock", row(
            loaded, "lock", t_ns + 3000, gate_up_state=2.0 if second < 100 else 0.0, gate_down_state=0.0,
            sluice_up_position=0.0, sluice_down_position=min(1.0, max(0, second - 200) / 60),
            level_upstream_m=21.6, level_downstream_m=16.7, vessel_present=1.0,
            level_chamber_m=max(16.7, 21.6 - 0.012 * max(0, second - 200)),
        )  # fmt: skip
