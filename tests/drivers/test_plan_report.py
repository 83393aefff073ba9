"""What a site costs before anything is sent, and which scan class to slow down where that is too much."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.cost import COST_TCP, Cost
from drivers.learned import Learned
from drivers.plan_report import Asked, report
from drivers.profile import Profile, load_profile

TCP = SimpleNamespace(transport="tcp", baud=19_200, parity="E", stop_bits=1, pause_s=0.0)
RTU = SimpleNamespace(transport="rtu", baud=9600, parity="E", stop_bits=1, pause_s=0.0)


def meter(*addresses: int, **more: Any) -> Profile:
    head = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
    points = [{"name": f"p{a}", "address": a, "type": "uint16"} for a in addresses]
    return Profile.model_validate(head | more | {"point": points})


def asked(name: str, profile: Profile, line: Any = TCP, bus: str = "one", **more: Any) -> Asked:
    return Asked(name, profile, f"modbus://{bus}/{name}", bus, line, dict.fromkeys(profile.scans, 1.0), **more)


def test_every_request_is_told_with_its_registers_and_its_time() -> None:
    (device,) = report([asked("m", meter(0, 5, 40))]).devices
    (scan,) = device.scans
    first, second = scan.requests
    assert (first.table, first.first, first.last) == ("holding", 0, 5)
    assert (first.registers, first.used, first.bridged, first.points) == (6, 2, 4, ("p0", "p5"))
    assert (second.first, second.last, second.registers, second.bridged) == (40, 40, 1, 0)
    assert scan.bus_s == pytest.approx(COST_TCP.block_s(6) + COST_TCP.block_s(1))


def test_devices_that_share_a_connection_add_up() -> None:
    made = report([asked("a", meter(0, 40)), asked("b", meter(0)), asked("c", meter(0), bus="two")])
    assert [(bus.bus, bus.devices, bus.requests_per_s) for bus in made.buses] == [
        ("one", ("a", "b"), 3.0),
        ("two", ("c",), 1.0),
    ]
    assert made.buses[0].load == pytest.approx(3 * COST_TCP.block_s(1))
    assert not made.too_much and {bus.state for bus in made.buses} == {"fine"}


def test_a_serial_line_is_planned_by_its_own_cost() -> None:
    line = SimpleNamespace(transport="rtu", baud=1200, parity="E", stop_bits=1, pause_s=0.0)
    profile = meter(0, 80, max_gap=124)
    assert len(report([asked("m", profile)]).devices[0].scans[0].requests) == 1
    assert len(report([asked("m", profile, line)]).devices[0].scans[0].requests) == 2  # 79 registers are 1.4 s


def test_an_overloaded_line_names_what_to_slow_down_and_that_is_enough() -> None:
    devices = [asked(f"m{i}", meter(*range(10)), RTU, "line") for i in range(20)]  # 20 x 55.8 ms a second
    made = report(devices)
    (bus,) = made.buses
    assert made.too_much and bus.is_serial and bus.state == "too_much"
    assert bus.load == pytest.approx(20 * Cost.of(RTU).block_s(10))
    assert 1.1 < bus.load < 1.2
    assert {slower.scan for slower in bus.slower} == {"live"} and len(bus.slower) < 20
    to_s = {slower.device: slower.to_s for slower in bus.slower}
    changed = [replace(d, intervals_s={"live": to_s.get(d.name, 1.0)}) for d in devices]
    after = report(changed).buses[0]
    assert after.state == "fine" and after.load == pytest.approx(0.7, abs=0.02)


def test_the_heaviest_scan_class_is_slowed_first() -> None:
    profile = Profile.model_validate(
        {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
        | {"point": [{"name": f"a{n}", "address": 200 * n, "type": "uint16"} for n in range(40)]}
        | {"point": [{"name": f"a{n}", "address": 200 * n, "type": "uint16"} for n in range(40)]
           + [{"name": "energy", "address": 9000, "type": "uint32", "scan": "slow"}]}
    )  # fmt: skip
    (bus,) = report([asked("m", profile, RTU)]).buses
    assert [(slower.device, slower.scan, slower.from_s) for slower in bus.slower] == [("m", "live", 1.0)]


def test_a_line_above_80_percent_is_tight() -> None:
    devices = [asked(f"m{i}", meter(*range(10)), RTU, "line") for i in range(16)]
    (bus,) = report(devices).buses
    assert bus.state == "tight" and not bus.slower


def test_requests_agreed_with_the_owner_are_a_limit_too() -> None:
    (bus,) = report([asked("m", meter(0, 40, 80), max_requests_per_s=2.0)]).buses
    assert (bus.state, bus.max_requests_per_s, bus.requests_per_s) == ("too_much", 2.0, 3.0)
    (slower,) = bus.slower
    assert slower.to_s == 2.2  # 3 requests in 2.2 s are 68 % of what is agreed


def test_what_commissioning_learned_is_gone_around_and_told() -> None:
    learned = Learned({"holding": [(2, 3)]}, {"p40": "exception 2"})
    (device,) = report([asked("m", meter(0, 5, 40), learned=learned)]).devices
    assert [(r.first, r.last) for r in device.scans[0].requests] == [(0, 0), (5, 5)]
    assert device.set_aside == ("p40",)


def test_opc_ua_has_nodes_and_no_registers() -> None:
    (device,) = report([asked("bms", load_profile("generic-bms"), None)]).devices
    assert [(r.table, r.first, r.registers) for scan in device.scans for r in scan.requests] == [
        ("opcua", None, 14),
        ("opcua", None, 1),
    ]
