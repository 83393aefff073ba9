"""Ships rotate among berths: the state of charge is reckoned with the pack of the one that is moored."""

from pathlib import Path

import numpy as np
import pytest
from edge_rows import NS, START_NS

from drivers.row import Quality, Row, empty_row
from edge.config import ConfigError, LoadedSite
from edge.pipeline import Pipeline
from edge.wire import decode_row

pytestmark = pytest.mark.usefixtures("kernels")
SITE = """
schema = 1
[site]
name = "quay"
gateway = "gw"
[broker]
host = "127.0.0.1"
[[device]]
name = "bms"
profile = "generic-bms"
url = "opc.tcp://127.0.0.1:4840"
[[vessel]]
name = "small"
plc_names = ["SMALL"]
[vessel.battery]
cell = "nmc"
series = 100
parallel = 10
[[vessel]]
name = "large"
plc_names = ["LARGE"]
[vessel.battery]
cell = "{cell}"
series = 100
parallel = 40
[[vessel]]
name = "guest"
plc_names = ["GUEST"]
"""


def load(folder: Path, cell: str = "nmc") -> LoadedSite:
    path = folder / "site.toml"
    path.write_text(SITE.format(cell=cell))
    return LoadedSite.load(path)


def scan(loaded: LoadedSite, second: int, vessel: str) -> Row:
    profile = loaded.profiles["bms"]
    row = empty_row(len(profile.points), START_NS + second * NS, Quality.NOT_SCANNED)
    told = {
        "pack_voltage_v": 370.0,
        "pack_current_a": 0.0,
        "pack_temp_c": 20.0,
        "soc_bms": 0.5,
        "heartbeat": second,
    }
    for name, value in told.items():
        row.values[profile.index[name]], row.quality[profile.index[name]] = float(value), Quality.GOOD
    row.text[profile.index["vessel"]] = vessel
    row.quality[profile.index["vessel"]] = Quality.GOOD
    return row


def test_each_vessel_has_its_own_pack_and_a_stranger_has_no_state_of_charge(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    pipeline = Pipeline(loaded)
    for second in range(1, 90):
        pipeline.take("bms", scan(loaded, second, ("SMALL", "LARGE", "GUEST")[(second - 1) // 30]))
    rows = [decode_row(entry.line) for entry in pipeline.entries]
    capacity_wh = {r.tags["vessel"]: r.fields["capacity_wh"] for r in rows if r.kind == "soc"}
    assert set(capacity_wh) == {"small", "large"}
    assert np.isclose(float(capacity_wh["large"]) / float(capacity_wh["small"]), 4.0, rtol=0.05)


def test_a_cell_that_is_not_there_is_told_with_its_vessel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vessel large: battery\.cell = 'unobtainium'"):
        load(tmp_path, "unobtainium")
