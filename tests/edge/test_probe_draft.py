"""`bollard edge probe --draft`: what is seen of a device becomes a profile that loads and reads it."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from sim_battery import SimBattery
from sim_meter import METER, VALUES, meter
from typer.testing import CliRunner

from drivers.address import ModbusAddress
from drivers.opcua_settings import OpcUaSettings
from drivers.probe_opcua import Tree, tree
from drivers.profile import parse_profile
from edge.cli import app
from edge.probe_command import Found, Wanted, probing
from edge.probe_draft import modbus_draft, opcua_draft
from edge.profile_draft import profile_text
from edge.texts import Texts

EN = Texts("en")
PATIENT_S = 30.0


async def look(port: int, first: int = 0, count: int = 64) -> Found:
    wanted = Wanted(ModbusAddress("127.0.0.1", port), "holding", first, count, timeout_s=PATIENT_S)
    async with probing(wanted) as (looker, _):
        assert looker is not None
        return await looker.look()


async def test_a_draft_of_all_that_is_seen_loads_and_names_what_a_number_tells() -> None:
    async with meter(swapped=True) as (_, port):
        found = await look(port)
    text = profile_text(modbus_draft(found, [], "", EN), "x.toml", EN)
    profile = parse_profile(text, "x.toml")
    hz = profile.points[profile.index["frequency_hz"]]
    assert (hz.address, hz.type, hz.order) == (16, "float32", "cdab")
    assert [p.name for p in profile.points] == ["voltage_l1_v", "voltage_l2_v", "voltage_l3_v", "frequency_hz"]
    assert profile.kind == "meter" and profile.forbidden == ((20, 39), (52, 63))
    assert profile.model.startswith("bollard simulator") and f"127.0.0.1:{port}" in profile.source
    assert '# name = "register_0"' in text and "# [[point]]  # seen: 6998400" in text
    used = re.sub(r"^# (?=\[\[point|name = \"reg|address = |type = |order = )", "", text, flags=re.MULTILINE)
    every = parse_profile(used, "x.toml")
    assert {"register_0", "register_10", "frequency_hz"} <= set(every.index)


async def test_chosen_registers_have_the_type_that_they_seem_to_have() -> None:
    async with meter() as (_, port):
        found = await look(port)
    takes = ["power_w=0", "energy_import_total_wh=40,int64,scan=slow"]
    profile = parse_profile(profile_text(modbus_draft(found, takes, "meter", EN), "x.toml", EN), "x.toml")
    power, energy = profile.points
    shipped = METER.points[METER.index["power_w"]]
    assert (power.name, power.address, power.type, power.order) == ("power_w", 0, shipped.type, shipped.order)
    assert (energy.address, energy.type, energy.scan) == (40, "int64", "slow")
    with pytest.raises(ValueError, match="--take x_w=30: nothing tells which type register 30 has; add it, as in"):
        modbus_draft(found, ["x_w=30"], "", EN)
    with pytest.raises(ValueError, match="--take power_w: is not NAME=WHERE,TYPE"):
        modbus_draft(found, ["power_w"], "", EN)


async def test_where_nothing_looks_like_a_measurement_that_is_told() -> None:
    async with meter(**dict.fromkeys(VALUES, 0)) as (_, port):
        found = await look(port, count=4)
    with pytest.raises(ValueError, match="nothing of what was read looks like a measurement"):
        modbus_draft(found, [], "", EN)


async def test_an_opc_ua_tree_becomes_a_profile(tmp_path: Path) -> None:
    battery = SimBattery("both")
    await battery.start()
    try:
        seen: Tree = await tree(battery.url, OpcUaSettings(), timeout_s=PATIENT_S)
    finally:
        await battery.server.stop()
    profile = parse_profile(profile_text(opcua_draft(seen, battery.url, [], "", EN), "x.toml", EN), "x.toml")
    assert (profile.protocol, profile.kind) == ("opcua", "battery")
    voltage = profile.points[profile.index["pack_voltage_v"]]
    assert (voltage.node, voltage.type) == ("ns=2;s=Battery.Pack.Voltage", "float64")
    assert profile.points[profile.index["vessel"]].type == "string"
    one = opcua_draft(seen, battery.url, ["pack_voltage_v=ns=2;s=Battery.Pack.Voltage"], "battery", EN)
    assert [point.keys["type"] for point in one.points] == ["float64"]
    with pytest.raises(ValueError, match="no readable variable ns=2;s=none in the tree"):
        opcua_draft(seen, battery.url, ["soc_bms=ns=2;s=none"], "battery", EN)


def test_a_draft_and_a_profile_do_not_go_together() -> None:
    words = ["probe", "modbus://127.0.0.1:1/1", "--draft", "x.toml", "--profile", "generic-meter", "--lang", "en"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "the one or the other" in done.output
    assert not (ROOT / "x.toml").exists()
