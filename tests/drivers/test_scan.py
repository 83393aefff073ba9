"""Devices are found where they are named, whatever frames, unit, rate or security they have."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sim_battery import SimBattery
from sim_meter import METER, meter_unit

from drivers import scan
from drivers.address import ModbusAddress
from drivers.opcua_security import Endpoint, best_of
from drivers.probe_url import parse_url, url_of
from drivers.scan import BAUDS, PARITIES, Sighting, look_at_line, look_at_port
from drivers.scan_targets import parse_numbers, parse_targets
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer, RtuOverTcpServer
from firmware_sim.serial_line import SerialLine
from firmware_sim.value_faults import traits_of
from firmware_sim.wire_faults import WireFaults

PATIENT_S, SILENCE_S = 30.0, 0.3  # for an answer that comes, and for one that does not
BOTH_S = 1.5  # for both: an answer after a silence


@asynccontextmanager
async def served(server: ModbusServer) -> AsyncIterator[int]:
    yield await server.start("127.0.0.1", 0)
    await server.stop()


async def port_of(
    port: int, units: list[int] | None = None, timeout_s: float = PATIENT_S, look: bool = False
) -> list[Sighting]:
    return await look_at_port("127.0.0.1", port, units, timeout_s, lambda _: None, look)


# --- what is named ---


def test_hosts_are_named_one_by_one_in_lists_and_in_ranges() -> None:
    sockets, lines = parse_targets(
        ["10.20.0.7-9", "plc-6,[::1]:5020", "10.20.0.7:502", "opc.tcp://10.20.0.9", "/dev/ttyUSB0"], [502, 4840]
    )
    assert sockets == [
        ("10.20.0.7", 502), ("10.20.0.7", 4840), ("10.20.0.8", 502), ("10.20.0.8", 4840), ("10.20.0.9", 502),
        ("10.20.0.9", 4840), ("plc-6", 502), ("plc-6", 4840), ("::1", 5020),
    ]  # fmt: skip
    assert lines == ["/dev/ttyUSB0"]
    assert parse_numbers("1-3,247,2", 1, 247, "--unit") == [1, 2, 3, 247]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("10.20.0.0/24", "a network is not scanned; name the hosts, as in 10.20.0.7"),
        ("10.20.0.1-200", "is more than 64 hosts; name those that may be devices"),
        ("10.20.0.1-60,10.20.1.1-60", "120 hosts are more than 64 in one scan"),
        ("10.20.0.9-7", "9 is after 7"),
        ("10.20.0.250-260", "'10.20.0.256': four numbers from 0 to 255 make an address"),
        ("10.20..7", "'10.20..7': no machine can have this name"),
        ("http://10.20.0.7", "is no host; as in 10.20.0.7, 10.20.0.7-12"),
        ("10.20.0.7:99999", "Port out of range"),
        ("", "is no host"),
        ("usb:04:6001", "give usb:VID:PID"),
    ],
)
def test_what_is_no_host_and_what_is_too_much_is_refused(target: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        parse_targets([target], [502])


@pytest.mark.parametrize("text", ["x", "1-", "0-3", "3-1", "1-300", "", "1,,2", "²"])
def test_a_wrong_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--unit"):
        parse_numbers(text, 1, 247, "--unit")
    with pytest.raises(ValueError, match="9 ports are more than 8"):
        parse_targets(["plc"], list(range(1, 10)))


@pytest.mark.parametrize(
    "url",
    [
        "modbus://10.20.0.7:502/3", "modbus+rtu-over-tcp://plc:4001/9",
        "modbus+rtu:///dev/ttyUSB7?baud=9600&parity=N&unit=3", "modbus+rtu:///dev/ttyUSB7?unit=12", "modbus+rtu:///dev/pts/9999?unit=3",
        "modbus+rtu://usb:0403:6001?listen_s=2&parity=O&unit=1",
    ],
)  # fmt: skip
def test_a_url_is_written_as_it_is_read(url: str) -> None:
    assert url_of(parse_url(url)) == url


# --- TCP ---


async def test_a_unit_is_found_with_one_request_and_known_by_a_few_more() -> None:
    server = ModbusServer({1: meter_unit()})
    async with served(server) as port:
        (seen,) = await port_of(port)
        assert seen.kind == "unit" and seen.address == ModbusAddress("127.0.0.1", port, 1)
        assert server.units[1].requests == {3: 1}
        (seen,) = await port_of(port, look=True)
        assert seen.matches[0].name == "generic-meter" and not seen.matches[0].swap
        assert seen.plate[0] == "bollard simulator" and seen.requests <= 60
        assert set(server.units[1].requests) <= {1, 2, 3, 4, 0x2B}


async def test_swapped_words_are_seen() -> None:
    async with served(ModbusServer({1: meter_unit(swapped=True)})) as port:
        (seen,) = await port_of(port, look=True)
    assert (seen.matches[0].name, seen.matches[0].swap) == ("generic-meter", "words")


async def test_rtu_over_tcp_is_told_from_modbus_tcp() -> None:
    async with served(RtuOverTcpServer({1: meter_unit()})) as port:
        (seen,) = await port_of(port, [1], timeout_s=BOTH_S)
    assert seen.kind == "unit" and seen.address == ModbusAddress("127.0.0.1", port, 1, "rtu-over-tcp")


async def test_the_units_asked_for_are_found_and_the_usual_ones_if_none_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scan, "UNITS", (1, 3))
    server = ModbusServer({3: meter_unit(), 7: meter_unit()})
    async with served(server) as port:
        found = await port_of(port, [1, 3, 7], timeout_s=BOTH_S)
        assert [seen.address and seen.address.unit_id for seen in found] == [3, 7]
        (seen,) = await port_of(port, timeout_s=BOTH_S)
        assert seen.address is not None and seen.address.unit_id == 3
        assert len(server.connections) <= 1


async def test_a_device_that_does_not_look_at_the_unit_is_one() -> None:
    same = meter_unit()
    async with served(ModbusServer(dict.fromkeys(range(1, 6), same))) as port:
        (seen,) = await port_of(port, [1, 2, 3, 4])
    assert seen.like == [1, 2, 3, 4] and seen.address is not None and seen.address.unit_id == 1


async def test_where_nobody_listens_or_nobody_speaks_modbus_that_is_told() -> None:
    mute = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    async with mute:
        (seen,) = await port_of(mute.sockets[0].getsockname()[1], [1], timeout_s=SILENCE_S)
        assert (seen.kind, seen.why) == ("open", "1")
    (seen,) = await port_of(1)
    assert seen.kind == "closed" and "connection refused" in seen.why


# --- serial lines ---


async def line_of(path: str, *units: int, listen_s: float = 0.0, timeout_s: float = SILENCE_S) -> list[Sighting]:
    return await look_at_line(
        path, (19_200, 9_600), ("N",), units, listen_s, timeout_s, lambda _: None, look=False
    )  # fmt: skip


async def test_a_line_is_found_with_its_rate_and_its_units() -> None:
    line = SerialLine({3: meter_unit(), 5: meter_unit()}, baud=9_600, paced=False)
    try:
        found = await line_of(line.start(), 3, 5, timeout_s=BOTH_S)
    finally:
        await line.stop()
    assert [(s.address.baud, s.address.parity, s.address.unit_id) for s in found if s.address] == [
        (9_600, "N", 3), (9_600, "N", 5),
    ]  # fmt: skip
    assert line.unheard > 0, "19200 was tried first"
    assert BAUDS[0] == 19_200 and PARITIES[0] == "E", "the standard's own come first"


async def test_a_line_on_which_another_master_talks_is_left_alone() -> None:
    board = FaultBoard({"m": traits_of(METER, "modbus-rtu")})
    board.on("second-master", "m", period_s=0.05)
    served_unit = meter_unit()
    line = SerialLine({3: served_unit}, {3: WireFaults(board, "m", 1)}, paced=False)
    path = line.start()
    try:
        await line.apply()
        (seen,) = await line_of(path, 3, listen_s=PATIENT_S)
    finally:
        await line.stop()
    assert seen.kind == "master" and "another master talks on this line" in seen.why
    assert not served_unit.requests, "nothing was sent"


async def test_a_line_that_is_not_there_and_one_without_devices_are_told(tmp_path: Any) -> None:
    (seen,) = await line_of(str(tmp_path / "ttyUSB0"), 1)
    assert seen.kind == "closed" and "is the adapter plugged in?" in seen.why
    line = SerialLine({}, paced=False)
    try:
        (seen,) = await line_of(line.start(), 1)
    finally:
        await line.stop()
    assert (seen.kind, seen.why) == ("open", "1")


# --- OPC UA ---


async def test_an_opc_ua_server_tells_its_security_and_one_is_chosen() -> None:
    battery = SimBattery("both")
    await battery.start()
    try:
        (seen,) = await port_of(battery.port, [1], timeout_s=BOTH_S, look=True)
    finally:
        await battery.server.stop()
    assert seen.kind == "opcua" and seen.url == f"opc.tcp://127.0.0.1:{battery.port}"
    chosen = seen.ways_in[seen.choose]
    assert (chosen.policy, chosen.mode) == ("Basic256Sha256", "SignAndEncrypt") and len(chosen.fingerprint) == 64
    assert seen.fits == {"generic-bms": (15, 15)}


def offer(policy: str, mode: str) -> Endpoint:
    return Endpoint("opc.tcp://plc", policy, mode, "", "", "", ("Anonymous",))


def test_the_safest_way_in_is_chosen_and_withdrawn_policies_are_not() -> None:
    none, old = offer("None", "None"), offer("Basic256", "SignAndEncrypt")
    signed, both = offer("Aes256_Sha256_RsaPss", "Sign"), offer("Basic256Sha256", "SignAndEncrypt")
    newest = offer("Aes256_Sha256_RsaPss", "SignAndEncrypt")
    assert best_of([none, old, signed, both, newest]) == newest
    assert best_of([none, old, signed, both]) == both
    assert best_of([none, old, signed]) == signed
    assert best_of([none, old]) == none
    assert best_of([old]) is None
