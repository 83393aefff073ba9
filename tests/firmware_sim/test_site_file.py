"""`bollard sim site`: with one command a gateway has the site file of a scenario."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.config import LoadedSite
from firmware_sim.cli import app
from firmware_sim.scenario import ScenarioError, folder_of, load_scenario, shipped_scenarios
from firmware_sim.site_file import site_toml


@pytest.mark.parametrize("name", shipped_scenarios())
def test_every_scenario_has_a_site_file_that_a_gateway_takes(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["site", name, "--host", "10.20.0.7", "--port-base", "46000"])
    assert result.exit_code == 0, result.output
    path = tmp_path / "site.toml"
    path.write_text(result.output)
    loaded = LoadedSite.load(path)
    scenario = load_scenario(name)
    assert {d.name: loaded.profiles[d.name].hash for d in loaded.site.device} == {
        d: profile.hash for d, profile in scenario.profiles.items()
    }
    assert {d.host for d in loaded.site.device if not d.url} == {"10.20.0.7"}
    assert {v.plc_names[0] for v in loaded.site.vessel} >= {ship.name for ship in scenario.scenario.ship}


def test_the_port_has_one_delivery_meter_above_those_of_its_berths() -> None:
    site = tomllib.loads(site_toml(load_scenario("port-day"), folder_of("port-day"), "127.0.0.1", 45_000))
    meters = {d["name"]: d["meter"] for d in site["device"] if "meter" in d}
    assert {name: meter.get("parent") for name, meter in meters.items()} == {
        "meter-1": "delivery-1", "meter-2": "delivery-1", "meter-3": "delivery-1", "delivery-1": None,
    }  # fmt: skip
    assert meters["delivery-1"]["role"] == "delivery" and meters["delivery-1"]["ct_ratio"] == 800
    assert [berth["battery"] for berth in site["berth"]] == ["bms-1", "bms-2", "bms-3"]
    assert [d["lock"]["chamber_area_m2"] for d in site["device"] if "lock" in d] == [1735.2, 1735.2]


def test_devices_on_one_bus_share_a_port_and_a_serial_line_has_no_path_yet(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    head = 'schema = 1\nname = "two"\nstart = 2027-06-01T00:00:00Z\n[[lock]]\nname = "lock-1"\n'
    device = '[[device]]\nname = "plc-{0}"\nprofile = "generic-lock"\nplant = "lock-1"\nunit_id = {0}\nbus = "b"\n'
    path.write_text(head + device.format(1) + device.format(2))
    site = tomllib.loads(site_toml(load_scenario(str(path)), tmp_path, "127.0.0.1", 45_000))
    assert [(d["port"], d["unit_id"]) for d in site["device"]] == [(45_000, 1), (45_000, 2)]
    path.write_text(path.read_text().replace('bus = "b"', 'bus = "b"\ntransport = "rtu"'))
    with pytest.raises(ScenarioError, match="plc-1: transport = 'rtu': the path of its line"):
        site_toml(load_scenario(str(path)), tmp_path, "127.0.0.1", 45_000)
